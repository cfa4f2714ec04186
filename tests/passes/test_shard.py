"""Sharding: the graph of every worker as text, the states of what goes in and comes out."""

import pytest

from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.passes.sharding import Replicated, Split, shard
from tests.passes.running import text
from tests.passes.shards import sharded

X = "%x: f32[n, 4] = placeholder() {dtype: f32, shape: [size(n), 4]}"
Y = "%y: f32[n, 1] = placeholder() {dtype: f32, shape: [size(n), 1]}"
IDS = "%ids: i32[n] = placeholder() {dtype: i32, shape: [size(n)]}"
W = (
    '%w: &f32[4, 1] = variable() {dtype: f32, shape: [4, 1], shared_name: "w"}',
    "%v: f32[4, 1] = read_variable(%w)",
)
RATE = "%rate: f32[] = constant() {value: array(f32[], [0.5])}"
PLAIN, FLIPPED = (
    f"{{transpose_a: {a}, transpose_b: false}}" for a in ("false", "true")
)  # fmt: skip
SUM = '{combiner: "sum"}'


def after(*lines: str, axes=None) -> list[str]:
    """The lines of the sharded graph that the given one does not have, and its outputs."""
    graph = parse_graph(text(*lines))
    found = sharded(graph, axes or [0] * len(graph.inputs))
    own = [line.strip() for line in print_graph(found.graph).splitlines()[1:-1]]
    return [line for line in own if line not in lines]


def test_a_training_step_reduces_each_gradient_once() -> None:
    lines = (
        X, Y, *W, RATE,
        f"%p: f32[n, 1] = matmul(%x, %v) {PLAIN}",
        "%e: f32[n, 1] = subtract(%p, %y)",
        "%n: f32[] = size(%e) {axes: [0, 1], dtype: f32}",
        "%d: f32[n, 1] = divide(%e, %n)",
        f"%g: f32[4, 1] = matmul(%x, %d) {FLIPPED}",
        "%s: f32[4, 1] = multiply(%rate, %g)",
        "%u: f32[4, 1] = subtract(%v, %s)",
        "%a: f32[4, 1] = assign(%w, %u) {initializer: false}",
        "inputs %x, %y", "targets %a",
    )  # fmt: skip
    assert after(*lines) == [
        "%n: f32[] = extent() {dtype: f32, value: size(_all_rows)}",
        f"%s/all_reduce: f32[4, 1] = all_reduce(%s) {SUM}",
        "%u: f32[4, 1] = subtract(%v, %s/all_reduce)",
    ]


def test_a_collective_stands_right_behind_what_it_combines() -> None:
    lines = (
        X,
        "%a: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}",
        "%b: f32[n, 4] = tanh(%x)",
        "%c: f32[4] = tanh(%a)",
        "inputs %x", "outputs %b, %c",
    )  # fmt: skip
    graph = sharded(parse_graph(text(*lines)), [0]).graph
    assert [node.name for node in graph.nodes] == ["x", "a", "a/all_reduce", "b", "c"]


def test_a_mean_is_divided_once_by_the_count_of_all_rows() -> None:
    lines = (
        X,
        "%s: f32[] = reduce_sum(%x) {axes: [0, 1], keepdims: false}",
        "%n: f32[] = size(%x) {axes: [0, 1], dtype: f32}",
        "%m: f32[] = divide(%s, %n)",
        "inputs %x", "outputs %m",
    )  # fmt: skip
    assert after(*lines) == [
        "%n: f32[] = extent() {dtype: f32, value: size(4 * _all_rows)}",
        f"%m/all_reduce: f32[] = all_reduce(%m) {SUM}",
        "outputs %m/all_reduce",
    ]


def test_shapes_are_those_of_the_whole_batch() -> None:
    lines = (
        X, "%s: i32[2] = shape(%x) {dtype: i32}", "%c: i32[] = size(%x) {axes: [1], dtype: i32}",
        "inputs %x", "outputs %s, %c",
    )  # fmt: skip
    assert after(*lines) == ["%s: i32[2] = extent() {dtype: i32, value: [size(_all_rows), 4]}"]


