"""Constant folding: exact ops over constants, sizes that are known, and what is left alone."""

import numpy as np
import pytest

import graphc as gx
from graphc.ir.parse import parse_graph
from graphc.passes.fold_constants import FoldConstants
from graphc.passes.prune import Prune
from tests.passes.running import becomes, rewritten, stays, text

X = "%x: f32[2, 3] = placeholder() {dtype: f32, shape: [2, 3]}"
C = "%c: f32[2] = constant() {value: array(f32[2], [1.5, -0.0])}"


def test_exact_ops_are_computed() -> None:
    before = text(
        C,
        "%d: f32[2] = negative(%c)",
        "%e: f32[2] = subtract(%d, %c)",
        'outputs %e',
    )  # fmt: skip
    after = text("%e: f32[2] = constant() {value: array(f32[2], [-3.0, 0.0])}", "outputs %e")
    becomes(before, after, FoldConstants(), Prune())


def test_a_constant_is_where_it_was_computed() -> None:
    here, away = ' on "/job:ps/task:0/cpu:0"', ' on "/job:worker/task:1/cpu:0"'
    before = text(C + away, f"%d: f32[2] = negative(%c){here}", "outputs %d")
    after = text(
        f"%d: f32[2] = constant() {{value: array(f32[2], [-1.5, 0.0])}}{here}", "outputs %d"
    )
    becomes(before, after, FoldConstants(), Prune())


def test_every_output_of_a_node_is_folded() -> None:
    before = text(
        C,
        "%s: f32[1], f32[1] = split(%c) {axis: 0, sizes: [1, 1]}",
        "%y: f32[1] = add(%s:1, %s)",
        "outputs %s:1, %y",
    )
    after = text(
        "%s/1: f32[1] = constant() {value: array(f32[1], [-0.0])}",
        "%y: f32[1] = constant() {value: array(f32[1], [1.5])}",
        "outputs %s/1, %y",
    )
    becomes(before, after, FoldConstants(), Prune())


@pytest.mark.parametrize(
    "line",
    [
        "%y: f32[2] = exp(%c)",  # no machine rounds it exactly: the kernel decides
        "%y: f32[4, 2] = broadcast_to(%c) {shape: [4, 2]}",  # readers do without it
        "%y: f32[] = reduce_sum(%c) {axes: [0], keepdims: false}",  # depends on the order
    ],
)
def test_what_is_not_exact_stays(line: str) -> None:
    stays(text(C, line, "outputs %y"), FoldConstants())


def test_what_fails_is_left_to_fail_in_a_run() -> None:
    stays(
        text(
            "%a: i32[] = constant() {value: array(i32[], [7])}",
            "%b: i32[] = constant() {value: array(i32[], [0])}",
            "%y: i32[] = floordiv(%a, %b)",
            "outputs %y",
        ),
        FoldConstants(),
    )


def test_results_are_bounded() -> None:
    before = text(
        "%i: i64[4] = constant() {value: array(i64[4], [0, 1, 2, 3])}",
        "%y: f32[4, 100] = one_hot(%i) "
        "{axis: -1, depth: 100, dtype: f32, off: 0.0, on: 1.0}",
        "outputs %y",
    )  # fmt: skip
    stays(before, FoldConstants(max_bytes=1000))
    assert rewritten(FoldConstants(), parse_graph(before)).node("y").op.name == "constant"


def test_known_sizes_are_constants() -> None:
    before = text(
        X,
        "%n: i32[] = size(%x) {axes: [0, 1], dtype: i32}",
        "%s: i64[2] = shape(%x) {dtype: i64}",
        "inputs %x",
        "outputs %n, %s",
    )
    after = text(
        X,
        "%n: i32[] = constant() {value: array(i32[], [6])}",
        "%s: i64[2] = constant() {value: array(i64[2], [2, 3])}",
        "inputs %x",
        "outputs %n, %s",
    )
    becomes(before, after, FoldConstants())


def test_unknown_sizes_stay() -> None:
    x = "%x: f32[n, 3] = placeholder() {dtype: f32, shape: [size(n), 3]}"
    size = "%n: i32[] = size(%x) {axes: [0], dtype: i32}"
    stays(text(x, size, "inputs %x", "outputs %n"), FoldConstants())


def test_a_size_does_not_hide_a_failure() -> None:
    """The gather has to run: its index may be out of range."""
    stays(
        text(
            X,
            "%i: i32[1] = placeholder() {dtype: i32, shape: [1]}",
            "%g: f32[1, 3] = gather(%x, %i) {axis: 0}",
            "%n: i32[] = size(%g) {axes: [0, 1], dtype: i32}",
            "inputs %x, %i",
            "outputs %n",
        ),
        FoldConstants(),
    )


def test_folded_values_are_the_references() -> None:
    value = np.array([[0.1, -0.0], [np.inf, np.nan]], np.float32)
    graph = gx.Graph()
    with graph.as_default():
        graph.outputs = (gx.sqrt(gx.abs(gx.transpose(gx.constant(value)))) / 3.0,)
    (found,) = rewritten(FoldConstants(), graph).outputs
    wanted = (np.sqrt(np.abs(value.T)) / np.float32(3)).astype(np.float32)
    np.testing.assert_array_equal(found.node.attrs["value"], wanted)
