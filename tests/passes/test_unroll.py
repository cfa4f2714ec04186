"""Unrolling: one copy for each logical shard of what depends on its rows."""

import pytest

from graphc.ir.dims import symbols_of
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.ir.verify import verify
from graphc.passes.unroll import Unroll
from tests.passes.running import becomes, text

X = "%x: f32[n, 4] = placeholder() {dtype: f32, shape: [size(n), 4]}"
S0 = "%x: f32[n_shard0, 4] = placeholder() {dtype: f32, shape: [size(n_shard0), 4]}"
S1 = "%x/shard1: f32[n_shard1, 4] = placeholder() {dtype: f32, shape: [size(n_shard1), 4]}"
KEEP = "{axes: [0], keepdims: false}"
SUM, TWO = '{combiner: "sum"}', '{combiner: "sum", rows: 2}'
OWN = ("n", "first")


def unrolled(*lines, shards=2):
    graph = Unroll(OWN, shards).run(parse_graph(text(*lines)))
    verify(graph)
    return graph


def test_a_reduction_takes_the_tensors_of_all_shards():
    becomes(
        text(
            X, f"%s: f32[4] = reduce_sum(%x) {KEEP}", f"%m: f32[4] = reduce_max(%x) {KEEP}",
            f"%r: f32[4], f32[4] = all_reduce(%s, %m) {SUM}", "%t: f32[4] = tanh(%r:1)",
            "inputs %x", "outputs %t, %r",
        ),
        text(
            S0, S1,
            f"%s: f32[4] = reduce_sum(%x) {KEEP}",
            f"%s/shard1: f32[4] = reduce_sum(%x/shard1) {KEEP}",
            f"%m: f32[4] = reduce_max(%x) {KEEP}",
            f"%m/shard1: f32[4] = reduce_max(%x/shard1) {KEEP}",
            f"%r: f32[4], f32[4] = all_reduce(%s, %m, %s/shard1, %m/shard1) {TWO}",
            "%t: f32[4] = tanh(%r:1)", "inputs %x, %x/shard1", "outputs %t, %r",
        ),
        Unroll(OWN, 2),
    )  # fmt: skip


def test_what_comes_from_a_reduction_goes_to_all_shards():
    becomes(
        text(
            X, f"%s: f32[4] = reduce_sum(%x) {KEEP}", f"%r: f32[4] = all_reduce(%s) {SUM}",
            "%z: f32[n, 4] = subtract(%x, %r)", "inputs %x", "outputs %z",
        ),
        text(
            S0, S1,
            f"%s: f32[4] = reduce_sum(%x) {KEEP}",
            f"%s/shard1: f32[4] = reduce_sum(%x/shard1) {KEEP}",
            f"%r: f32[4] = all_reduce(%s, %s/shard1) {TWO}",
            "%z: f32[n_shard0, 4] = subtract(%x, %r)",
            "%z/shard1: f32[n_shard1, 4] = subtract(%x/shard1, %r)",
            "inputs %x, %x/shard1", "outputs %z, %z/shard1",
        ),
        Unroll(OWN, 2),
    )  # fmt: skip


def test_what_all_workers_have_is_computed_once():
    lines = (
        X, "%c: f32[4] = placeholder() {dtype: f32, shape: [4]}", "%d: f32[4] = tanh(%c)",
        "%z: f32[n, 4] = add(%x, %d)", f"%s: f32[4] = reduce_sum(%z) {KEEP}",
        f"%r: f32[4] = all_reduce(%s) {SUM}", "%u: f32[4] = subtract(%d, %r)",
        "inputs %x, %c", "outputs %u, %d",
    )  # fmt: skip
    graph = unrolled(*lines, shards=3)
    names = [node.name for node in graph.nodes]
    assert [sum(n == k or n.startswith(f"{k}/") for n in names) for k in "xcdzsru"] == [
        3, 1, 1, 3, 3, 1, 1,
    ]  # fmt: skip
    assert [t.name for t in graph.inputs] == ["x:0", "x/shard1:0", "x/shard2:0", "c:0"]
    assert [t.name for t in graph.outputs] == ["u:0", "d:0"]


def test_ends_are_in_order_shard_behind_shard():
    lines = (
        X, "%y: f32[n] = placeholder() {dtype: f32, shape: [size(n)]}",
        "%a: f32[n, 4] = tanh(%x)", "%b: f32[n] = tanh(%y)", "inputs %y, %x", "outputs %a, %b, %a",
    )  # fmt: skip
    graph = unrolled(*lines, shards=2)
    assert [t.name for t in graph.inputs] == ["y:0", "y/shard1:0", "x:0", "x/shard1:0"]
    assert [t.name for t in graph.outputs] == [
        "a:0", "a/shard1:0", "b:0", "b/shard1:0", "a:0", "a/shard1:0",
    ]  # fmt: skip


def test_one_shard_has_the_names_that_were():
    lines = (
        X, f"%s: f32[4] = reduce_sum(%x) {KEEP}", f"%r: f32[4] = all_reduce(%s) {SUM}",
        "inputs %x", "outputs %r",
    )  # fmt: skip
    graph = unrolled(*lines, shards=1)
    assert print_graph(graph) == text(S0, *lines[1:])


def test_fused_bodies_have_the_sizes_of_their_shard():
    line = "%z: f32[n, 4] = fused(%x) {body: @b0}"
    body = (
        "body @b0 {",
        "    %p: f32[n, 4] = placeholder() {dtype: f32, shape: [size(n), 4]}",
        "    %q: f32[n, 4] = tanh(%p)",
        "    %o: f32[n, 4] = square(%q)",
        "    inputs %p",
        "    outputs %o",
        "}",
    )
    graph = unrolled(X, *body, line, "inputs %x", "outputs %z")
    for shard, tensor in enumerate(graph.outputs):
        inside = tensor.node.attrs["body"]
        shapes = {t.shape for node in inside.nodes for t in node.outputs}
        assert shapes == {tensor.shape}
        assert symbols_of(tensor.shape[0]) == {f"n_shard{shard}"}


@pytest.mark.parametrize("attribute", ["start: [size(first), 0]", "start: [0, size(first)]"])
def test_sizes_in_attributes_are_those_of_the_shard(attribute):
    whole = "whole: [size(all), 4]"
    counter = "%step: i64[] = placeholder() {dtype: i64, shape: []}"
    line = (
        "%r: f32[n, 4] = random_uniform(%step) "
        f"{{dtype: f32, op_seed: 0, seed: 1, shape: [size(n), 4], {attribute}, {whole}}}"
    )
    graph = unrolled(X, counter, line, "inputs %x, %step", "outputs %r")
    for shard, tensor in enumerate(graph.outputs):
        names = {name for dim in tensor.node.attrs["start"] for name in symbols_of(dim)}
        assert names == {f"first_shard{shard}"}
        assert tensor.node.inputs == graph.node("step").outputs
        assert tensor.node.attrs["whole"] == graph.outputs[0].node.attrs["whole"]
