"""The all_reduce: its text and types, and who may not use it."""

import pytest

import graphc as gx
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph

TEXT = """graph {
    %x: f32[3] = placeholder() {dtype: f32, shape: [3]}
    %y: f32[] = placeholder() {dtype: f32, shape: []}
    %r: f32[3], f32[] = all_reduce(%x, %y) {combiner: "sum"}
    outputs %r, %r:1
}
"""


def test_it_prints_and_parses() -> None:
    assert print_graph(parse_graph(TEXT)) == TEXT


def placeholder(graph, dtype):
    return graph.add("placeholder", (), {"dtype": dtype, "shape": (2,)}).outputs[0]


@pytest.mark.parametrize(
    ("dtypes", "combiner", "error", "rule"),
    [
        ((), "sum", ShapeError, "at least one operand"),
        ((gx.float32, gx.float64), "sum", DTypeError, "one dtype"),
        ((gx.float32,), "argmax", GraphError, "combiner must be one of sum, prod"),
        ((gx.float32,), "any", DTypeError, "float32 cannot be combined by any"),
        ((gx.bool,), "sum", DTypeError, "bool cannot be combined by sum"),
    ],
)
def test_refusals(dtypes, combiner, error, rule) -> None:
    graph = Graph()
    values = [placeholder(graph, dtype) for dtype in dtypes]
    with pytest.raises(error, match=rule):
        graph.add("all_reduce", values, {"combiner": combiner})


def test_variables_are_not_combined() -> None:
    handle = gx.Variable([1.0]).handle
    with pytest.raises(DTypeError, match="a variable stays where it is"):
        handle.graph.add("all_reduce", [handle], {"combiner": "sum"})


def test_users_have_no_function_for_it() -> None:
    assert not {"all_reduce", "extent"} & set(dir(gx))