def test_a_size_does_not_hide_an_error() -> None:
    lines = (
        IDS, "%q: i32[n] = floordiv(%ids, %ids)", "%c: i32[] = size(%q) {axes: [0], dtype: i32}",
        "inputs %ids", "outputs %c",
    )  # fmt: skip
    assert after(*lines) == [
        "%c: i32[] = extent() {dtype: i32, value: size(_all_rows)}", "targets %q",
    ]  # fmt: skip


def test_statistics_of_the_batch_are_reduced_in_the_middle() -> None:
    keep = "{axes: [0], keepdims: false}"
    lines = (
        X,
        f"%s: f32[4] = reduce_sum(%x) {keep}",
        "%n: f32[] = size(%x) {axes: [0], dtype: f32}",
        "%mean: f32[4] = divide(%s, %n)",
        "%away: f32[n, 4] = subtract(%x, %mean)",
        "%square: f32[n, 4] = square(%away)",
        f"%t: f32[4] = reduce_sum(%square) {keep}",
        "%variance: f32[4] = divide(%t, %n)",
        "%scale: f32[4] = rsqrt(%variance)",
        "%z: f32[n, 4] = multiply(%away, %scale)",
        "inputs %x", "outputs %z",
    )  # fmt: skip
    assert after(*lines) == [
        "%n: f32[] = extent() {dtype: f32, value: size(_all_rows)}",
        f"%mean/all_reduce: f32[4] = all_reduce(%mean) {SUM}",
        "%away: f32[n, 4] = subtract(%x, %mean/all_reduce)",
        f"%variance/all_reduce: f32[4] = all_reduce(%variance) {SUM}",
        "%scale: f32[4] = rsqrt(%variance/all_reduce)",
    ]


def test_the_gradient_of_an_embedding_is_reduced() -> None:
    lines = (
        IDS, X,
        "%g: f32[9, 4] = scatter_add(%ids, %x) {axis: 0, shape: [9, 4]}",
        "inputs %ids, %x", "outputs %g",
    )  # fmt: skip
    assert after(*lines) == [
        f"%g/all_reduce: f32[9, 4] = all_reduce(%g) {SUM}", "outputs %g/all_reduce",
    ]  # fmt: skip


COUNTER = "%step: i64[] = placeholder() {dtype: i64, shape: []}"


@pytest.mark.parametrize(
    ("shape", "whole", "start"),
    [
        ("size(n), 4", "size(_all_rows), 4", "size(_first_row), 0"),
        ("4, size(2 * n)", "4, size(2 * _all_rows)", "0, size(2 * _first_row)"),
    ],
)
def test_random_numbers_are_those_of_the_undivided_tensor(shape, whole, start) -> None:
    rest = "dtype: f32, op_seed: 0, seed: 1"
    type_ = shape.replace("size(", "").replace(")", "")
    lines = (
        X, COUNTER, f"%r: f32[{type_}] = random_uniform(%step) {{{rest}, shape: [{shape}]}}",
        "inputs %x, %step", "outputs %r",
    )  # fmt: skip
    attrs = f"{rest}, shape: [{shape}], start: [{start}], whole: [{whole}]"
    assert after(*lines, axes=[0, None]) == [
        f"%r: f32[{type_}] = random_uniform(%step) {{{attrs}}}",
    ]


def test_weight_decay_is_added_to_the_reduced_gradient() -> None:
    lines = (
        X, Y, *W,
        f"%g: f32[4, 1] = matmul(%x, %y) {FLIPPED}",
        "%d: f32[4, 1] = add(%g, %v)",
        "inputs %x, %y", "outputs %d",
    )  # fmt: skip
    assert after(*lines) == [
        f"%g/all_reduce: f32[4, 1] = all_reduce(%g) {SUM}",
        "%d: f32[4, 1] = add(%g/all_reduce, %v)",
    ]


def test_shared_weights_have_one_reduction_of_the_sum() -> None:
    lines = (
        X, Y,
        f"%g: f32[4, 1] = matmul(%x, %y) {FLIPPED}",
        "%s: f32[1, 4] = reduce_sum(%x) {axes: [0], keepdims: true}",
        "%t: f32[4, 1] = transpose(%s) {perm: [1, 0]}",
        "%m: f32[4, 1] = negative(%t)",
        "%d: f32[4, 1] = add(%g, %m)",
        "inputs %x, %y", "outputs %d",
    )  # fmt: skip
    assert after(*lines) == [
        f"%d/all_reduce: f32[4, 1] = all_reduce(%d) {SUM}", "outputs %d/all_reduce",
    ]  # fmt: skip


