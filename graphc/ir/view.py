"""A graph for the analyses that networkx already has: cuts, critical paths, drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Graph

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(graph: Graph) -> nx.MultiDiGraph[Any]:
    """A multigraph of the nodes' names.

    Its nodes carry ``op``, ``device`` and ``types`` (texts); an edge carries ``tensor``, the name
    of what flows along it, and ``operand``, the position that it goes to. Along control edges
    nothing flows: both are None.
    """
    import networkx as nx

    view: nx.MultiDiGraph[Any] = nx.MultiDiGraph()
    for node in graph.nodes:
        types = tuple(map(str, node.types))
        view.add_node(node.name, op=node.op.name, device=node.device, types=types)
    for node in graph.nodes:
        for operand, tensor in enumerate(node.inputs):
            view.add_edge(tensor.node.name, node.name, tensor=tensor.name, operand=operand)
        for control in node.controls:
            view.add_edge(control.name, node.name, tensor=None, operand=None)
    return view
