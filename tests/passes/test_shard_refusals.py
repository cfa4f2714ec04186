"""What cannot be sharded: each refusal names op, operands, the user's line and the rule."""

import pytest

from graphc.ir.errors import ShardError
from graphc.ir.parse import parse_graph
from graphc.passes.sharding import shard
from tests.passes.running import text
from tests.passes.shards import sharded
from tests.passes.test_shard import IDS, X, after

NEEDED = "rows of the batch are needed from other workers"
REFUSALS = {
    "a product of all with all": (
        "%z: f32[n, n] = matmul(%x, %x) {transpose_a: false, transpose_b: true}", NEEDED),
    "softmax over the batch": ("%z: f32[n, 4] = softmax(%x) {axis: 0}", NEEDED),
    "the best row": ("%z: i64[4] = argmax(%x) {axis: 0} where n >= 1 \"a row\"", NEEDED),
    "reversed rows": (
        ("%z: f32[n, 4] = strided_slice(%x) {sizes: [size(n), 4], starts: [-1, 0], "
        "strides: [-1, 1]}"), NEEDED),
    "some rows": (
        ("%z: f32[2, 4] = strided_slice(%x) {sizes: [2, 4], starts: [0, 0], strides: [1, 1]}"
        " where n - 1 >= 1 \"in range\""), NEEDED),
    "all rows but one": (
        ("%z: f32[n - 1, 4] = strided_slice(%x) {sizes: [size(n - 1), 4], starts: [1, 0], "
        "strides: [1, 1]} where n - 1 >= 0 \"in range\""), NEEDED),
    "batches joined": ("%z: f32[2 * n, 4] = concat(%x, %x) {axis: 0}", NEEDED),
    "a margin": (
        "%z: f32[n + 1, 4] = pad(%x) {high: [1, 0], low: [0, 0], value: 0}", NEEDED),
    "rows looked up": ("%z: f32[n, 4] = gather(%x, %ids) {axis: 0}", NEEDED),
    "columns before rows": ("%z: f32[4, n] = reshape(%x) {shape: [4, size(n)]}", NEEDED),
    "rows of a constant size": (
        "%z: f32[8, 4] = reshape(%x) {shape: [8, 4]} where 4 * n == 32 \"as many\"", NEEDED),
    "an effect": (
        '%z = send(%x) {edge: "e", to: "/cpu:0"}', "an effect, which cannot be divided"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    line, rule = REFUSALS[name]
    ends = ("inputs %x, %ids", "targets %z")
    graph = parse_graph(text(X, IDS, line + ' at "train.py":7', *ends))
    op = line.split(" = ")[1].split("(")[0]
    with pytest.raises(ShardError, match=rule) as caught:
        sharded(graph, [0, 0])
    message = str(caught.value)
    assert message.startswith(f"{op} 'z' of ")
    assert "float32 [n, 4] (x:0)" in message
    assert "train.py:7" in message


def test_the_operand_to_blame_is_named() -> None:
    where = 'where 4 * n - 1 >= 3 "in range"'
    line = f"%z: f32[4] = strided_slice(%r) {{sizes: [4], starts: [0], strides: [1]}} {where}"
    flat = "%r: f32[4 * n] = reshape(%x) {shape: [size(4 * n)]}"
    with pytest.raises(ShardError, match=r"it is 'r:0' \(float32 \[4 \* n\]\) that is divided"):
        after(X, flat, line, "inputs %x", "outputs %z")


def test_a_split_value_is_not_assigned() -> None:
    variable = '%w: &f32[8] = variable() {dtype: f32, shape: [8], shared_name: "w"}'
    line = '%a: f32[8] = assign(%w, %ids) {initializer: false} where 8 == n "own shape"'
    ids = IDS.replace("i32", "f32")
    with pytest.raises(ShardError, match="each holds the whole variable; it is 'ids:0'"):
        after(ids, variable, line, "inputs %ids", "targets %a")


def test_a_task_is_the_strategy_s_to_choose() -> None:
    line = '%z: f32[n, 4] = tanh(%x) on "/job:ps/task:1/cpu:0" at "train.py":7'
    with pytest.raises(ShardError, match=r"tanh 'z' .*'/job:ps/task:1/cpu:0'(.|\n)*train.py:7"):
        after(X, line, "inputs %x", "outputs %z")


def test_inputs_that_cannot_be_split() -> None:
    fixed = "%x: f32[3, 4] = placeholder() {dtype: f32, shape: [3, 4]}"
    square = "%x: f32[n, n] = placeholder() {dtype: f32, shape: [size(n), size(n)]}"
    derived = "%x: f32[2 * n] = placeholder() {dtype: f32, shape: [size(2 * n)]}"
    for line, rule in (
        (fixed, "its size, 3, is not left open"),
        (square, "its axis 1 has the size of the batch"),
        (derived, r"its size, 2 \* n, is not left open"),
    ):
        with pytest.raises(ShardError, match=rf"placeholder 'x': .*{rule}"):
            after(line, "inputs %x")
    graph = parse_graph(text(X, "%t: f32[n, 4] = tanh(%x)", "inputs %x", "outputs %t"))
    with pytest.raises(ShardError, match="along axis 2, which it has not"):
        shard(graph, {graph.inputs[0]: 2})
    with pytest.raises(ShardError, match=r"tanh 't' .* is no input of the graph"):
        shard(graph, {graph.outputs[0]: 0})


def test_a_whole_input_does_not_have_the_size_of_the_batch() -> None:
    with pytest.raises(ShardError, match="'ids': its axis 0 has the size of the batch"):
        after(X, IDS, "inputs %x, %ids", axes=[0, None])
