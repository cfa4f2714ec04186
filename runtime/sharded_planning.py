"""Plans of sessions that divide a batch over workers: one graph, of which each runs its shards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from graphc.compiler import CompileOptions, extract
from graphc.ir.dims import symbols_of
from graphc.ir.errors import ClusterError, ShardError
from graphc.ir.graph import Graph, Tensor
from graphc.ir.target import Target
from graphc.ir.text import print_graph
from graphc.ops.state import is_assign
from graphc.passes.bucket import Bucket
from graphc.passes.context import PassContext
from graphc.passes.pipeline import run_pipeline, sharded_pipeline
from graphc.passes.shard import Shard
from graphc.passes.sharding.shard import unused_symbols
from graphc.passes.unroll import Unroll, mentions
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.groups import GROUPS
from graphc.runtime.part import Part, printed
from graphc.runtime.planned import OVER_MEMORY, OWN_OF_MPI
from graphc.runtime.planning import Plan, Signature
from graphc.runtime.reduction import NO_GROUP
from graphc.runtime.sharding import WHOLE, Sharding
from graphc.runtime.strategy import DataParallel

FIRST_BUCKET = 2 * 2**20
"""The first bucket is no larger: nothing can be combined before it is full."""


@dataclass(frozen=True)
class ShardedPlanner:
    """Makes the plans of a session with ``strategy`` on the workers with these ``ranks``.

    ``client`` is the member that feeds and fetches, or ``EVERYONE``; ``group`` the communicator for
    reductions in one call, or ``NO_GROUP``; ``shares_memory``: they can be made over memory.
    """

    strategy: DataParallel
    ranks: tuple[int, ...]
    client: int
    group: int
    shares_memory: bool = False

    def __call__(
        self,
        signature: Signature,
        cluster: ClusterSpec,
        client: int,
        target: Target,
        options: CompileOptions,
        *,
        once: bool = False,
    ) -> Plan:
        """The plan for fetches, targets and feeds; see ``planning.Planner``.

        Raises:
            FeedError, StateError: as ``extract`` and ``compile_graph``.
            ShardError: what cannot be divided, with the op and the user's line.
        """
        extracted = extract(*signature)
        axes = tuple(self.strategy.axis_of(fed) for fed in signature[2])
        symbols = unused_symbols(extracted.graph)
        graph = self._optimized(extracted.graph, axes, symbols, target, options)
        sharding = self._sharding(graph, axes, symbols, cluster)
        others = _others(graph.inputs, symbols)
        writers = self._writers(graph, client)
        parts = self._parts(graph, sharding, others, writers)
        writes = bool(writers) or any(map(is_assign, graph.nodes))
        return Plan(
            tuple(signature[2]), extracted.checks, others, parts, 0, writes, writers, axes,
            _digest(graph, sharding),
        )  # fmt: skip

    def _optimized(
        self,
        graph: Graph,
        axes: tuple[int | None, ...],
        symbols: tuple[str, str, str],
        target: Target,
        options: CompileOptions,
    ) -> Graph:
        context = PassContext(target=target, dump=options.dump)
        limit = self.strategy.bucket_bytes
        bucket = Bucket(limit, min(limit, FIRST_BUCKET))
        passes = sharded_pipeline(target, Shard(axes, symbols), bucket)
        return run_pipeline(graph, context, options.disabled_passes, options.verify, passes)

    def _sharding(
        self,
        graph: Graph,
        axes: tuple[int | None, ...],
        symbols: tuple[str, str, str],
        cluster: ClusterSpec,
    ) -> Sharding:
        shards = self.strategy.reproducible or len(self.ranks)
        if shards < len(self.ranks):
            raise ShardError(
                f"reproducible={shards} makes {shards} logical shards, fewer than the "
                f"{len(self.ranks)} workers that are to have one each"
            )
        if shards > 1:
            self._check_algorithm()
        return Sharding(
            ranks=self.ranks,
            names=tuple(cluster.name_of(rank) for rank in self.ranks),
            member=0,
            client=self.client,
            shards=shards,
            rows=symbols[0],
            all_rows=symbols[1],
            first_row=symbols[2],
            feeds=tuple(WHOLE if axis is None else axis for axis in axes),
            fetches=tuple(_split_axis(tensor, symbols[0]) for tensor in graph.outputs),
            algorithm=self.strategy.algorithm,
            same_bits=self.strategy.reproducible is not None,
            group=self.group,
            shares_memory=self.shares_memory,
        )

    def _check_algorithm(self) -> None:
        algorithm = self.strategy.algorithm
        if algorithm in (OWN_OF_MPI, OVER_MEMORY) and self.group == NO_GROUP:
            raise ClusterError(
                f"algorithm {algorithm!r} cannot be had: {GROUPS} sessions at a time can have it, "
                "and those before this one are open or were broken"
            )
        if algorithm == OVER_MEMORY and not self.shares_memory:
            raise ClusterError(
                f"algorithm {algorithm!r} cannot be had: the workers are not all on one host, or "
                "cannot read each other's memory there"
            )

    def _writers(self, graph: Graph, client: int) -> tuple[int, ...]:
        """The members besides the client's that write variables: all, if any does."""
        writes = any(map(is_assign, graph.nodes))
        return tuple(rank for rank in self.ranks if writes and rank != client)

    def _parts(
        self, graph: Graph, sharding: Sharding, others: tuple[str, ...], writers: tuple[int, ...]
    ) -> dict[int, Part]:
        """Members with as many shards have the same graph."""
        own = (sharding.rows, sharding.first_row)
        counts = {len(block) for block in sharding.blocks}
        texts = {count: printed(Unroll(own, count).run(graph)) for count in counts}
        parts = {}
        for member, rank in enumerate(self.ranks):
            mine = replace(sharding, member=member)
            parts[rank] = Part(
                *texts[len(mine.own)],
                mine.symbols(others),
                writers=writers if rank in writers else (),
                sharding=mine,
            )
        return parts


def _digest(graph: Graph, sharding: Sharding) -> int:
    """63 bits of the graph without the lines that it came from, and of how it is divided."""
    constants: dict[str, npt.NDArray[Any]] = {}
    text = _SOURCE.sub("", print_graph(graph, constants))
    what = repr((text, sorted(constants), sharding.encoded())).encode()
    return int.from_bytes(hashlib.blake2b(what, digest_size=8).digest(), "little") >> 1


_SOURCE = re.compile(r' at "(?:[^"\\]|\\.)*":\d+(?= forward "|$)', re.MULTILINE)


def _others(inputs: Sequence[Tensor], symbols: tuple[str, str, str]) -> tuple[str, ...]:
    """The sizes that feeds tell besides the number of rows."""
    dims = (dim for tensor in inputs for dim in tensor.shape)
    return tuple(sorted({name for dim in dims for name in symbols_of(dim)} - set(symbols)))


def _split_axis(tensor: Tensor, rows: str) -> int:
    axes = (axis for axis, dim in enumerate(tensor.shape) if mentions([dim], frozenset([rows])))
    return next(axes, WHOLE)


def members_of(cluster: ClusterSpec) -> tuple[int, ...]:
    """The ranks of the tasks that share batches: the workers, or all if no job is called so."""
    tasks = [cluster.task_of(rank) for rank in range(cluster.size)]
    workers = tuple(rank for rank, (job, _) in enumerate(tasks) if job == "worker")
    return workers or tuple(range(cluster.size))