def test_what_one_reader_needs_combined_all_are_given() -> None:
    """``h`` could stay partial, but would be combined a second time."""
    lines = (
        X, RATE,
        "%g: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}",
        "%h: f32[4] = multiply(%g, %rate)",
        "%q: f32[4] = square(%g)",
        "inputs %x", "outputs %h, %q",
    )  # fmt: skip
    combined = f"%g/all_reduce: f32[4] = all_reduce(%g) {SUM}"
    assert after(*lines) == [
        combined,
        "%h: f32[4] = multiply(%g/all_reduce, %rate)",
        "%q: f32[4] = square(%g/all_reduce)",
    ]
    alone = (*lines[:3], lines[4], "inputs %x", "outputs %q")
    assert after(*alone) == [combined, "%q: f32[4] = square(%g/all_reduce)"]


def test_what_several_combined_tensors_are_made_of_is_combined_once() -> None:
    lines = (
        X, RATE,
        "%g: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}",
        "%h: f32[4] = multiply(%g, %rate)",
        "%q: f32[4] = negative(%g)",
        "inputs %x", "outputs %h, %q",
    )  # fmt: skip
    assert after(*lines) == [
        f"%g/all_reduce: f32[4] = all_reduce(%g) {SUM}",
        "%h: f32[4] = multiply(%g/all_reduce, %rate)",
        "%q: f32[4] = negative(%g/all_reduce)",
    ]


def test_small_sums_of_a_large_tensor_are_combined_by_themselves() -> None:
    lines = (
        X, RATE,
        "%g: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}",
        "%h: f32[] = reduce_sum(%g) {axes: [0], keepdims: false}",
        "%q: f32[] = negative(%h)",
        "%r: f32[] = multiply(%h, %rate)",
        "inputs %x", "outputs %q, %r",
    )  # fmt: skip
    assert after(*lines) == [
        f"%h/all_reduce: f32[] = all_reduce(%h) {SUM}",
        "%q: f32[] = negative(%h/all_reduce)",
        "%r: f32[] = multiply(%h/all_reduce, %rate)",
    ]


def test_the_smaller_tensor_is_combined() -> None:
    lines = (
        X,
        "%g: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}",
        "%b: f32[9, 4] = broadcast_to(%g) {shape: [9, 4]}",
        "%s: f32[] = reduce_sum(%g) {axes: [0], keepdims: false}",
        "inputs %x", "outputs %b, %s",
    )  # fmt: skip
    assert after(*lines) == [
        f"%g/all_reduce: f32[4] = all_reduce(%g) {SUM}",
        "%b: f32[9, 4] = broadcast_to(%g/all_reduce) {shape: [9, 4]}",
        "%s: f32[] = reduce_sum(%g/all_reduce) {axes: [0], keepdims: false}",
    ]


@pytest.mark.parametrize(
    ("op", "combiner"), [("reduce_max", "max"), ("reduce_min", "min"), ("reduce_prod", "prod")]
)
def test_extremes_of_the_batch_may_be_moved_and_nothing_else(op, combiner) -> None:
    lines = (
        X,
        f"%g: f32[4] = {op}(%x) {{axes: [0], keepdims: false}}",
        "%r: f32[2, 2] = reshape(%g) {shape: [2, 2]}",
        "%q: f32[2, 2] = negative(%r)",
        "inputs %x", "outputs %q",
    )  # fmt: skip
    assert after(*lines) == [
        f'%r/all_reduce: f32[2, 2] = all_reduce(%r) {{combiner: "{combiner}"}}',
        "%q: f32[2, 2] = negative(%r/all_reduce)",
    ]


