"""Placement: where nodes run, which values are made where they are read, and what is refused."""

import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.device import Device
from graphc.ir.errors import DeviceError
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.passes.context import PassContext
from graphc.passes.place import Place
from tests.passes.running import CPU, becomes, rewritten, stays, text

PS, PS1, W0, W1 = DEVICES = tuple(
    f"/job:{task}/cpu:0" for task in ("ps/task:0", "ps/task:1", "worker/task:0", "worker/task:1")
)
PLACE = Place(DEVICES, W0)
X = "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}"
V = '%v: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "v"}'
C = "%c: f32[3] = constant() {value: array(f32[3], [1.0, 2.0, 3.0])}"
ONE = "%one: f32[] = constant() {value: array(f32[], [1.0])}"


def on(device: str, *lines: str) -> list[str]:
    return [f'{line} on "{device}"' for line in lines]


def places(graph, place=PLACE) -> dict[str, str]:
    return {node.name: node.device for node in rewritten(place, graph).nodes}


def test_what_has_no_device_runs_on_the_default() -> None:
    nodes = X, "%y: f32[3] = tanh(%x)"
    ends = "inputs %x", "outputs %y"
    becomes(text(*nodes, *ends), text(*on(W0, *nodes), *ends), PLACE)


def test_a_placed_graph_stays() -> None:
    y, z = "%y: f32[3] = tanh(%x)", "%z: f32[3] = tanh(%y)"
    stays(text(*on(W0, X), *on(W1, y), *on(PS, z), "inputs %x", "outputs %z"), PLACE)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("/job:worker", W0),  # the default device
        ("/task:0", W0),
        ("/cpu:0", W0),
        ("/task:1", PS1),  # not the default: the first in the cluster's order
        ("/job:ps", PS),
        ("/job:ps/task:1", PS1),
        ("/job:worker/task:1/cpu", W1),
        (W1, W1),
    ],
)
def test_partial_devices(written: str, found: str) -> None:
    graph = parse_graph(text(X, f'%y: f32[3] = tanh(%x) on "{written}"', "inputs %x", "outputs %y"))
    assert places(graph) == {"x": W0, "y": found}


def test_a_device_of_the_own_task_comes_before_others() -> None:
    gpus = tuple(f"/job:worker/task:{i}/{d}:0" for i in (0, 1) for d in ("cpu", "gpu"))
    graph = parse_graph(text(X, '%y: f32[3] = tanh(%x) on "/gpu:0"', "inputs %x", "outputs %y"))
    assert places(graph, Place(gpus, gpus[2]))["y"] == gpus[3]


def test_what_touches_a_variable_runs_on_its_device() -> None:
    before = text(
        X, *on("/job:ps/task:1", V),
        "%r: f32[3] = read_variable(%v)",
        "%y: f32[3] = add(%r, %x)",
        "%a: f32[3] = assign(%v, %y) {initializer: false}",
        "inputs %x", "targets %a",
    )  # fmt: skip
    after = text(
        *on(W0, X), *on(PS1, V, "%r: f32[3] = read_variable(%v)"),
        *on(W0, "%y: f32[3] = add(%r, %x)"),
        *on(PS1, "%a: f32[3] = assign(%v, %y) {initializer: false}"),
        "inputs %x", "targets %a",
    )  # fmt: skip
    becomes(before, after, PLACE)


def test_one_variable_has_one_device_whichever_node_names_it() -> None:
    other = V.replace("%v:", "%other:")
    graph = parse_graph(text(
        X, *on("/job:ps", V), *on("/task:1", other),
        "%r: f32[3] = read_variable(%v)", "%s: f32[3] = read_variable(%other)",
        "inputs %x", "outputs %r, %s",
    ))  # fmt: skip
    assert set(places(graph).values()) == {W0, PS1}


