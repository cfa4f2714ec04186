"""State: what reads see, which assigns stay, and which programs have no meaning."""

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.errors import DataError, StateError
from graphc.ir.parse import parse_graph
from graphc.passes.prune import Prune
from graphc.passes.resolve_state import ResolveState
from tests.passes.running import assert_same_bits, becomes, outcome, rewritten, stays, text

X = "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}"
V = '%v: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "v"}'
W = '%w: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "w"}'
ASSIGN = "{initializer: false}"


def test_update_becomes_arithmetic_and_assign() -> None:
    before = text(X, V, "%a: f32[3] = assign_sub(%v, %x)", "inputs %x", "targets %a")
    after = text(
        X, V,
        "%a/read: f32[3] = read_variable(%v)",
        "%a/value: f32[3] = subtract(%a/read, %x)",
        f"%a: f32[3] = assign(%v, %a/value) {ASSIGN}",
        "inputs %x", "targets %a",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_what_an_update_becomes_stays_on_its_device() -> None:
    here, away = ' on "/job:ps/task:0/cpu:0"', ' on "/job:worker/task:1/cpu:0"'
    before = text(
        X + away, V + here, f"%a: f32[3] = assign_sub(%v, %x){here}", "inputs %x", "targets %a"
    )
    after = text(
        X + away, V + here,
        f"%a/read: f32[3] = read_variable(%v){here}",
        f"%a/value: f32[3] = subtract(%a/read, %x){here}",
        f"%a: f32[3] = assign(%v, %a/value) {ASSIGN}{here}",
        "inputs %x", "targets %a",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_a_read_behind_an_assign_sees_what_was_assigned() -> None:
    before = text(
        X, V,
        "%early: f32[3] = read_variable(%v)",
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%late: f32[3] = read_variable(%v) after %a",
        "%y: f32[3] = subtract(%late, %early)",
        "inputs %x", "outputs %y",
    )  # fmt: skip
    after = text(
        X, V,
        "%early: f32[3] = read_variable(%v)",
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%y: f32[3] = subtract(%x, %early)",
        "inputs %x", "outputs %y", "targets %a",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_a_read_without_a_path_sees_the_start_wherever_it_stands() -> None:
    before = text(
        X, V,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%late: f32[3] = read_variable(%v)",
        "inputs %x", "outputs %late", "targets %a",
    )  # fmt: skip
    stays(before, ResolveState())


def test_one_read_of_the_start_is_left() -> None:
    before = text(
        V,
        "%r: f32[3] = read_variable(%v)",
        "%s: f32[3] = read_variable(%v)",
        "%y: f32[3] = add(%r, %s)",
        "outputs %y",
    )
    after = text(V, "%r: f32[3] = read_variable(%v)", "%y: f32[3] = add(%r, %r)", "outputs %y")
    becomes(before, after, ResolveState())


def test_a_path_may_lead_through_other_variables_and_values() -> None:
    before = text(
        X, V, W,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%b: f32[3] = negative(%a)",
        "%c: f32[3] = assign_add(%w, %b)",
        "%done = no_op() after %c",
        "%r: f32[3] = read_variable(%v) after %done",
        "inputs %x", "outputs %r",
    )  # fmt: skip
    after = text(
        X, V, W,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%b: f32[3] = negative(%x)",
        "%c/read: f32[3] = read_variable(%w)",
        "%c/value: f32[3] = add(%c/read, %b)",
        f"%c: f32[3] = assign(%w, %c/value) {ASSIGN}",
        "inputs %x", "outputs %x", "targets %a, %c",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_of_ordered_assigns_the_last_stays() -> None:
    before = text(
        X, V,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%b: f32[3] = assign_add(%v, %x) after %a",
        "%c: f32[3] = assign_sub(%v, %b)",
        "inputs %x", "outputs %b", "targets %c",
    )  # fmt: skip
    after = text(
        X, V,
        "%b/value: f32[3] = add(%x, %x)",
        "%c/value: f32[3] = subtract(%b/value, %b/value)",
        f"%c: f32[3] = assign(%v, %c/value) {ASSIGN}",
        "inputs %x", "outputs %b/value", "targets %c",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_groups_and_controls_go_and_their_effects_stay() -> None:
    before = text(
        X, V,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%all = no_op() after %a",
        "%y: f32[3] = tanh(%x) after %all",
        "inputs %x", "outputs %y",
    )  # fmt: skip
    after = text(
        X, V,
        f"%a: f32[3] = assign(%v, %x) {ASSIGN}",
        "%y: f32[3] = tanh(%x)",
        "inputs %x", "outputs %y", "targets %a",
    )  # fmt: skip
    becomes(before, after, ResolveState())


def test_the_counter_of_random_numbers_advances() -> None:
    """Nobody fetches it: the random op is ordered behind it."""
    y = gx.random_uniform([2]) + gx.random_normal([2])
    graph = extract([y], [], []).graph
    found = rewritten(ResolveState(), graph)
    assert [node.op.name for node in found.targets] == ["assign"]
    start = {"random/counter": np.array(5, np.int64)}
    values, state = outcome(found, [], start)
    assert state["random/counter"] == 6
    assert_same_bits((values, state), outcome(graph, [], start))


@pytest.mark.parametrize("first", ["assign(%v, %x) {initializer: false}", "assign_add(%v, %x)"])
def test_unordered_assigns_are_refused(first: str) -> None:
    graph = parse_graph(text(
        X, V,
        f'%one: f32[3] = {first} at "model.py":11',
        '%two: f32[3] = assign_sub(%v, %x) at "model.py":22',
        "inputs %x", "targets %one, %two",
    ))  # fmt: skip
    with pytest.raises(StateError) as error:
        rewritten(ResolveState(), graph)
    message = str(error.value)
    for part in ("'one'", "'two'", "'v'", "model.py:11", "model.py:22", "no path orders",
                 "control_dependencies"):  # fmt: skip
        assert part in message


def test_assigns_ordered_before_a_third_but_not_among_themselves_are_refused() -> None:
    graph = parse_graph(text(
        X, V,
        "%a: f32[3] = assign_add(%v, %x)",
        "%b: f32[3] = assign_add(%v, %x)",
        "%c: f32[3] = assign_add(%v, %x) after %a, %b",
        "inputs %x", "targets %c",
    ))  # fmt: skip
    with pytest.raises(StateError, match="'a'"):
        rewritten(ResolveState(), graph)


def test_two_handles_of_one_variable_are_one_variable() -> None:
    other = V.replace("%v:", "%other:")
    graph = parse_graph(text(
        X, V, other,
        "%a: f32[3] = assign_add(%v, %x)",
        "%b: f32[3] = assign_add(%other, %x)",
        "inputs %x", "targets %a, %b",
    ))  # fmt: skip
    with pytest.raises(StateError):
        rewritten(ResolveState(), graph)


def test_what_can_fail_is_run_even_if_nobody_reads_it() -> None:
    i = gx.placeholder(gx.int32, [2])
    with gx.control_dependencies([7 // i]):
        y = gx.identity(i)
    graph = rewritten(Prune(), rewritten(ResolveState(), extract([y], [], [i]).graph))
    assert [node.op.name for node in graph.targets] == ["floordiv"]
    with pytest.raises(DataError):
        outcome(graph, [np.array([1, 0], np.int32)], {})


def test_what_cannot_fail_and_nobody_reads_is_not_run() -> None:
    x = gx.placeholder(gx.float32, [2])
    with gx.control_dependencies([gx.exp(x)]):
        y = gx.tanh(x)
    graph = rewritten(Prune(), rewritten(ResolveState(), extract([y], [], [x]).graph))
    assert [node.op.name for node in graph.nodes] == ["placeholder", "tanh"]


def test_a_value_whose_sizes_only_a_run_knows_is_read_back_in_the_variables_shape() -> None:
    x = gx.placeholder(gx.float32, [None])
    v = gx.Variable(np.zeros(3, np.float32))
    assigned = v.assign(x)
    with gx.control_dependencies([assigned]):
        y = v.read_value() * 2.0
    graph = rewritten(ResolveState(), extract([y], [], [x]).graph)
    start = {"Variable": np.zeros(3, np.float32)}
    (value,), state = outcome(graph, [np.ones(3, np.float32)], start)
    np.testing.assert_array_equal(value, [2, 2, 2])
    np.testing.assert_array_equal(state["Variable"], [1, 1, 1])


def test_many_ordered_assigns_are_resolved() -> None:
    v = gx.Variable(np.float32(0))
    last = v.assign_add(1.0)
    for _ in range(2000):
        with gx.control_dependencies([last]):
            last = v.assign_add(1.0)
    graph = rewritten(ResolveState(), extract([last], [], []).graph)
    assert len(graph.targets) == 1
    (value,), state = outcome(graph, [], {"Variable": np.float32(0)})
    assert value == state["Variable"] == 2001
