"""Repeats the sharded part of a graph for each logical shard that a worker holds.

With as many logical shards as the user asks for, whatever the number of workers, every shard is
computed by the same kernels over the same rows, and only how many of them one worker computes
differs. What depends on no row is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphc.ir.dims import Dim, Expression, symbol, symbols_of
from graphc.ir.graph import Graph, Node, Tensor


def of_shard(name: str, shard: int) -> str:
    """What the symbol ``name`` of one shard is called for the ``shard``-th of several."""
    return f"{name}_shard{shard}"


@dataclass(frozen=True)
class Unroll:
    """``shards`` copies of what depends on the sizes ``own``, the symbols of one shard.

    Inputs and outputs whose shape holds one become ``shards``, one behind the other. An
    ``all_reduce`` takes the tensors of all copies (``rows``).

    Needs: a graph as ``shard`` leaves it, fused, with its buckets: so every copy has the same
    kernels. Leaves the names of the first copy as they are.
    """

    own: tuple[str, ...]
    shards: int
    name: str = "unroll"

    def run(self, graph: Graph, context: object = None) -> Graph:
        return _Unrolled(graph, self).written()


class _Unrolled:
    def __init__(self, graph: Graph, options: Unroll) -> None:
        self.graph, self.own, self.shards = graph, frozenset(options.own), options.shards
        self.sizes = [
            {name: symbol(of_shard(name, k)) for name in options.own} for k in range(self.shards)
        ]
        self.repeated = repeated_nodes(graph, self.own)
        self.new = Graph()
        self.new.symbol_count = graph.symbol_count
        self.tensors: list[dict[Tensor, Tensor]] = [{} for _ in range(self.shards)]
        """What each tensor became for each shard; of others, all are one."""
        self.nodes: dict[Node, Node] = {}

    def written(self) -> Graph:
        for node in self.graph.nodes:
            if node.op.name == "all_reduce":
                self._reduce(node)
            elif node in self.repeated:
                for k in range(self.shards):
                    self._copy(node, k)
            else:
                self._once(node)
        new, graph = self.new, self.graph
        new.inputs, new.outputs = self._ends(graph.inputs), self._ends(graph.outputs)
        new.targets = tuple(dict.fromkeys(self.nodes[target] for target in graph.targets))
        return new

    def _copy(self, node: Node, shard: int) -> None:
        sizes = self.sizes[shard]
        inputs = [self.tensors[shard][t] for t in node.inputs]
        name = node.name if shard == 0 else self.new.unique_name(f"{node.name}/shard{shard}")
        copied = self.new.copy_node(_with_bodies(node, sizes), inputs, name=name, sizes=sizes)
        self.nodes.setdefault(node, copied)
        self.tensors[shard].update(zip(node.outputs, copied.outputs, strict=True))

    def _once(self, node: Node) -> None:
        inputs = [self.tensors[0][t] for t in node.inputs]
        self._met(node, self.new.copy_node(node, inputs, name=node.name))

    def _reduce(self, node: Node) -> None:
        inputs = [tensors[t] for tensors in self.tensors for t in node.inputs]
        attrs = {**node.attrs, "rows": self.shards}
        made = self.new.add(
            "all_reduce", inputs, attrs, name=node.name, device=node.device, source=node.source,
            forward=node.forward,
        )  # fmt: skip
        self._met(node, made)

    def _met(self, node: Node, made: Node) -> None:
        self.nodes[node] = made
        for tensors in self.tensors:
            tensors.update(zip(node.outputs, made.outputs, strict=True))

    def _ends(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for tensor in tensors:
            count = self.shards if mentions(tensor.shape, self.own) else 1
            found += [self.tensors[k][tensor] for k in range(count)]
        return tuple(found)


def repeated_nodes(graph: Graph, own: frozenset[str]) -> set[Node]:
    """The nodes that each shard has its own of.

    They have a shard's sizes, or are computed from what has, and go into a reduction.
    """
    behind: set[Node] = set()
    sized: set[Node] = set()
    for node in graph.nodes:
        if _has_sizes(node, own):
            sized.add(node)
        if node in sized or any(tensor.node in behind for tensor in node.inputs):
            behind.add(node)
        if node.op.name == "all_reduce":
            behind.discard(node)
    found: set[Node] = set()
    wanted: set[Node] = set()
    for node in reversed(graph.nodes):
        reduces = node.op.name == "all_reduce"
        if node in behind and (node in sized or node in wanted):
            found.add(node)
        if reduces or node in found:
            wanted.update(tensor.node for tensor in node.inputs)
    return found


def _has_sizes(node: Node, own: frozenset[str]) -> bool:
    shapes = (tensor.shape for tensor in (*node.inputs, *node.outputs))
    return any(mentions(shape, own) for shape in shapes) or any(
        _mentions(value, own) for value in node.attrs.values()
    )


def mentions(shape: Iterable[Dim], names: frozenset[str]) -> bool:
    """Whether a size of ``shape`` depends on one of these symbols."""
    return any(not names.isdisjoint(symbols_of(dim)) for dim in shape)


def _mentions(value: object, names: frozenset[str]) -> bool:
    if isinstance(value, Graph):
        return any(_has_sizes(node, names) for node in value.nodes)
    if isinstance(value, tuple):
        return any(_mentions(item, names) for item in value)
    return isinstance(value, Expression) and not names.isdisjoint(symbols_of(value))


def _with_bodies(node: Node, sizes: Mapping[str, Dim]) -> Node:
    """``node``, its fused body with other sizes."""
    bodies = {key: v for key, v in node.attrs.items() if isinstance(v, Graph)}
    if not bodies:
        return node
    attrs = {**node.attrs, **{key: _body(body, sizes) for key, body in bodies.items()}}
    return Node(
        node.graph, node.op, node.name, node.inputs, attrs, node.types,
        constraints=node.constraints, device=node.device, source=node.source,
        forward=node.forward,
    )  # fmt: skip


def _body(body: Graph, sizes: Mapping[str, Dim]) -> Graph:
    new, tensors = Graph(), dict[Tensor, Tensor]()
    for node in body.nodes:
        inputs = [tensors[t] for t in node.inputs]
        copied = new.copy_node(_with_bodies(node, sizes), inputs, name=node.name, sizes=sizes)
        tensors.update(zip(node.outputs, copied.outputs, strict=True))
    new.inputs = tuple(tensors[t] for t in body.inputs)
    new.outputs = tuple(tensors[t] for t in body.outputs)
    return new