def test_contradicting_devices_of_a_variable_are_refused() -> None:
    graph = parse_graph(text(
        X, *on(PS, V),
        f'%a: f32[3] = assign_add(%v, %x) on "{W1}" at "model.py":7',
        "inputs %x", "targets %a",
    ))  # fmt: skip
    with pytest.raises(DeviceError) as error:
        rewritten(PLACE, graph)
    for part in ("'a'", "'v'", PS, W1, "model.py:7"):
        assert part in str(error.value)


def test_feeds_arrive_at_the_default_device_whatever_they_say() -> None:
    graph = parse_graph(text(*on(W1, X, "%y: f32[3] = tanh(%x)"), "inputs %x", "outputs %y"))
    assert places(graph) == {"x": W0, "y": W1}


def test_gradient_nodes_run_with_their_forward_nodes() -> None:
    graph = parse_graph(text(
        X, *on(PS1, V, "%r: f32[3] = read_variable(%v)"), *on(W1, "%f: f32[3] = tanh(%r)"),
        '%g: f32[3] = multiply(%x, %f) forward "f"',
        '%h: f32[3] = add(%g, %g) forward "v"',
        '%i: f32[3] = add(%g, %g) forward "gone"',
        f'%j: f32[3] = add(%g, %g) on "{PS}" forward "f"',
        "inputs %x", "outputs %h, %i, %j",
    ))  # fmt: skip
    found = places(graph)
    assert (found["g"], found["h"], found["i"], found["j"]) == (W1, PS1, W0, PS)


class TestFreeValues:
    """Constants without a device, and what is made of them alone."""

    def test_are_made_where_they_are_read(self) -> None:
        before = text(
            X, ONE, "%ones: f32[3] = broadcast_to(%one) {shape: [3]}",
            *on(W1, "%y: f32[3] = add(%x, %ones)"),
            "inputs %x", "outputs %y",
        )  # fmt: skip
        after = text(
            *on(W0, X),
            *on(W1, ONE, "%ones: f32[3] = broadcast_to(%one) {shape: [3]}",
                "%y: f32[3] = add(%x, %ones)"),
            "inputs %x", "outputs %y",
        )  # fmt: skip
        becomes(before, after, PLACE)

    def test_are_copied_for_several_readers(self) -> None:
        before = text(
            X, C, *on(W1, "%y: f32[3] = add(%x, %c)"), *on(PS, "%z: f32[3] = add(%y, %c)"),
            "inputs %x", "outputs %z, %c",
        )  # fmt: skip
        after = text(
            *on(W0, X), *on(PS, C), *on(W0, C.replace("%c:", "%c/copy:")),
            *on(W1, C.replace("%c:", "%c/copy_1:"), "%y: f32[3] = add(%x, %c/copy_1)"),
            *on(PS, "%z: f32[3] = add(%y, %c)"),
            "inputs %x", "outputs %z, %c/copy",
        )  # fmt: skip
        becomes(before, after, PLACE)

    def test_stay_where_the_user_put_them(self) -> None:
        graph = parse_graph(text(
            X, *on(PS, C), *on(W1, "%y: f32[3] = add(%x, %c)"), "inputs %x", "outputs %y"
        ))  # fmt: skip
        assert places(graph)["c"] == PS

    def test_are_computed_once_if_bits_depend_on_the_device(self) -> None:
        graph = parse_graph(text(
            X, C, "%e: f32[3] = exp(%c)", *on(W1, "%y: f32[3] = add(%x, %e)"),
            "inputs %x", "outputs %y",
        ))  # fmt: skip
        assert places(graph) == {"x": W0, "c": W0, "e": W0, "y": W1}

    def test_are_not_free_if_something_is_ordered_behind_them(self) -> None:
        graph = parse_graph(text(
            X, C, *on(W1, "%y: f32[3] = add(%x, %c) after %c"), *on(PS, "%z: f32[3] = add(%y, %c)"),
            "inputs %x", "outputs %z",
        ))  # fmt: skip
        assert places(graph) == {"x": W0, "c": W0, "y": W1, "z": PS}


