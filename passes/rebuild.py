"""A graph while a pass rebuilds it.

Nothing is copied before the first change, so that a pass that finds nothing to do costs one walk.
From then on every node is copied or replaced, in the old graph's order.

Provenance: a copy keeps name, source, forward node and device. What replaces a node inherits all
four from it; if a node is replaced by several, the one that makes its output has its name and the
others a name below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.ir.graph import Graph, Node, Tensor


class Rebuild:
    """Takes the nodes of ``old`` one by one; ``finish`` gives the result.

    Tensors handed to ``add`` and ``replace`` may be of the old graph or of the new one.
    """

    def __init__(self, old: Graph) -> None:
        self.old = old
        self._new: Graph | None = None
        self._tensors: dict[Tensor, Tensor] = {}
        self._nodes: dict[Node, Node] = {}
        self._seen: list[Node] = []

    @property
    def changed(self) -> bool:
        return self._new is not None

    def __getitem__(self, tensor: Tensor) -> Tensor:
        """What became of a tensor of the old graph whose node was taken already."""
        return self._tensors.get(tensor, tensor)

    def keep(self, node: Node) -> None:
        """The next node of the old graph, as it is but for its operands."""
        if self._new is None:
            self._seen.append(node)
        else:
            self._copy(self._new, node)

    def keep_free(self, node: Node) -> None:
        """The next node of the old graph, without its control edges."""
        if node.controls:
            self._copy(self._start(), node, ordered=False)
        else:
            self.keep(node)

    def drop(self) -> None:
        """Leave out the next node of the old graph, whose outputs nobody takes."""
        self._start()

    def replace(self, node: Node, outputs: Sequence[Tensor]) -> None:
        """Use ``outputs`` wherever those of the next node of the old graph are used."""
        self._start()
        for old, new in zip(node.outputs, outputs, strict=True):
            self._tensors[old] = self._current(new)
        if outputs:
            self._nodes[node] = self._current(outputs[0]).node

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor],
        attrs: Mapping[str, Any] | None = None,
        *,
        like: Node,
        part: str = "",
    ) -> Node:
        """A new node in place of ``like``, of which it is only a ``part`` if that has a name."""
        new = self._start()
        return new.add(
            op, [self._current(t) for t in inputs], attrs, name=self._name(like, part),
            device=like.device, source=like.source, forward=like.forward,
        )  # fmt: skip

    def finish(self, targets: Sequence[Node] | None = None) -> Graph:
        """The old graph if nothing changed, else the new one.

        ``targets`` are of the new graph; without them the old ones are mapped.
        """
        new = self._new
        if new is None:
            return self.old
        new.inputs = tuple(self[t] for t in self.old.inputs)
        new.outputs = tuple(self[t] for t in self.old.outputs)
        if targets is None:
            targets = [self._nodes[t] for t in self.old.targets]
        new.targets = tuple(dict.fromkeys(targets))
        return new

    def node(self, node: Node) -> Node:
        """What became of a node of the old graph that was kept, or replaced by one."""
        return self._nodes.get(node, node)

    def _start(self) -> Graph:
        """The new graph, holding copies of all that was kept before the first change."""
        if self._new is None:
            self._new = Graph()
            self._new.symbol_count = self.old.symbol_count
            for node in self._seen:
                self._copy(self._new, node)
            self._seen.clear()
        return self._new

    def _copy(self, new: Graph, node: Node, ordered: bool = True) -> None:
        tensors = self._tensors
        inputs = [tensors[t] for t in node.inputs]
        controls = [self._nodes[c] for c in node.controls] if ordered else ()
        copied = new.copy_node(node, inputs, controls)
        self._nodes[node] = copied
        for old, made in zip(node.outputs, copied.outputs, strict=True):
            tensors[old] = made

    def _current(self, tensor: Tensor) -> Tensor:
        return self._tensors[tensor] if tensor.node.graph is self.old else tensor

    def _name(self, like: Node, part: str) -> str:
        """A name that no other node of the old graph bears: those keep theirs."""
        return unused_name(f"{like.name}/{part}", self.old) if part else like.name


def unused_name(wanted: str, *graphs: Graph) -> str:
    """``wanted``, or ``wanted_1``, ``wanted_2``... if nodes of ``graphs`` have these names."""
    name, count = wanted, 0
    while any(name in graph for graph in graphs):
        count += 1
        name = f"{wanted}_{count}"
    return name
