"""Where a device setter puts variables and everything else."""

from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gx

CLUSTER = {"ps": 2, "worker": 2}


def devices(setter, *sizes):
    with gx.device(setter):
        return [gx.get_variable(f"v{n}", [size]).device for n, size in enumerate(sizes)]


def test_variables_take_turns_and_the_rest_is_on_the_worker():
    with gx.device(gx.train.replica_device_setter(
        cluster=CLUSTER, worker_device="/job:worker/task:1/gpu:0"
    )):  # fmt: skip
        a, b, c = (gx.get_variable(name, [2], initializer=gx.ones_initializer()) for name in "abc")
        total = a + b + c
        updated = a.assign(total)
    assert [v.device for v in (a, b, c)] == [f"/job:ps/task:{n}" for n in (0, 1, 0)]
    assert total.device == "/job:worker/task:1/gpu:0"
    for variable in (a, b, c):
        own = [
            n for n in gx.get_default_graph().nodes if n.name.startswith(f"{variable.node.name}/")
        ]
        assert {node.device for node in own} == {variable.device}
    assert updated.device == a.device


def test_slots_and_gradients_stay_where_they_belong():
    setter = gx.train.replica_device_setter(ps_tasks=3, worker_device="/job:worker/task:0")
    optimizer = gx.train.AdamOptimizer()
    with gx.device(setter):
        a, b = gx.get_variable("a", [2]), gx.get_variable("b", [2])
        grads = optimizer.compute_gradients(gx.reduce_sum(a * b))
        optimizer.apply_gradients(grads, gx.train.get_or_create_global_step())
    assert all(grad.device == "/job:worker/task:0" for grad, _ in grads)
    for variable in (a, b):
        for name in optimizer.get_slot_names():
            assert optimizer.get_slot(variable, name).device == variable.device
    assert gx.train.get_global_step().device == "/job:ps/task:2"


def test_greedy_by_bytes():
    greedy = gx.train.GreedyLoadBalancingStrategy(2)
    setter = gx.train.replica_device_setter(ps_tasks=2, ps_strategy=greedy)
    assert devices(setter, 100, 10, 20, 60, 30) == [f"/job:ps/task:{n}" for n in (0, 1, 1, 1, 1)]
    with gx.device(setter):  # the loads are 400 and 480 bytes
        big = gx.Variable(np.zeros(20, np.float64), name="big")
        small = gx.Variable([1, 2], name="small")
        tensor = gx.Variable(gx.zeros([2, 3], gx.int64), name="tensor")
        function = gx.Variable(lambda: gx.zeros([9]), dtype=gx.float32, shape=[9], name="function")
    found = [v.device[-1] for v in (big, small, tensor, function)]
    assert found == ["0", "1", "1", "1"]


def test_greedy_by_a_load_of_ones_own():
    greedy = gx.train.GreedyLoadBalancingStrategy(3, load_fn=lambda op: 1.0)
    setter = gx.train.replica_device_setter(ps_tasks=3, ps_strategy=greedy)
    assert [d[-1] for d in devices(setter, 9, 1, 1, 1)] == ["0", "1", "2", "0"]


def test_inner_scopes_have_the_last_word():
    asked = []
    setter = gx.train.replica_device_setter(2, ps_strategy=lambda op: asked.append(op.name) or 1)
    with gx.device(setter):
        with gx.device("/cpu:0"):
            assert gx.get_variable("a", []).device == "/job:ps/task:1/cpu:0"
        with gx.device("/job:worker/task:1"):
            assert gx.get_variable("b", []).device == "/job:worker/task:1"
            assert gx.constant(1).device == "/job:worker/task:1"
    assert asked == ["a"]


def test_without_parameter_servers_devices_stay_open():
    assert gx.train.replica_device_setter() is None
    assert gx.train.replica_device_setter(cluster={"worker": 2}) is None
    spec = gx.train.ClusterSpec({"server": 1})
    setter = gx.train.replica_device_setter(cluster=spec, ps_device="/job:server")
    assert devices(setter, 1) == ["/job:server/task:0"]


