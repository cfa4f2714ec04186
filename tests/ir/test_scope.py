"""Scopes: what new nodes get from where they are made."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import graphc as gx
from graphc.ir.errors import DeviceError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.scope import control_dependencies, create, device, differentiating, name_scope


def no_op(name: Any = None):
    return create("no_op", name=name)


def test_names_are_made_unique() -> None:
    assert [no_op("a").name for _ in range(3)] == ["a", "a_1", "a_2"]
    assert no_op("a_1").name == "a_1_1"
    assert no_op().name == "no_op"


def test_name_scopes() -> None:
    with name_scope("outer") as prefix:
        assert prefix == "outer/"
        with name_scope("inner"):
            assert no_op("x").name == "outer/inner/x"
        assert no_op("x").name == "outer/x"
    with name_scope("outer"):
        assert no_op("x").name == "outer_1/x"
    with name_scope("outer/"):
        assert no_op("x").name == "outer/x_1"
    with name_scope("outer"), name_scope(None):
        assert no_op("top").name == "top"


@pytest.mark.parametrize("name", ["-x", "a b", "a:0", "é", "a\n", 3])
def test_names_that_texts_could_not_hold(name: Any) -> None:
    with pytest.raises(GraphError, match=r"(?s)is no valid name.*test_scope\.py"):
        no_op(name)
    with pytest.raises(GraphError, match="is no valid name"), name_scope(name):
        pass


def test_devices_merge() -> None:
    with device("/job:ps"), device("/gpu:1"):
        assert no_op().device == "/job:ps/gpu:1"
        with device("/job:worker/task:2"):
            assert no_op().device == "/job:worker/task:2/gpu:1"
        with device(None):
            assert no_op().device == ""
    with device(lambda op: "/cpu:3" if op.type == "no_op" else None):
        assert no_op().device == "/cpu:3"
    with pytest.raises(DeviceError), device("/tpu:0"):
        pass


def test_control_dependencies() -> None:
    a, b = no_op("a"), no_op("b")
    with control_dependencies([a]):
        with control_dependencies([b, a]):
            assert no_op().controls == (a, b)
        with control_dependencies(None):
            assert no_op().controls == ()
        assert no_op().controls == (a,)
    assert no_op().controls == ()
    with (
        pytest.raises(GraphError, match=r"(?s)is no node, tensor or variable.*test_scope\.py"),
        control_dependencies([3]),
    ):
        pass
    with (
        pytest.raises(GraphError, match="is no list of nodes"),
        control_dependencies("a"),
    ):
        pass
    with (
        Graph().as_default(),
        pytest.raises(GraphError, match=r"'a'.*another graph"),
        control_dependencies([a]),
    ):
        pass


def test_gradients_belong_to_their_forward_node() -> None:
    with device("/gpu:0"):
        forward = no_op("layer")
    with device("/cpu:0"), differentiating(forward):
        made = no_op()
    assert (made.forward, made.device) == ("layer", "/gpu:0")
    with differentiating(made):
        assert no_op().forward == "layer"


def test_graphs_and_threads_have_scopes_of_their_own() -> None:
    names: list[str] = []
    graph = gx.Graph()
    with name_scope("here"):
        with graph.as_default():
            assert gx.get_default_graph() is graph
            names.append(no_op("x").name)
        thread = threading.Thread(target=lambda: names.append(no_op("x").name))
        thread.start()
        thread.join()
        names.append(no_op("x").name)
    assert names == ["x", "x", "here/x"]
    assert gx.get_default_graph() is not graph


def test_an_error_leaves_the_scope() -> None:
    with pytest.raises(KeyError), name_scope("a"), device("/cpu:0"):
        raise KeyError
    made = no_op("x")
    assert (made.name, made.device) == ("x", "")


def test_nodes_know_the_users_line() -> None:
    made = no_op()
    assert made.source is not None
    assert made.source.file == __file__
    assert made.source.text == "made = no_op()" or "create(" in made.source.text
