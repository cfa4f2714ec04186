"""Graphs cut by device: names say where nodes are (A1 on A, B2 on B); A is the client."""

import random

import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.errors import DeviceError, StateError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.passes.context import PassContext
from graphc.passes.fuse import Fuse
from graphc.passes.partition import find_transfers, partition
from graphc.passes.pipeline import cluster_pipeline
from graphc.passes.place import Place
from graphc.passes.prune import Prune
from graphc.passes.resolve_state import ResolveState
from tests.ir.random_graphs import random_graph
from tests.passes.partitions import (
    CLIENT,
    DEVICES,
    check_partitions,
    graph_of,
    in_turn,
    part_text,
    run_parts,
)
from tests.passes.random_programs import random_program
from tests.passes.running import CPU, assert_same_bits, outcome

PLACE = Place(tuple(DEVICES.values()), CLIENT)
X = "%A1: f32[3] = placeholder() {dtype: f32, shape: [3]}"


def recv(edge: str, source: str, type_: str = "f32", shape: str = "[3]") -> str:
    attrs = f'dtype: {type_}, edge: "{edge}", shape: {shape}, source: "{source}"'
    return f"{type_}{shape} = recv() {{{attrs}}}"


def send(value: str, edge: str, to: str) -> str:
    return f'send(%{value}) {{edge: "{edge}", to: "{to}"}}'


def cut(*lines: str) -> dict[str, list[str]]:
    """The parts of a graph, by letters, as texts; they have been checked."""
    graph = graph_of(*lines)
    parts = partition(graph, CLIENT)
    check_partitions(graph, parts)
    letters = {device: letter for letter, device in DEVICES.items()}
    return {letters[device]: part_text(part) for device, part in parts.items()}


def edges(*lines: str) -> list[str]:
    letters = {device: letter for letter, device in DEVICES.items()}
    found = find_transfers(graph_of(*lines), CLIENT)
    return [t.edge.replace(t.destination, letters[t.destination]) for t in found]


def test_one_device_is_not_cut() -> None:
    lines = X, "%A2: f32[3] = tanh(%A1)", "inputs %A1", "outputs %A2"
    assert cut(*lines) == {"A": list(lines)}


def test_there_and_back() -> None:
    found = cut(
        X,
        "%B1: f32[3] = tanh(%A1)",
        "%A2: f32[3] = add(%A1, %B1)",
        "inputs %A1",
        "outputs %A2",
    )
    assert found == {
        "A": [
            f"%B1/recv: {recv('B1:0->A', 'B')}",
            X,
            f"%A1/send = {send('A1', 'A1:0->B', 'B')}",
            "%A2: f32[3] = add(%A1, %B1/recv)",
            "inputs %A1",
            "outputs %A2",
            "targets %A1/send",
        ],
        "B": [
            f"%A1/recv: {recv('A1:0->B', 'A')}",
            "%B1: f32[3] = tanh(%A1/recv)",
            f"%B1/send = {send('B1', 'B1:0->A', 'A')}",
            "targets %B1/send",
        ],
    }


def test_many_readers_are_sent_one_tensor() -> None:
    lines = (
        X,
        "%B1: f32[3] = tanh(%A1)",
        "%B2: f32[3] = exp(%A1)",
        "%B3: f32[3] = add(%A1, %A1)",
        "%C1: f32[3] = relu(%A1)",
        "inputs %A1",
        "targets %B1, %B2, %B3, %C1",
    )
    assert edges(*lines) == ["A1:0->B", "A1:0->C"]
    assert cut(*lines)["A"] == [
        X,
        f"%A1/send = {send('A1', 'A1:0->B', 'B')}",
        f"%A1/send/1 = {send('A1', 'A1:0->C', 'C')}",
        "inputs %A1",
        "targets %A1/send, %A1/send/1",
    ]


def test_what_is_passed_on_comes_from_where_it_was_made() -> None:
    lines = X, "%B1: f32[3] = tanh(%A1)", "%C1: f32[3] = add(%A1, %B1)", "inputs %A1", "outputs %C1"
    assert edges(*lines) == ["A1:0->B", "A1:0->C", "B1:0->C", "C1:0->A"]
    cut(*lines)


def test_each_output_is_a_tensor_of_its_own() -> None:
    lines = (
        X,
        "%A2: f32[1], f32[0], f32[2] = split(%A1) {axis: 0, sizes: [1, 0, 2]}",
        "%B1: f32[1] = tanh(%A2)",
        "%B2: f32[2] = tanh(%A2:2)",
        "inputs %A1",
        "outputs %B1, %B2",
    )
    assert edges(*lines) == ["A2:0->B", "A2:2->B", "B1:0->A", "B2:0->A"]
    found = cut(*lines)
    assert f"%A2/send/1 = {send('A2:2', 'A2:2->B', 'B')}" in found["A"]
    assert f"%A2/2/recv: {recv('A2:2->B', 'A', shape='[2]')}" in found["B"]