@pytest.mark.parametrize(
    "ps_ops", [["Variable"], ["VariableV2"], ("VarHandleOp", "Add"), ["variable"]]
)
def test_ops_that_parameter_servers_run(ps_ops):
    setter = gx.train.replica_device_setter(ps_tasks=1, ps_ops=ps_ops)
    with gx.device(setter):
        v = gx.get_variable("v", [2])
        added, taken = v + 1.0, v - 1.0
    place = "/job:ps/task:0" if "Add" in ps_ops else "/job:worker"
    assert (v.device, added.device, taken.device) == ("/job:ps/task:0", place, "/job:worker")


class TestFunctionsWrittenForTensorFlow:
    @pytest.mark.parametrize("names", [
        ["Variable", "VariableV2", "VarHandleOp"], ("Variable",), ["variable"],
    ])  # fmt: skip
    def test_op_type_is_compared(self, names):
        with gx.device(lambda op: "/job:ps/task:3" if op.type in names else "/job:worker"):
            v = gx.get_variable("v", [1])
            total = v + 1.0
        assert (v.device, total.device) == ("/job:ps/task:3", "/job:worker")

    def test_the_device_of_inner_scopes_is_seen_and_kept(self):
        with gx.device(lambda op: op.device or "/cpu:1"), gx.device("/gpu:0"):
            assert gx.no_op().device == "/gpu:0"
        with gx.device(lambda op: op.device or "/cpu:1"):
            assert gx.no_op().device == "/cpu:1"

    def test_what_is_known(self):
        seen = []
        with gx.device(seen.append), gx.name_scope("scope"):
            gx.get_variable("v", [2, 3], gx.float64)
            gx.Variable(lambda: gx.zeros([4]), name="late")
            gx.no_op("nothing")
        described = [(str(d.type), d.name, d.dtype, d.shape) for d in seen]
        assert ("variable", "v", gx.float64, (2, 3)) in described
        assert ("variable", "scope/late", None, None) in described
        assert ("no_op", "scope/nothing", None, None) in described
        with pytest.raises(AttributeError):
            seen[0].device = "/cpu:0"


@pytest.mark.parametrize(("arguments", "error", "told"), [
    ({"ps_tasks": -1}, gx.ClusterError, "-1 is no number of parameter servers"),
    ({"ps_tasks": True}, gx.ClusterError, "True is no number"),
    ({"ps_tasks": 2.0}, gx.ClusterError, "2.0 is no number"),
    ({"ps_tasks": 1, "ps_device": "/tpu:0"}, gx.DeviceError, "/tpu:0"),
    ({"ps_tasks": 1, "worker_device": "worker"}, gx.DeviceError, "worker"),
    ({"ps_tasks": 1, "ps_strategy": 3}, gx.GraphError, "3 is no function"),
    ({"ps_tasks": 1, "ps_ops": "Variable"}, gx.GraphError, "not the text 'Variable'"),
    ({"cluster": {"ps": []}}, gx.ClusterError, "'ps' has no tasks"),
])  # fmt: skip
def test_refusals(arguments, error, told):
    with pytest.raises(error, match=told):
        gx.train.replica_device_setter(**arguments)


@pytest.mark.parametrize("task", [2, -1, None, "0", True])
def test_a_strategy_that_names_no_task(task):
    setter = gx.train.replica_device_setter(ps_tasks=2, ps_strategy=lambda op: task)
    with pytest.raises(gx.DeviceError, match=r"(?s)'v0' the parameter server .*: there are 2"):
        devices(setter, 1)


def test_bytes_that_are_not_known():
    with pytest.raises(gx.ClusterError, match="no parameter servers"):
        gx.train.GreedyLoadBalancingStrategy(0)
    greedy = gx.train.GreedyLoadBalancingStrategy(2)
    with (
        gx.device(gx.train.replica_device_setter(ps_tasks=2, ps_strategy=greedy)),
        pytest.raises(gx.GraphError, match=r"size of variable 'v' .*give gx.Variable dtype and"),
    ):
        gx.Variable(lambda: gx.zeros([3]), name="v")
    described = SimpleNamespace(name="s", dtype=gx.float32, shape=())
    assert gx.train.byte_size_load_fn(described) == 4
