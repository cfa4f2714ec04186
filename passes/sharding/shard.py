"""Writes the graph that every worker runs on its own rows.

A user's graph becomes data-parallel without a change: what he feeds is split along the batch, and
all else follows. Sizes of one worker stand where those of the batch stood; where the graph asks for
a size as a number, it is told that of the whole batch, so that a mean divides once by the global
count; random numbers are those of the undivided tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphc.ir import dims
from graphc.ir.dims import Dim, Shape, symbol, symbol_name
from graphc.ir.errors import ShardError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.passes.guards import Guards
from graphc.passes.rebuild import unused_name
from graphc.passes.sharding.analysis import Analysis, analyse
from graphc.passes.sharding.states import REPLICATED, Rows, Split, State


@dataclass(frozen=True)
class Sharded:
    """A graph for all workers: each runs it on its own rows, and they meet at ``all_reduce``.

    ``graph`` has its inputs, outputs and targets in the order of the graph it was made of.
    ``outputs`` are replicated or split: what was partial has been combined. The symbols ``rows``,
    ``all_rows`` and ``first_row`` are the number of a worker's rows, that of the whole batch, and
    the place in the batch of the worker's first row; the last two are told to each run, as no feed
    has them. Constraints of nodes speak of a worker's sizes: those of the batch are to be checked
    with the graph that was given.
    """

    graph: Graph
    inputs: tuple[State, ...]
    outputs: tuple[State, ...]
    rows: str
    all_rows: str
    first_row: str


def shard(
    graph: Graph, split: Mapping[Tensor, int], symbols: tuple[str, str, str] | None = None
) -> Sharded:
    """``graph`` for workers of which each has some rows of the batch, perhaps none.

    Args:
        graph: as ``extract`` gives it, with state resolved and nothing fused; with gradients and
            updates, if it trains.
        split: the inputs that are split, and the axis of each; the sizes of these axes, which are
            symbols, have to be equal in every run.
        symbols: the names of ``rows``, ``all_rows`` and ``first_row``, which ``graph`` does not
            use; left out, as ``unused_symbols`` chooses them.

    Raises:
        ShardError: an axis that cannot be split, a node that needs rows of other workers, or one
            that names a task it is to run on; the message has op, operands and the user's line.
    """
    found_symbols = {_symbol(graph, tensor, axis): None for tensor, axis in split.items()}
    rows, all_rows, first_row = unused_symbols(graph)
    batch = _Batch(*(symbols or (next(iter(found_symbols), rows), all_rows, first_row)))
    others: dict[str, Dim] = {
        name: symbol(batch.rows) for name in found_symbols if name != batch.rows
    }
    if others:
        graph, tensors = _renamed(graph, others)
        split = {tensors[tensor]: axis for tensor, axis in split.items()}
    found = analyse(graph, split, Rows(batch.rows))
    return Sharded(
        _Writer(graph, found, batch).written(),
        tuple(found.states[tensor] for tensor in graph.inputs),
        tuple(
            REPLICATED if tensor in found.combined else found.states[tensor]
            for tensor in graph.outputs
        ),
        batch.rows, batch.all_rows, batch.first_row,
    )  # fmt: skip


def _symbol(graph: Graph, tensor: Tensor, axis: int) -> str:
    """The symbol that is the size of a split axis."""
    if tensor not in graph.inputs:
        raise ShardError(tensor.node.error("is to be split, but is no input of the graph"))
    if not 0 <= axis < len(tensor.shape):
        raise ShardError(tensor.node.error(f"is to be split along axis {axis}, which it has not"))
    name = symbol_name(tensor.shape[axis])
    if name is None:
        size = tensor.shape[axis]
        what = f"cannot be split along axis {axis}: its size, {size}, is not left open (None)"
        raise ShardError(tensor.node.error(what))
    return name


def unused_symbols(graph: Graph) -> tuple[str, str, str]:
    """Names for the three sizes that the graph does not know yet."""
    shapes = (type_.shape for node in graph.nodes for type_ in node.types)
    known = {name for shape in shapes for dim in shape for name in dims.symbols_of(dim)}

    def unused(name: str) -> str:
        while name in known:
            name += "_"
        return name

    return unused("_rows"), unused("_all_rows"), unused("_first_row")


def _renamed(graph: Graph, sizes: Mapping[str, Dim]) -> tuple[Graph, dict[Tensor, Tensor]]:
    """A copy with other symbols, and its tensors by those of ``graph``."""
    new = Graph()
    new.symbol_count = graph.symbol_count
    tensors: dict[Tensor, Tensor] = {}
    nodes: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = [tensors[t] for t in node.inputs]
        controls = [nodes[c] for c in node.controls]
        nodes[node] = new.copy_node(node, inputs, controls, name=node.name, sizes=sizes)
        tensors.update(zip(node.outputs, nodes[node].outputs, strict=True))
    new.inputs = tuple(tensors[t] for t in graph.inputs)
    new.outputs = tuple(tensors[t] for t in graph.outputs)
    new.targets = tuple(nodes[t] for t in graph.targets)
    return new, tensors


@dataclass(frozen=True)
class _Batch:
    """The names of the sizes, and what becomes of one worker's sizes for the whole batch."""

    rows: str
    all_rows: str
    first_row: str

    def whole(self, shape: Iterable[Dim]) -> Shape:
        """The sizes of the undivided tensor."""
        sizes: dict[str, Dim] = {self.rows: symbol(self.all_rows)}
        return tuple(dims.substitute(dim, sizes) for dim in shape)

    def start(self, shape: Shape) -> Shape:
        """Where in the undivided tensor a worker's part begins."""
        sizes: dict[str, Dim] = {self.rows: symbol(self.first_row)}
        rows = Rows(self.rows)
        return tuple(dims.substitute(dim, sizes) if rows.in_dim(dim) else 0 for dim in shape)


