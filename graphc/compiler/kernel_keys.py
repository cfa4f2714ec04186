"""What decides a node's kernel, as a hashable value: nodes of one key share one kernel.

The names of sizes do not: two shards of a batch, each with a size of its own, run the same code.
"""

from __future__ import annotations

from typing import Any

from graphc.ir.dims import Dim, Expression, substitute, symbol, symbols_of
from graphc.ir.graph import Graph, Node


class Names:
    """The symbols of a node, renamed in the order in which they are met."""

    def __init__(self) -> None:
        self._new: dict[str, Dim] = {}

    @property
    def found(self) -> tuple[str, ...]:
        """The names that were met, in order."""
        return tuple(self._new)

    def renamed(self, dim: Dim) -> Dim:
        """``dim`` over the new names."""
        if isinstance(dim, int):
            return dim
        for name in sorted(symbols_of(dim) - self._new.keys()):
            self._new[name] = symbol(f"s{len(self._new)}")
        return substitute(dim, self._new)

    def shape(self, dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """Each of ``dims`` over the new names."""
        return tuple([dim if type(dim) is int else self.renamed(dim) for dim in dims])


def signature(node: Node, names: Names) -> Any:
    """The key of a node's kernel, in which its sizes have the new names that ``names`` gives."""
    tensors = (*(i.type for i in node.inputs), *node.types)
    types = tuple([(t.dtype, names.shape(t.shape)) for t in tensors])
    attrs = [(key, _attribute_key(value, names)) for key, value in sorted(node.attrs.items())]
    return (node.op.name, types, tuple(attrs))


def _attribute_key(value: Any, names: Names) -> Any:
    if isinstance(value, Graph):
        return _body_key(value, names)
    if isinstance(value, tuple):
        return tuple([_attribute_key(item, names) for item in value])
    if isinstance(value, Expression):
        return names.renamed(value)
    if hasattr(value, "tobytes"):
        return (value.dtype.str, value.shape, value.tobytes())
    return (type(value).__name__, repr(value)) if isinstance(value, float) else value


def _body_key(body: Graph, names: Names) -> Any:
    numbers = {t: (i, k) for i, n in enumerate(body.nodes) for k, t in enumerate(n.outputs)}
    nodes = tuple((signature(n, names), tuple(numbers[t] for t in n.inputs)) for n in body.nodes)
    ends = tuple(numbers[t] for t in (*body.inputs, *body.outputs))
    return (nodes, ends)