def test_sizes_are_taken_where_the_tensor_is() -> None:
    graph = parse_graph(
        "graph symbols 1 {\n"
        "    %x: f32[_1] = placeholder() {dtype: f32, shape: [size(_1)]}\n"
        f'    %y: f32[_1] = tanh(%x) on "{W1}"\n'
        "    %n: i32[] = size(%y) {axes: [0], dtype: i32}\n"
        "    %m: i32[] = add(%n, %n)\n"
        "    inputs %x\n    outputs %m\n}\n"
    )
    assert places(graph) == {"x": W0, "y": W1, "n": W1, "m": W0}


class TestDevicesThatDoNotExist:
    GRAPH = text(X, '%y: f32[3] = tanh(%x) on "/job:ps/task:1/gpu:3" at "model.py":9',
                 "inputs %x", "outputs %y")  # fmt: skip

    def test_are_refused(self) -> None:
        with pytest.raises(DeviceError) as error:
            rewritten(PLACE, parse_graph(self.GRAPH))
        for part in ("'y'", "model.py:9", "no device '/job:ps/task:1/gpu:3'", *DEVICES):
            assert part in str(error.value)

    def test_become_a_cpu_if_placement_is_soft(self) -> None:
        context = PassContext(CPU)
        found = Place(DEVICES, W0, soft=True).run(parse_graph(self.GRAPH), context)
        assert found.node("y").device == PS1
        assert context.notes == [f"y: there is no /job:ps/task:1/gpu:3, it runs on {PS1}"]

    @pytest.mark.parametrize("device", ["/job:ps/task:2/gpu:0", "/job:evaluator", "/cpu:1"])
    def test_are_refused_if_no_cpu_of_the_task_helps(self, device: str) -> None:
        graph = parse_graph(self.GRAPH.replace("/job:ps/task:1/gpu:3", device))
        with pytest.raises(DeviceError, match="there is no device"):
            rewritten(Place(DEVICES, W0, soft=True), graph)

    def test_of_many_devices_some_are_listed(self) -> None:
        many = tuple(f"/job:worker/task:{i}/cpu:0" for i in range(100))
        with pytest.raises(DeviceError, match=r"task:7/cpu:0 and 92 more"):
            rewritten(Place(many, many[0]), parse_graph(self.GRAPH))

    def test_are_no_options(self) -> None:
        with pytest.raises(DeviceError, match="'/job:ps' is not the full name"):
            Place((W0, "/job:ps"), W0)
        with pytest.raises(DeviceError, match="is none of the devices"):
            Place((PS,), W0)


def test_replicas_of_a_model_are_placed() -> None:
    """In-graph replication: each worker differentiates its own part, the server adds up."""
    x = gx.placeholder(gx.float32, [None, 3], name="x")
    with gx.device(PS):
        w = gx.Variable(gx.zeros([3, 2]), name="w")
    parts = []
    for i, shard in enumerate(gx.split(x, 2, axis=0)):
        with gx.device(f"/job:worker/task:{i}"):
            parts.append(gx.matmul(shard, w, name=f"product{i}"))
    loss = gx.reduce_mean(gx.square(gx.concat(parts, axis=0)))
    (gradient,) = gx.gradients(loss, [w])
    found = places(extract([gradient], [], [x]).graph)
    for name, device in found.items():
        if "product0" in name or "product1" in name:
            assert Device.parse(device).task == (1 if "product1" in name else 0), name
    assert gradient.op.type == "add"
    assert found[gradient.op.name] == PS


def test_names_of_copies_avoid_names_of_nodes() -> None:
    graph = parse_graph(text(
        X, C, *on(W1, "%y: f32[3] = add(%x, %c)"), *on(PS, "%c/copy: f32[3] = add(%y, %c)"),
        "inputs %x", "outputs %c/copy",
    ))  # fmt: skip
    found = rewritten(PLACE, graph)
    assert found.outputs[0].node.name == "c/copy"
    assert "%c/copy_1: f32[3] = constant()" in print_graph(found)