ROWS = {
    "transpose": ("%z: f32[4, n] = transpose(%x) {perm: [1, 0]}", 1),
    "merged axes": ("%z: f32[4 * n] = reshape(%x) {shape: [size(4 * n)]}", 0),
    "other axes": ("%z: f32[2 * n, 2] = reshape(%x) {shape: [size(2 * n), 2]}", 0),
    "a new axis": ("%z: f32[1, n, 4] = reshape(%x) {shape: [1, size(n), 4]}", 1),
    "softmax of rows": ("%z: f32[n, 4] = softmax(%x) {axis: -1}", 0),
    "the best class": ("%z: i64[n] = argmax(%x) {axis: 1}", 0),
    "columns": (
        "%z: f32[n, 2] = strided_slice(%x) {sizes: [size(n), 2], starts: [0, 1], strides: [1, 1]}",
        0,
    ),
    "joined columns": ("%z: f32[n, 8] = concat(%x, %x) {axis: 1}", 0),
    "repeated": ("%z: f32[5, n, 4] = broadcast_to(%x) {shape: [5, size(n), 4]}", 1),
    "classes marked": (
        "%z: f32[n, 3] = one_hot(%ids) {axis: -1, depth: 3, dtype: f32, off: 0, on: 1}", 0,
    ),
    "cross entropy": ("%z: f32[n], f32[n, 4] = sparse_softmax_cross_entropy(%x, %ids)", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_stay_with_their_worker(name: str) -> None:
    line, axis = ROWS[name]
    graph = parse_graph(text(X, IDS, line, "inputs %x, %ids", "outputs %z"))
    found = sharded(graph, [0, 0])
    assert found.outputs == (Split(axis),)
    assert print_graph(found.graph) == print_graph(graph)


def test_accuracy() -> None:
    lines = (
        X, "%labels: i64[n] = placeholder() {dtype: i64, shape: [size(n)]}",
        "%best: i64[n] = argmax(%x) {axis: 1}",
        "%right: bool[n] = equal(%best, %labels)",
        "%one: f32[n] = cast(%right) {dtype: f32}",
        "%s: f32[] = reduce_sum(%one) {axes: [0], keepdims: false}",
        "%every: bool[] = reduce_all(%right) {axes: [0], keepdims: false}",
        "inputs %x, %labels", "outputs %s, %every",
    )  # fmt: skip
    assert after(*lines) == [
        f"%s/all_reduce: f32[] = all_reduce(%s) {SUM}",
        '%every/all_reduce: bool[] = all_reduce(%every) {combiner: "all"}',
        "outputs %s/all_reduce, %every/all_reduce",
    ]


def test_sizes_of_split_inputs_become_one() -> None:
    other = "%o: f32[4, m] = placeholder() {dtype: f32, shape: [4, size(m)]}"
    same = "%z: f32[m, 4] = transpose(%o) {perm: [1, 0]}"
    graph = parse_graph(text(X, other, same, "inputs %x, %o", "outputs %z"))
    found = sharded(graph, [0, 1])
    assert (found.rows, found.all_rows, found.first_row) == ("n", "_all_rows", "_first_row")
    assert [str(node.types[0]) for node in found.graph.nodes] == ["f32[n, 4]", "f32[4, n]",
                                                                  "f32[n, 4]"]  # fmt: skip
    assert (found.inputs, found.outputs) == ((Split(0), Split(1)), (Split(0),))


def test_without_rows_nothing_changes() -> None:
    lines = (COUNTER, *W, "%t: f32[4, 1] = tanh(%v)", "inputs %step", "outputs %t, %step")
    graph = parse_graph(text(*lines))
    found = shard(graph, {})
    assert print_graph(found.graph) == print_graph(graph)
    assert found.outputs == (Replicated(), Replicated())


def test_provenance_is_inherited() -> None:
    where = ' on "/cpu:0" at "train.py":3 forward "z"'
    line = "%g: f32[4] = reduce_sum(%x) {axes: [0], keepdims: false}" + where
    size = "%n: f32[] = size(%x) {axes: [0], dtype: f32}" + where
    graph = sharded(parse_graph(text(X, line, size, "inputs %x", "outputs %g, %n")), [0]).graph
    for name in ("g/all_reduce", "n"):
        node = graph.node(name)
        assert (node.device, str(node.source), node.forward) == ("/cpu:0", "train.py:3", "z")
