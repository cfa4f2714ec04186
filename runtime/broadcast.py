"""The plan that gives every worker the values that variables have in one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphc.ir.graph import Graph, Node
from graphc.ir.types import TensorType
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.planning import Plan, cut


def broadcast_plan(
    variables: Mapping[str, TensorType], cluster: ClusterSpec, source: int, ranks: Iterable[int]
) -> Plan:
    """A step that copies variables of task ``source`` to those of ``ranks``."""
    graph, targets = Graph(), list[Node]()
    home = cluster.device_of(source)
    for name, type_ in variables.items():
        handle = _variable(graph, name, type_, home)
        read = graph.add("read_variable", handle.outputs, device=home).outputs[0]
        for rank in ranks:
            device = cluster.device_of(rank)
            copy = _variable(graph, name, type_, device).outputs[0]
            targets.append(graph.add("assign", [copy, read], {"initializer": False}, device=device))
    graph.targets = tuple(targets)
    return cut(graph, cluster, source)


def _variable(graph: Graph, name: str, type_: TensorType, device: str) -> Node:
    attrs = {"shared_name": name, "dtype": type_.dtype, "shape": type_.shape}
    return graph.add("variable", (), attrs, name=name, device=device)
