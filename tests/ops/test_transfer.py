"""Send and recv: their texts and types, and who may not use them."""

import pytest

import graphc as gx
from graphc.ir.errors import DTypeError, ParseError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph

TEXT = """graph symbols 2 {
    %r: f32[2 * _1, (_2 // 3)] = recv() {dtype: f32, edge: "x:0->/job:b/task:0/cpu:0", \
shape: [size(2 * _1), size((_2 // 3))], source: "/job:a/task:0/cpu:0"} on "/job:b/task:0/cpu:0"
    %y: f32[2 * _1, (_2 // 3)] = tanh(%r) on "/job:b/task:0/cpu:0"
    %s = send(%y) {edge: "y:0->/job:a/task:0/cpu:0", to: "/job:a/task:0/cpu:0"} \
on "/job:b/task:0/cpu:0"
    targets %s
}
"""


def test_they_print_and_parse() -> None:
    graph = parse_graph(TEXT)
    assert print_graph(graph) == TEXT
    assert graph.node("s").outputs == ()


def test_variables_are_not_sent() -> None:
    handle = gx.Variable([1.0]).handle
    with pytest.raises(DTypeError, match="a variable stays on its device"):
        handle.graph.add("send", [handle], {"edge": "e", "to": "/cpu:0"})


@pytest.mark.parametrize("size", [-1, "n", 1.0])
def test_shapes_of_what_is_received_are_sizes(size) -> None:
    attrs = {"edge": "e", "source": "", "dtype": gx.float32, "shape": (2, size)}
    with pytest.raises(ShapeError, match="is no size"):
        Graph().add("recv", (), attrs)


def test_a_wrong_type_is_found() -> None:
    with pytest.raises(ParseError, match="the types are"):
        parse_graph(TEXT.replace("f32[2 * _1, (_2 // 3)]", "f32[2 * _1, _2]"))


def test_users_have_no_function_for_them() -> None:
    assert not {"send", "recv"} & set(dir(gx))
