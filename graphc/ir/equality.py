"""Whether two graphs are the same: equal node by node, names included, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir.dtypes import float64
from graphc.ir.graph import Graph, Node
from graphc.ir.notation import number_text


def graphs_equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs have equal nodes in the same order, inputs, outputs and targets."""
    pairs = [(a, b)]
    while pairs:
        left, right = pairs.pop()
        if _ends(left) != _ends(right) or len(left) != len(right):
            return False
        for node, other in zip(left.nodes, right.nodes, strict=True):
            if _facts(node) != _facts(other) or not _equal_attributes(node, other, pairs):
                return False
    return True


def _ends(graph: Graph) -> tuple[Any, ...]:
    inputs, outputs = ([t.name for t in ends] for ends in (graph.inputs, graph.outputs))
    return inputs, outputs, [node.name for node in graph.targets]


def _facts(node: Node) -> tuple[Any, ...]:
    inputs, controls = [t.name for t in node.inputs], [c.name for c in node.controls]
    place = (node.device, node.source, node.forward)
    return node.name, node.op, inputs, controls, node.types, node.constraints, *place


def _equal_attributes(node: Node, other: Node, pairs: list[tuple[Graph, Graph]]) -> bool:
    """Bodies are left to be compared: they are added to ``pairs``."""
    left, right = _attributes(node.attrs), _attributes(other.attrs)
    if left.keys() != right.keys():
        return False
    for key, value in left.items():
        if isinstance(value, Graph) and isinstance(right[key], Graph):
            pairs.append((value, right[key]))
        elif value != right[key]:
            return False
    return True


def _attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _comparable(value) for key, value in attrs.items()}


def _comparable(value: Any) -> Any:
    """A form of an attribute's value whose equality is that of types and bits."""
    if isinstance(value, tuple):
        return tuple(_comparable(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, float):
        return float, number_text(value, float64)
    return value if isinstance(value, Graph) else (type(value), value)
