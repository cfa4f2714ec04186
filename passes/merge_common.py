"""Computes everything once: common subexpressions become one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.ir.graph import Graph, Node, Tensor
from graphc.passes.context import PassContext
from graphc.passes.rebuild import Rebuild
from graphc.passes.signature import attribute_key

_ZEROS_TELL = frozenset({"maximum", "minimum"})
"""Commutative but for the sign of a zero: of 0.0 and -0.0 either may be the larger."""


@dataclass(frozen=True)
class MergeCommon:
    """Of nodes with one op, equal attributes, the same operands and device, the first stays.

    Operands of commutative ops may be swapped. Random ops merge only if seeds and counter are
    the same, which makes their numbers the same. Stateful nodes, and nodes under control edges,
    are left alone.
    """

    name: str = "merge_common"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        rebuild = Rebuild(graph)
        first: dict[Any, Node] = {}
        merged: dict[Tensor, Tensor] = {}
        for node in graph.nodes:
            if node.op.stateful or node.controls or not node.outputs:
                rebuild.keep(node)
                continue
            found = first.setdefault(_key(node, merged), node)
            if found is node:
                rebuild.keep(node)
                continue
            merged.update(zip(node.outputs, found.outputs, strict=True))
            rebuild.replace(node, found.outputs)
        return rebuild.finish()


def _key(node: Node, merged: dict[Tensor, Tensor]) -> Any:
    """Equal for nodes that compute the same; operands are those of the old graph."""
    operands = tuple([id(merged.get(t, t)) for t in node.inputs])
    if node.op.commutative and not (node.op.name in _ZEROS_TELL and node.inputs[0].dtype.is_float):
        operands = tuple(sorted(operands))
    attrs = node.attrs
    if not attrs:
        return (node.op.name, operands, node.device)
    described = tuple([(key, attribute_key(attrs[key])) for key in sorted(attrs)])
    return (node.op.name, operands, node.device, described)
