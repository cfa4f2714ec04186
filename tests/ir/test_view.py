"""The networkx view has the graph's nodes and edges."""

from __future__ import annotations

import random
import subprocess
import sys

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

import graphc as gx
from graphc.ir.view import to_networkx
from tests.ir.random_graphs import random_graph


@given(st.randoms(use_true_random=False))
def test_nodes_and_edges(rng: random.Random) -> None:
    graph = random_graph(rng)
    view = to_networkx(graph)
    assert list(view.nodes) == [node.name for node in graph.nodes]
    assert nx.is_directed_acyclic_graph(view)
    for node in graph.nodes:
        edges = list(view.in_edges(node.name, data=True))
        data = sorted((d["operand"], d["tensor"]) for _, _, d in edges if d["tensor"] is not None)
        assert data == list(enumerate(t.name for t in node.inputs))
        controls = [source for source, _, d in edges if d["tensor"] is None]
        assert set(controls) == {c.name for c in node.controls}


def test_what_nodes_carry() -> None:
    with gx.device("/cpu:0"):
        x = gx.placeholder(gx.float32, [None, 2], name="x")
    gx.add(x, x, name="twice")
    view = to_networkx(x.graph)
    assert view.nodes["x"] == {"op": "placeholder", "device": "/cpu:0", "types": ("f32[_1, 2]",)}
    assert view.number_of_edges("x", "twice") == 2


def test_networkx_is_imported_when_it_is_needed() -> None:
    code = "import sys, graphc.ir.view; assert 'networkx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
