"""The op that fusion makes: several nodes as one kernel, their graph kept as its body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.ir.compute.compose import Part, compose
from graphc.ir.compute.kernel import Kernel
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType


@register
class Fused(Op):
    """``body(*inputs)``; sizes in the body are those of the graph around it."""

    name = "fused"
    operands = ("*inputs",)
    attributes = {"body": (Graph,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        body: Graph = typing.attrs["body"]
        return [tensor.type for tensor in body.outputs]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        body: Graph = node.attrs["body"]
        sizes = _sizes(body, inputs)
        values: dict[Tensor, Any] = dict(zip(body.inputs, inputs, strict=True))
        for inner in _computing(body):
            found = [t.type.substitute(sizes) for t in inner.outputs]
            results = inner.op.reference(inner, [values[t] for t in inner.inputs], found)
            values |= dict(zip(inner.outputs, results, strict=True))
        return [values[t] for t in body.outputs]

    def kernel(self, node: Node) -> Kernel:
        return body_kernel(node.attrs["body"])


def body_kernel(body: Graph) -> Kernel:
    """The nodes of ``body`` as one kernel over ``body.inputs``."""
    places: dict[Tensor, str | tuple[int, int]] = {
        tensor: f"p{i}" for i, tensor in enumerate(body.inputs)
    }
    parts: list[Part] = []
    for node in _computing(body):
        for index, tensor in enumerate(node.outputs):
            places[tensor] = (len(parts), index)
        parts.append(Part(node.op.kernel(node), tuple(places[t] for t in node.inputs)))
    results = [place for t in body.outputs if not isinstance(place := places[t], str)]
    return compose([t.type for t in body.inputs], parts, results)


def guarding_nodes(node: Node) -> list[Node]:
    """For each error code of the node's kernel, the node that it speaks of."""
    if not isinstance(node.op, Fused):
        return [node] * len(node.op.kernel(node).guards)
    found: list[Node] = []
    for inner in _computing(node.attrs["body"]):
        found += guarding_nodes(inner)
    return found


def _computing(body: Graph) -> list[Node]:
    inputs = {tensor.node for tensor in body.inputs}
    return [node for node in body.nodes if node not in inputs]


def _sizes(body: Graph, inputs: Sequence[Any]) -> dict[str, int]:
    """The symbols that the inputs' shapes name; others do not occur in an elementwise body."""
    sizes: dict[str, int] = {}
    for tensor, value in zip(body.inputs, inputs, strict=True):
        for dim, size in zip(tensor.shape, value.shape, strict=True):
            if not isinstance(dim, int) and str(dim) not in sizes:
                sizes[str(dim)] = size
    return sizes