def test_what_is_fetched_comes_to_the_client_once() -> None:
    found = cut(X, "%B1: f32[3] = tanh(%A1)", "inputs %A1", "outputs %B1, %A1, %B1")
    assert found["A"][-2] == "outputs %B1/recv, %A1, %B1/recv"
    assert found["B"][-1] == "targets %B1/send"


def test_an_edge_of_control_carries_nothing() -> None:
    found = cut(
        X,
        "%A2 = no_op()",
        "%B1: f32[3] = tanh(%A1) after %A2",
        "%B2: f32[3] = exp(%B1) after %A2",
        "%C1 = no_op() after %A2",
        "inputs %A1",
        "targets %B2, %C1",
    )
    assert found["A"] == [
        X,
        f"%A1/send = {send('A1', 'A1:0->B', 'B')}",
        "%A2 = no_op()",
        "%A2/done: bool[0] = constant() {value: array(bool[0], [])}",
        f"%A2/send = {send('A2/done', 'A2->B', 'B')} after %A2",
        f"%A2/send/1 = {send('A2/done', 'A2->C', 'C')} after %A2",
        "inputs %A1",
        "targets %A1/send, %A2/send, %A2/send/1",
    ]
    assert found["B"] == [
        f"%A1/recv: {recv('A1:0->B', 'A')}",
        f"%A2/recv: {recv('A2->B', 'A', 'bool', '[0]')}",
        "%B1: f32[3] = tanh(%A1/recv) after %A2/recv",
        "%B2: f32[3] = exp(%B1) after %A2/recv",
        "targets %B2",
    ]


def test_order_needs_no_transfer_of_its_own_where_data_comes_anyway() -> None:
    lines = (
        X,
        "%B1: f32[3] = tanh(%A1)",
        "%B2 = no_op() after %A1",
        "inputs %A1",
        "targets %B1, %B2",
    )
    assert edges(*lines) == ["A1:0->B"]
    assert "%B2 = no_op() after %A1/recv" in cut(*lines)["B"]


def test_targets_stay_where_they_are() -> None:
    found = cut(
        X,
        '%B1: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "v"}',
        "%B2: f32[3] = assign(%B1, %A1) {initializer: false}",
        "inputs %A1",
        "targets %B2",
    )
    assert found["A"][-1] == "targets %A1/send"
    assert found["B"][-1] == "targets %B2"


def test_a_client_without_nodes_has_a_part() -> None:
    assert cut("%B1 = no_op()", "targets %B1") == {"A": [], "B": ["%B1 = no_op()", "targets %B1"]}


def test_sizes_and_provenance_are_kept() -> None:
    with gx.Graph().as_default() as graph:
        with gx.device(CLIENT):
            x = gx.placeholder(gx.float32, [None, "n"])
        with gx.device(DEVICES["B"]):
            y = gx.tanh(x)
            (g,) = gx.gradients(y, [x])
    graph.inputs, graph.outputs = (x,), (y, g)
    parts = partition(graph, CLIENT)
    check_partitions(graph, parts)
    (arrived,) = [n for n in parts[DEVICES["B"]].nodes if n.op.name == "recv"]
    assert arrived.outputs[0].type == x.type
    assert arrived.source == x.node.source
    (fetched,) = [n for n in parts[CLIENT].nodes if n.op.name == "recv" and n.forward]
    assert fetched.forward == y.node.name


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((X, "%y: f32[3] = tanh(%A1)"), "is not placed: its device is ''"),
        ((X.replace("A1", "B1"), "inputs %B1"), "is fed, so it has to be on /job:a"),
        (
            ('%A1: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "v"}',
             "%B1: f32[3] = read_variable(%A1)"),
            "runs on /job:b/task:0/cpu:0, but its variable is on /job:a/task:0/cpu:0",
        ),
    ],
)  # fmt: skip
def test_what_is_not_placed_well_is_refused(lines, message, monkeypatch) -> None:
    monkeypatch.setitem(DEVICES, "y", "")
    with pytest.raises(DeviceError, match=message):
        partition(graph_of(*lines), CLIENT)


