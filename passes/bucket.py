"""Joins reductions over workers, so that many small ones travel as one.

A message costs what some hundred kilobytes cost, and a network has many gradients: what is reduced
soon after each other, in one way, becomes one ``all_reduce`` of several tensors, a *bucket*. It can
begin when its last operand is there.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from graphc.ir.dtypes import DType
from graphc.ir.graph import Graph, Node, Tensor
from graphc.passes.context import PassContext


@dataclass(frozen=True)
class Bucket:
    """Reductions of one dtype and combiner are joined up to ``limit`` bytes, the ``first`` less.

    The first bucket is small, since nothing can be reduced before it is full. A bucket takes no
    reduction that depends on one of its own. What needs a reduction comes as late as it can, so
    that there is work beside it.

    Needs: ``all_reduce`` nodes of one tensor each. Leaves a graph without cycles, in which all
    buckets are in the same order, whatever the worker.
    """

    limit: int = 16 * 2**20
    first: int = 2 * 2**20
    name: str = "bucket"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        buckets = find_buckets(graph, self.limit, self.first)
        return _Joined(graph, buckets).written() if buckets else graph


@dataclass
class _Open:
    """A bucket that may take more."""

    number: int
    room: int
    members: list[Node] = field(default_factory=list)


def find_buckets(graph: Graph, limit: int, first: int) -> list[list[Node]]:
    """The ``all_reduce`` nodes of each bucket, in the order in which they can begin.

    A tensor whose size is known only in a run counts as nothing.
    """
    buckets: list[_Open] = []
    open_: dict[tuple[DType, str], _Open] = {}
    behind: dict[Node, int] = {}
    """The last bucket that each node depends on."""
    for node in graph.nodes:
        depends = max((behind[tensor.node] for tensor in node.inputs), default=-1)
        behind[node] = depends
        if node.op.name != "all_reduce":
            continue
        key = (node.types[0].dtype, node.attrs["combiner"])
        size = sum(d for t in node.types if isinstance(d := t.bytes, int))
        bucket = open_.get(key)
        if bucket is None or depends >= bucket.number or size > bucket.room:
            bucket = _Open(len(buckets), limit if buckets else first)
            buckets.append(bucket)
            open_[key] = bucket
        bucket.members.append(node)
        bucket.room -= size
        behind[node] = bucket.number
    return [bucket.members for bucket in buckets]


class _Joined:
    """The graph in which each bucket is one node."""

    def __init__(self, graph: Graph, buckets: list[list[Node]]) -> None:
        self.graph, self.buckets = graph, buckets
        self.bucket_of = {node: k for k, bucket in enumerate(buckets) for node in bucket}
        self.new = Graph()
        self.new.symbol_count = graph.symbol_count
        self.tensors: dict[Tensor, Tensor] = {}
        self.nodes: dict[Node, Node] = {}

    def written(self) -> Graph:
        for item in self._order():
            if isinstance(item, Node):
                inputs = [self.tensors[t] for t in item.inputs]
                self._met(item, self.new.copy_node(item, inputs, name=item.name))
            else:
                self._join(self.buckets[item])
        new, graph = self.new, self.graph
        new.inputs = tuple(self.tensors[t] for t in graph.inputs)
        new.outputs = tuple(self.tensors[t] for t in graph.outputs)
        new.targets = tuple(dict.fromkeys(self.nodes[t] for t in graph.targets))
        return new

    def _join(self, members: list[Node]) -> None:
        inputs = [self.tensors[t] for node in members for t in node.inputs]
        first = members[0]
        joined = self.new.add(
            "all_reduce", inputs, first.attrs, name=first.name, device=first.device,
            source=first.source, forward=first.forward,
        )  # fmt: skip
        outputs = iter(joined.outputs)
        for node in members:
            self.nodes[node] = joined
            self.tensors.update((t, next(outputs)) for t in node.outputs)

    def _met(self, node: Node, copied: Node) -> None:
        self.nodes[node] = copied
        self.tensors.update(zip(node.outputs, copied.outputs, strict=True))

    def _order(self) -> list[Node | int]:
        """Nodes and numbers of buckets: what needs no bucket first, then what needs the first one.

        Among those that are alike, in the order of the graph (Kahn 1962, with a heap).
        """
        units = [self.bucket_of.get(node, node) for node in self.graph.nodes]
        place = {unit: n for n, unit in reversed([*enumerate(units)])}
        readers: dict[Node | int, list[Node | int]] = {}
        waiting: Counter[Node | int] = Counter()
        for node, unit in zip(self.graph.nodes, units, strict=True):
            for tensor in node.inputs:
                readers.setdefault(self.bucket_of.get(tensor.node, tensor.node), []).append(unit)
                waiting[unit] += 1
        behind: dict[Node | int, int] = dict.fromkeys(place, -1)
        ready = [(-1, n, unit) for unit, n in place.items() if not waiting[unit]]
        heapq.heapify(ready)
        order: list[Node | int] = []
        while ready:
            level, _, unit = heapq.heappop(ready)
            order.append(unit)
            level = unit if isinstance(unit, int) else level
            for reader in readers.get(unit, ()):
                behind[reader] = max(behind[reader], level)
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready, (behind[reader], place[reader], reader))
        return order