class _Writer:
    """The rewrite: every node in its place, followed by what combines its partial results."""

    def __init__(self, old: Graph, found: Analysis, batch: _Batch) -> None:
        self.old, self.found, self.batch = old, found, batch
        self.guards = Guards()
        self.new = Graph()
        self.new.symbol_count = old.symbol_count
        self.tensors: dict[Tensor, Tensor] = {}
        self.combined: dict[Tensor, Tensor] = {}
        self.nodes: dict[Node, Node] = {}
        self.kept: list[Node] = []
        """What nobody needs but for the errors that it may find."""

    def written(self) -> Graph:
        for node in self.old.nodes:
            change = _CHANGES.get(node.op.name)
            made = (change and change(self, node)) or self.copy(node)
            self.nodes[node] = made
            self.tensors.update(zip(node.outputs, made.outputs, strict=True))
            for tensor in node.outputs:
                if tensor in self.found.combined:
                    self.combined[tensor] = self.combine(tensor)
        self.new.inputs = tuple(self.tensors[t] for t in self.old.inputs)
        self.new.outputs = tuple(self.whole(t) for t in self.old.outputs)
        targets = [*(self.nodes[t] for t in self.old.targets), *self.kept]
        self.new.targets = tuple(dict.fromkeys(targets))
        return self.new

    def whole(self, tensor: Tensor) -> Tensor:
        """``tensor`` combined, if it was partial."""
        return self.combined.get(tensor, self.tensors[tensor])

    def inputs(self, node: Node) -> list[Tensor]:
        raw = self.found.raw.get(node, ())
        return [
            self.tensors[tensor] if place in raw else self.whole(tensor)
            for place, tensor in enumerate(node.inputs)
        ]

    def copy(self, node: Node) -> Node:
        controls = [self.nodes[control] for control in node.controls]
        return self.new.copy_node(node, self.inputs(node), controls, name=node.name)

    def combine(self, tensor: Tensor) -> Tensor:
        made, attrs = self.tensors[tensor], {"combiner": self.found.combined[tensor]}
        name = unused_name(f"{tensor.node.name}/all_reduce", self.old, self.new)
        return self.add(tensor.node, "all_reduce", [made], attrs, name).outputs[0]

    def add(
        self, like: Node, op: str, inputs: list[Tensor], attrs: Mapping[str, Any], name: str
    ) -> Node:
        return self.new.add(
            op, inputs, attrs, name=name, device=like.device, source=like.source,
            forward=like.forward, controls=[self.nodes[control] for control in like.controls],
        )  # fmt: skip

    def size(self, node: Node) -> Node | None:
        """The size in the whole batch, where it depends on the rows; the operand is not read."""
        (x,) = node.inputs
        one = node.op.name == "size"
        sizes = (dims.product(tuple(x.shape[a] for a in node.attrs["axes"])),) if one else x.shape
        whole = self.batch.whole(sizes)
        if whole == sizes:
            return None
        if not self.guards.can_be_dropped(x):
            self.kept.append(self.nodes[x.node])
        attrs = {"value": whole[0] if one else whole, "dtype": node.attrs["dtype"]}
        return self.add(node, "extent", [], attrs, node.name)

    def random(self, node: Node) -> Node | None:
        """The numbers that the undivided tensor has at the places of a worker's part."""
        shape = node.types[0].shape
        if not isinstance(self.found.states[node.outputs[0]], Split):
            return None
        attrs = {**node.attrs, "whole": self.batch.whole(shape), "start": self.batch.start(shape)}
        return self.add(node, node.op.name, self.inputs(node), attrs, node.name)


_CHANGES: Mapping[str, Callable[[_Writer, Node], Node | None]] = {
    "size": _Writer.size,
    "shape": _Writer.size,
    "random_uniform": _Writer.random,
    "random_normal": _Writer.random,
}
