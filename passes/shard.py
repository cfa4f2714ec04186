"""Divides a batch: the graph becomes the one that every worker runs on its own rows."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.passes.context import PassContext
from graphc.passes.sharding.shard import shard


@dataclass(frozen=True)
class Shard:
    """``graph.inputs`` are split along ``axes`` (None: not at all), and all else follows.

    ``symbols`` are new names for a worker's number of rows, for that of the batch, and for the
    place of the worker's first row in it.

    Needs: state resolved, nothing fused. Leaves a graph in which what is divided has the first
    symbol in its shape, and partial results are combined by ``all_reduce``.

    Raises ShardError for what needs rows of other workers.
    """

    axes: tuple[int | None, ...]
    symbols: tuple[str, str, str]
    name: str = "shard"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        pairs = zip(graph.inputs, self.axes, strict=True)
        split = {tensor: axis for tensor, axis in pairs if axis is not None}
        return shard(graph, split, self.symbols).graph