SENT = f'%A1/send = send(%A1) {{edge: "A1:0->{DEVICES["B"]}", to: "{DEVICES["B"]}"}} on "{CLIENT}"'
SUM = f'%A2: f32[3] = add(%A1, %B1/recv) on "{CLIENT}"'


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("add(%A1, %B1/recv)", "add(%B1/recv, %A1)"),
        ("add(%A1, %B1/recv)", "subtract(%A1, %B1/recv)"),
        ("outputs %A2", "outputs %A1"),
        ("targets %A1/send", "targets %A2"),  # nobody runs it
        ("A1:0->/job:b", "A1:0->/job:c"),  # nobody waits for it
        ('to: "/job:b', 'to: "/job:c'),
        (f"{SENT}\n    {SUM}", f"{SUM}\n    {SENT}"),  # waits for what it is sent for
    ],
)
def test_the_checker_sees(written: str, wrong: str) -> None:
    graph = graph_of(
        X, "%B1: f32[3] = tanh(%A1)", "%A2: f32[3] = add(%A1, %B1)", "inputs %A1", "outputs %A2"
    )
    parts = partition(graph, CLIENT)
    text = print_graph(parts[CLIENT])
    assert written in text
    with pytest.raises(AssertionError):
        check_partitions(graph, {**parts, CLIENT: parse_graph(text.replace(written, wrong))})


def scattered(graph: Graph, rng: random.Random) -> Graph:
    """``graph`` with its nodes on devices of all kinds, most of them with one of their own."""
    new, tensors, nodes = Graph(), {}, {}
    new.symbol_count = graph.symbol_count
    specifications = ["", "/task:0", "/job:a", "/job:b", "/cpu:0", *DEVICES.values()]
    for node in graph.nodes:
        touches = any(t.type.resource for t in node.inputs) or node.op.name == "variable"
        device = "" if touches else rng.choice(specifications)
        if node.op.name == "variable":
            device = DEVICES["ABCD"[len(node.attrs["shared_name"]) % 4]]
        inputs, controls = [tensors[t] for t in node.inputs], [nodes[c] for c in node.controls]
        nodes[node] = new.copy_node(node, inputs, controls, name=node.name, device=device)
        tensors |= dict(zip(node.outputs, nodes[node].outputs, strict=True))
    new.inputs = tuple(tensors[t] for t in graph.inputs)
    new.outputs = tuple(tensors[t] for t in graph.outputs)
    new.targets = tuple(nodes[n] for n in graph.targets)
    return PLACE.run(new, PassContext(CPU))


def test_parts_that_are_fused_one_by_one_may_wait_for_each_other() -> None:
    """A2 and A3, and B1 and B2, look independent to their own devices, and like one kernel."""
    graph = graph_of(
        X,
        "%A2: f32[3] = exp(%A1)",
        "%B1: f32[3] = multiply(%A1, %A2)",
        "%B2: f32[3] = tanh(%A1)",
        "%A3: f32[3] = multiply(%A1, %B2)",
        "%C1: f32[3] = add(%A3, %B1)",
        "inputs %A1",
        "targets %C1",
    )
    fuse, context = Fuse(), PassContext(CPU)
    parts = {d: fuse.run(part, context) for d, part in partition(graph, CLIENT).items()}
    assert [n.op.name for p in parts.values() for n in p.nodes].count("fused") == 2
    assert sum(1 for _ in in_turn(parts)) < sum(len(part) for part in parts.values())
    fused = fuse.run(graph, context)
    check_partitions(fused, partition(fused, CLIENT))


@pytest.mark.random_cases(quick=60, soak=2000)
def test_parts_of_random_graphs_are_the_graph(case_seed: int) -> None:
    """With control edges, several outputs, open sizes, bodies."""
    rng = random.Random(case_seed)
    graph = scattered(random_graph(rng), rng)
    parts = partition(graph, CLIENT)
    check_partitions(graph, parts)
    wanted = {(t.node.name, t.index, t.destination) for t in find_transfers(graph, CLIENT)}
    assert len(wanted) == sum(n.op.name == "send" for p in parts.values() for n in p.nodes)


@pytest.mark.random_cases(quick=80, soak=3000)
def test_parts_of_random_programs_compute_the_same_bits(case_seed: int) -> None:
    """Behind every pass; with variables that are read on other devices, and assigned from there."""
    program = random_program(case_seed)
    feeds, values = list(program.feeds), list(program.feeds.values())
    graph = extract(program.fetches, program.targets, feeds).graph
    try:
        for step in (ResolveState(), Prune()):
            graph = step.run(graph, PassContext(CPU))
    except StateError:
        return
    wanted = outcome(graph, values, program.variables)
    graph = scattered(graph, random.Random(case_seed))
    for step in (None, *cluster_pipeline(CPU, PLACE)[3:]):
        graph = graph if step is None else step.run(graph, PassContext(CPU))
        assert_same_bits(outcome(graph, values, program.variables), wanted)
        parts = partition(graph, CLIENT)
        check_partitions(graph, parts)
        assert_same_bits(run_parts(parts, values, program.variables), wanted)
    for node in graph.nodes:
        if node.op.name == "fused":
            inside = {n.device for n in node.attrs["body"].nodes if n.inputs}
            assert inside == {node.device}
