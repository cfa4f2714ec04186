"""Variables: initial values, reads, assigns and their order, by the reference backend."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.reference import run
from graphc.ops.initialization import initialization_order
from graphc.ops.state import initializer_of, initializers, variables_of


def step(fetches, variables, *targets, feeds=None):
    graph = gx.get_default_graph()
    nodes = [getattr(target, "node", target) for target in targets]
    tensors = [getattr(f, "__graphc_tensor__", lambda f=f: f)() for f in fetches]
    return run(graph, feeds or {}, tensors, variables, nodes)


def test_a_variable_initializes_itself_at_first_use():
    v = gx.Variable([1.0, 2.0], name="v")
    unused = gx.Variable(5, name="unused")
    variables = {}
    np.testing.assert_array_equal(step([v * 2.0], variables)[0], [2, 4])
    assert variables.keys() == {"v"}
    assert (unused.dtype, unused.shape, unused.name) == (gx.int32, (), "unused:0")


def test_what_a_variable_says_of_itself():
    v = gx.Variable(np.zeros((2, 3)), name="v", dtype=gx.float64)
    with gx.device("/job:ps/task:0"):
        w = gx.Variable(gx.ones([2]), trainable=False)
    assert (v.dtype, v.shape, v.name, v.device) == (gx.float64, (2, 3), "v:0", "")
    assert (w.name, w.op.name, w.device) == ("Variable:0", "Variable", "/job:ps/task:0")
    assert gx.global_variables() == [v, w]
    assert gx.trainable_variables() == [v]
    assert repr(w) == "<variable 'Variable:0' &f32[2]>"
    with gx.name_scope("scope"):
        assert gx.Variable(0).name == "scope/Variable:0"


def test_operators_take_a_variable_for_its_value():
    v = gx.Variable([4.0, 9.0])
    m = gx.Variable([[1.0, 0.0], [0.0, 2.0]])
    fetches = [v + 1.0, 1.0 - v, v / v, -v, abs(v), v**2.0, v > 5.0, v[1], m @ m, gx.sqrt(v),
               np.float32([1, 1]) * v]  # fmt: skip
    expected = [[5, 10], [-3, -8], [1, 1], [-4, -9], [4, 9], [16, 81], [False, True], 9,
                [[1, 0], [0, 4]], [2, 3], [4, 9]]  # fmt: skip
    for found, wanted in zip(step(fetches, {}), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(gx.GraphError, match="cannot be iterated"):
        list(v)


def test_its_nodes_stay_on_its_device():
    with gx.device("/job:ps/task:1"):
        v = gx.Variable(gx.zeros([2]), name="v")
    with gx.device("/job:worker/task:0/gpu:0"):
        update = v.assign_add([1.0, 1.0])
        with gx.control_dependencies([update]):
            read = v.value()
    assert {n.device for n in (v.node, v.initializer, update.node, read.node)} == {"/job:ps/task:1"}
    assert v.value().node.device == "/job:ps/task:1"


def test_a_device_function_is_asked_once_for_each_variable():
    asked = []

    def place(op):
        asked.append(op.type)
        return f"/job:ps/task:{asked.count('variable') - 1}" if op.type == "variable" else ""

    with gx.device(place):
        devices = [gx.get_variable(f"v{i}", [2]).device for i in range(3)]
    assert devices == ["/job:ps/task:0", "/job:ps/task:1", "/job:ps/task:2"]


def test_reads_see_the_start_of_the_step_unless_ordered_after_an_assign():
    v = gx.Variable(1.0, name="v")
    added = v.assign_add(10.0)
    with gx.control_dependencies([added]):
        after = v + 0.0
        doubled = v.assign(v * 2.0)
    variables = {}
    assert step([v, added, after, doubled], variables) == [1, 11, 11, 22]
    assert variables == {"v": 22}
    assert step([v], variables, added) == [22]
    assert variables == {"v": 32}


def test_a_read_without_control_dependencies_is_one_node():
    v = gx.Variable(1.0)
    assert v.value() is v.value()
    with gx.control_dependencies([gx.no_op()]):
        assert v.value() is not v.value()
        with gx.control_dependencies(None):
            assert v.value() is v.value()


def test_data_orders_assigns_as_well():
    v = gx.Variable(1.0, name="v")
    first = v.assign_sub(0.5)
    second = v.assign_add(first * 10.0)
    variables = {}
    assert step([first, second], variables) == [0.5, 5.5]
    assert variables == {"v": 5.5}


def test_unordered_assigns_are_refused_with_both_lines():
    v = gx.Variable(1.0, name="v")
    first, second = v.assign(2.0), v.assign_add(3.0)
    variables = {"v": np.float32(7)}
    with pytest.raises(gx.StateError, match=r"(?s)assign_add.*test_variables\.py.*'assign'.*at"):
        step([first, second], variables)
    assert variables == {"v": 7}
    assert step([second], variables) == [10]


def test_an_aborted_step_changes_nothing():
    v = gx.Variable(1, name="v")
    zero = gx.placeholder(gx.int32, [])
    bad = gx.constant(1) // zero
    variables = {}
    step([v], variables)
    with pytest.raises(gx.DataError, match=r"(?s)division by zero.*test_variables\.py"):
        step([bad], variables, v.assign_add(1), feeds={zero: 0})
    assert variables == {"v": 1}


def test_assign_checks_what_it_is_given():
    v = gx.Variable([1.0, 2.0])
    with pytest.raises(gx.ShapeError, match=r"own shape.*\n.*test_variables\.py"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(gx.DTypeError, match="one dtype"):
        gx.assign_add(v, gx.constant([1, 2]))
    with pytest.raises(gx.GraphError, match="no variable"):
        gx.assign(gx.constant(1), 2)
    unknown = gx.placeholder(gx.float32, [None])
    with pytest.raises(gx.ShapeError, match="known sizes"):
        gx.Variable(unknown)
    step([v], {}, v.assign(unknown), feeds={unknown: np.zeros(2, np.float32)})
    with pytest.raises(gx.ShapeError, match="own shape"):
        step([v], {}, v.assign(unknown), feeds={unknown: np.zeros(3, np.float32)})


def test_initial_values_may_depend_on_other_variables():
    a = gx.Variable(gx.random_normal([3]), name="a")
    b = gx.Variable(a * 2.0, name="b")
    c = gx.Variable(lambda: b.initialized_value() + a, name="c")
    variables = {}
    found = step([c, a], variables)
    np.testing.assert_allclose(found[0], found[1] * 3, rtol=1e-6)
    assert variables.keys() == {"a", "b", "c", "random/counter"}
    order = initialization_order([c.node], ())
    assert [[n.inputs[0].node.name for n in nodes] for nodes in order] == [
        ["random/counter"], ["a"], ["b"], ["c"],
    ]  # fmt: skip
    assert initialization_order([c.node], {"c"}) == []
    # Where a has a value, b starts from that.
    variables = {"a": np.float32([1, 2, 3])}
    np.testing.assert_array_equal(step([b], variables)[0], [2, 4, 6])


def test_the_initializer_of_all_sets_all_anew():
    a = gx.Variable(1.0, name="a")
    b = gx.Variable(gx.exp(a * 2.0), name="b")
    c = gx.Variable(b + a, name="c")
    d = gx.Variable(gx.random_uniform([2]), name="d")
    init = gx.global_variables_initializer()
    variables = {}
    step([], variables, init)
    anew = pytest.approx([1, np.exp(2), np.exp(2) + 1], rel=1e-6)
    assert [variables[n] for n in "abc"] == anew
    first = variables["d"]
    step([], variables, a.assign(5.0), b.assign(5.0), c.assign(5.0), d.assign([5.0, 5.0]))
    step([], variables, init)
    assert [variables[n] for n in "abc"] == anew
    assert (variables["d"] != first).any()
    step([], variables, a.assign(5.0))
    step([], variables, b.initializer)  # of b alone: from what a holds
    assert variables["b"] == pytest.approx(np.exp(10), rel=1e-6)


def test_initializers_are_found_in_the_graph():
    a, b = gx.Variable(1.0), gx.Variable(2.0)
    a.assign(3.0)
    graph = gx.get_default_graph()
    graph.collections.clear()
    assert variables_of(graph) == [a.node, b.node]
    assert initializers(graph) == {a.node: a.initializer, b.node: b.initializer}
    assert initializer_of(b.node) is b.initializer
    lonely = graph.add("variable", (), {"shared_name": "x", "dtype": gx.float32, "shape": ()})
    with pytest.raises(gx.GraphError, match="no initializer"):
        initializer_of(lonely)


def test_get_variable_shares_by_name_and_scope():
    with gx.variable_scope("layer"):
        w = gx.get_variable("w", [2, 3])
        with pytest.raises(gx.GraphError, match=r"(?s)'layer/w' exists.*test_variables\.py"):
            gx.get_variable("w", [2, 3])
    with gx.name_scope("elsewhere"), gx.variable_scope("layer", reuse=True):
        assert gx.get_variable("w", [2, 3]) is w
        with pytest.raises(gx.GraphError, match="no variable 'layer/v'"):
            gx.get_variable("v", [2])
        with gx.variable_scope("inner"), pytest.raises(gx.GraphError, match="to reuse"):
            gx.get_variable("w", [2])
    with gx.variable_scope("layer", reuse=gx.AUTO_REUSE) as scope:
        assert gx.get_variable("w") is w
        v = gx.get_variable("v", [2], initializer=gx.ones_initializer())
    with gx.variable_scope(scope):
        assert gx.get_variable("v") is v
        assert gx.get_variable_scope().name == "layer"
    assert (w.name, v.name) == ("layer/w:0", "layer/v:0")
    with gx.variable_scope("layer", reuse=True):
        with pytest.raises(gx.ShapeError, match=r"\[2, 3\], not \[3, 2\]"):
            gx.get_variable("w", [3, 2])
        with pytest.raises(gx.DTypeError, match="not int32"):
            gx.get_variable("w", dtype="int32")


def test_get_variable_takes_initial_values():
    a = gx.get_variable("a", initializer=np.float64([1, 2]))
    b = gx.get_variable("b", initializer=gx.constant([3, 4]))
    c = gx.get_variable("c", [2], gx.int64)
    assert [v.dtype for v in (a, b, c)] == [gx.float64, gx.int32, gx.int64]
    for found, wanted in zip(step([a, b, c], {}), ([1, 2], [3, 4], [0, 0]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(gx.ShapeError, match="needs a shape"):
        gx.get_variable("d")
    with pytest.raises(gx.ShapeError, match=r"\[3\] has an initial value of \[2\]"):
        gx.get_variable("d", 3, initializer=[1.0, 2.0])
    with pytest.raises(gx.ShapeError, match=r"\[3\] has an initial value of \[2\]"):
        gx.get_variable("d", [3], initializer=lambda shape, dtype: gx.zeros([2], dtype))
    e = gx.get_variable("e", [2], initializer=gx.ones_initializer)  # the class itself
    np.testing.assert_array_equal(step([e], {})[0], [1, 1])


def test_reuse_is_one_of_four():
    refused = pytest.raises(gx.GraphError, match=r"(?s)not 'yes'.*test_variables")
    with refused, gx.variable_scope("layer", reuse="yes"):
        pass


INITIALIZERS = {
    "zeros": (gx.zeros_initializer(), 0, 0),
    "ones": (gx.ones_initializer(), 1, 0),
    "constant": (gx.constant_initializer(0.25), 0.25, 0),
    "normal": (gx.random_normal_initializer(1.0, 0.5), 1, 0.5),
    "uniform": (gx.random_uniform_initializer(-1.0, 2.0), 0.5, 3 / 12**0.5),
    "glorot": (gx.glorot_uniform_initializer(), 0, (2 / (200 + 300)) ** 0.5),
    "he": (gx.he_normal_initializer(), 0, (2 / 200) ** 0.5),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_have_their_mean_and_deviation(name):
    make, mean, deviation = INITIALIZERS[name]
    (found,) = step([gx.get_variable("w", [200, 300], gx.float64, make)], {})
    assert found.mean() == pytest.approx(mean, abs=0.02 * deviation)
    assert found.std() == pytest.approx(deviation, rel=0.02, abs=0)


def test_a_constant_initializer_takes_as_many_values_as_the_shape_has():
    v = gx.get_variable("v", [2, 2], initializer=gx.constant_initializer([1, 2, 3, 4]))
    np.testing.assert_array_equal(step([v], {})[0], [[1, 2], [3, 4]])


def test_group_and_tuple_wait_for_all():
    v = gx.Variable(0.0, name="v")
    both = gx.group(v.assign(3.0), gx.no_op())
    a, b = gx.tuple([v.value(), gx.constant(1.0)], control_inputs=[both])
    variables = {}
    assert step([a], variables) == [0]
    assert variables == {"v": 3}
    assert step([b], variables, both) == [1]
    w = gx.Variable(0.0, name="w")
    step([], variables := {}, gx.group([v.assign(1.0), (w.assign(2.0),)]))
    assert variables == {"v": 1, "w": 2}


def test_a_variable_belongs_to_its_graph():
    v = gx.Variable(1.0)
    with gx.Graph().as_default(), pytest.raises(gx.GraphError, match="another graph"):
        _ = v + 1.0
