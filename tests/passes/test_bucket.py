"""Buckets: which reductions are joined, in which order all is computed, and that values stay."""

import random

import numpy as np
import pytest

from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.verify import verify
from graphc.passes.bucket import Bucket, find_buckets
from tests.passes.running import becomes, rewritten, stays, text

X = "%x: f32[4] = placeholder() {dtype: f32, shape: [4]}"
I = "%i: i32[4] = placeholder() {dtype: i32, shape: [4]}"
N = "%n: f32[n] = placeholder() {dtype: f32, shape: [size(n)]}"
SUM, MAX = '{combiner: "sum"}', '{combiner: "max"}'
BYTES = 16
"""Those of each of the tensors but ``n``."""


def reduced(name, operand="x", type_="f32[4]", combiner=SUM):
    return f"%{name}: {type_} = all_reduce(%{operand}) {combiner}"


def buckets(*lines, limit=1000, first=1000):
    """The names of the nodes in each bucket."""
    graph = parse_graph(text(*lines))
    return [[node.name for node in found] for found in find_buckets(graph, limit, first)]


def test_reductions_become_one_that_stands_behind_its_last_operand():
    becomes(
        text(
            X, reduced("a"), "%p: f32[4] = tanh(%a)", "%y: f32[4] = square(%x)",
            reduced("b", "y"), "%q: f32[4] = add(%p, %b)", "inputs %x", "outputs %q",
        ),
        text(
            X, "%y: f32[4] = square(%x)",
            "%a: f32[4], f32[4] = all_reduce(%x, %y) {combiner: \"sum\"}",
            "%p: f32[4] = tanh(%a)", "%q: f32[4] = add(%p, %a:1)", "inputs %x", "outputs %q",
        ),
        Bucket(),
    )  # fmt: skip


def test_what_needs_no_reduction_comes_first():
    """A reduction begins as soon as its operands are there, what needs it comes as late as can be."""
    becomes(
        text(
            X, reduced("a"), "%p: f32[4] = tanh(%a)", reduced("b", "p"), "%q: f32[4] = tanh(%b)",
            "%r: f32[4] = square(%a)", "%y: f32[4] = square(%x)", "inputs %x", "outputs %q, %r, %y",
        ),
        text(
            X, reduced("a"), "%y: f32[4] = square(%x)", "%p: f32[4] = tanh(%a)", reduced("b", "p"),
            "%r: f32[4] = square(%a)", "%q: f32[4] = tanh(%b)", "inputs %x", "outputs %q, %r, %y",
        ),
        Bucket(),
    )  # fmt: skip


def test_a_graph_without_reductions_stays():
    stays(text(X, "%y: f32[4] = tanh(%x)", "inputs %x", "outputs %y"), Bucket())


@pytest.mark.parametrize(
    ("limit", "first", "found"),
    [
        (2 * BYTES, 2 * BYTES, ["ab", "cd", "e"]),
        (2 * BYTES, BYTES, ["a", "bc", "de"]),
        (3 * BYTES - 1, 1, ["a", "bc", "de"]),  # what does not fit has a bucket of its own
        (1, 1, ["a", "b", "c", "d", "e"]),
        (5 * BYTES, 5 * BYTES, ["abcde"]),
    ],
)
def test_limits(limit, first, found):
    lines = [reduced(name) for name in "abcde"]
    assert buckets(X, *lines, "inputs %x", limit=limit, first=first) == [[*b] for b in found]


def test_dtypes_and_combiners_stay_apart():
    lines = (
        X, I, reduced("a"), reduced("b", combiner=MAX), reduced("c", "i", "i32[4]"),
        reduced("d"), reduced("e", combiner=MAX), reduced("f", "i", "i32[4]"), "inputs %x, %i",
    )  # fmt: skip
    assert buckets(*lines) == [["a", "d"], ["b", "e"], ["c", "f"]]


