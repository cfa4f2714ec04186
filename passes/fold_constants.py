"""Computes what is known while compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.dims import product
from graphc.ir.errors import DataError
from graphc.ir.graph import Graph, Node
from graphc.ir.types import TensorType
from graphc.passes.context import PassContext
from graphc.passes.guards import Guards
from graphc.passes.rebuild import Rebuild

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FoldConstants:
    """Replaces nodes over constants by constants, and asks for known sizes by these.

    Only what is copied or exactly rounded is computed here, by the op's reference: all else is
    left to the kernels, so that a number does not depend on whether it was known early. Results
    may not be larger than ``max_bytes`` and the operands together. A repetition of elements
    (``broadcast_to``) stays: its readers do without it. What fails is left to fail in a run.
    """

    max_bytes: int = 1 << 20
    name: str = "fold_constants"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        rebuild, guards = Rebuild(graph), Guards()
        known: dict[Node, Sequence[Array]] = {}
        for node in graph.nodes:
            found = self._values(node, known, guards)
            if found is None:
                rebuild.keep(node)
                continue
            known[node] = found
            if node.op.name == "constant":
                rebuild.keep(node)
            else:
                rebuild.replace(node, [
                    rebuild.add("constant", (), {"value": value}, like=node,
                                part=str(i) if i else "").outputs[0]
                    for i, value in enumerate(found)
                ])  # fmt: skip
        return rebuild.finish()

    def _values(
        self, node: Node, known: Mapping[Node, Sequence[Array]], guards: Guards
    ) -> Sequence[Array] | None:
        """The outputs of ``node`` if they are to be constants."""
        if node.op.name == "constant":
            return [node.attrs["value"]]
        measure = _MEASURES.get(node.op.name)
        if measure is not None:
            return measure(node) if guards.can_be_dropped(node.inputs[0]) else None
        if not node.inputs or not all(t.node in known for t in node.inputs):
            return None
        if not node.op.exact or node.op.stateful or node.op.name == "broadcast_to":
            return None
        operands = [known[t.node][t.index] for t in node.inputs]
        if not self._fits(node.types, operands):
            return None
        try:
            return [np.asarray(v) for v in node.op.reference(node, operands, node.types)]
        except DataError:
            return None

    def _fits(self, types: Sequence[TensorType], operands: Sequence[Array]) -> bool:
        if not all(type_.is_static for type_ in types):
            return False
        size = sum(int(type_.bytes) for type_ in types if isinstance(type_.bytes, int))
        return size <= max(self.max_bytes, sum(x.nbytes for x in operands))


def _size(node: Node) -> Sequence[Array] | None:
    count = product(tuple(node.inputs[0].shape[axis] for axis in node.attrs["axes"]))
    if not isinstance(count, int):
        return None
    return [np.asarray(np.int64(count)).astype(node.attrs["dtype"].numpy)]


def _shape(node: Node) -> Sequence[Array] | None:
    if not node.inputs[0].type.is_static:
        return None
    return [np.array(node.inputs[0].shape, node.attrs["dtype"].numpy)]


_MEASURES: Mapping[str, Callable[[Node], Sequence[Array] | None]] = {
    "size": _size, "shape": _shape,
}  # fmt: skip
"""Ops whose results depend on the sizes of their operand alone."""