def test_dependent_reductions_are_never_in_one_bucket():
    lines = (
        X, reduced("a"), "%p: f32[4] = tanh(%a)", reduced("b", "p"), reduced("c"),
        reduced("d", "b"), "inputs %x",
    )  # fmt: skip
    assert buckets(*lines) == [["a"], ["b", "c"], ["d"]]


def test_a_reduction_may_depend_on_one_of_another_kind():
    """``c`` cannot join ``a``: it needs ``b``, which needs ``a``."""
    lines = (X, reduced("a"), reduced("b", "a", combiner=MAX), reduced("c", "b"), "inputs %x")
    assert buckets(*lines) == [["a"], ["b"], ["c"]]


def test_a_size_that_only_a_run_knows_counts_as_nothing():
    lines = (N, X, *(reduced(name, "n", "f32[n]") for name in "abc"), reduced("d"), "inputs %n, %x")
    assert buckets(*lines, limit=BYTES, first=BYTES) == [["a", "b", "c", "d"]]


def test_targets_may_be_reductions():
    graph = parse_graph(text(X, reduced("a"), reduced("b"), "inputs %x", "targets %a, %b"))
    joined = rewritten(Bucket(), graph)
    assert [node.name for node in joined.targets] == ["a"]


def random_graph(seed):
    """Reductions of several kinds, in a net of other nodes."""
    rng, graph = random.Random(seed), Graph()
    tensors = list(graph.add("placeholder", (), {"dtype": dtype, "shape": (3,)}).outputs[0]
                   for dtype in KINDS)  # fmt: skip
    graph.inputs = tuple(tensors)
    for _ in range(40):
        x = rng.choice(tensors[-12:])
        if rng.random() < 0.4:
            made = graph.add("all_reduce", [x], {"combiner": rng.choice(["sum", "max"])})
        else:
            other = rng.choice([t for t in tensors if t.dtype == x.dtype])
            made = graph.add(rng.choice(["add", "maximum"]), [x, other])
        tensors.append(made.outputs[0])
    graph.outputs = tuple(rng.sample(tensors, 6))
    return graph


KINDS = tuple(parse_graph(text(X, I, "inputs %x, %i")).inputs[n].dtype for n in range(2))


def values_of(graph):
    """The outputs, where a reduction multiplies by a number that tells its combiner."""
    found = {t: np.arange(3) + 5 * n for n, t in enumerate(graph.inputs)}
    for node in graph.nodes:
        if node.op.name == "all_reduce":
            factor = 3 if node.attrs["combiner"] == "sum" else 7
            values = [found[t] * factor % 1009 for t in node.inputs]
        elif node.inputs:
            a, b = (found[t] for t in node.inputs)
            values = [(a + b) % 1009 if node.op.name == "add" else np.maximum(a, b)]
        else:
            continue
        found.update(zip(node.outputs, values, strict=True))
    return [found[t] for t in graph.outputs]


@pytest.mark.random_cases(quick=60, soak=3000)
def test_buckets_make_no_circles_and_change_no_value(case_seed):
    graph, rng = random_graph(case_seed), random.Random(case_seed)
    limit = rng.choice([1, 24, 50, 10**6])
    first = rng.choice([1, limit])
    joined = Bucket(limit, first).run(graph, None)
    verify(joined)
    np.testing.assert_array_equal(values_of(joined), values_of(graph))
    kinds = [node for node in joined.nodes if node.op.name == "all_reduce"]
    for node in kinds:
        assert len(node.inputs) == 1 or sum(t.type.bytes for t in node.inputs) <= limit
    numbers = {found[0].name: n for n, found in enumerate(find_buckets(graph, limit, first))}
    behind, order = {}, []
    for node in joined.nodes:
        order.append(max((behind[t.node] for t in node.inputs), default=-1))
        behind[node] = numbers[node.name] if node in kinds else order[-1]
    assert order == sorted(order), "what needs a later bucket comes later"
