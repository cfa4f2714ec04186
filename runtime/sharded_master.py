"""The master of a session that divides its batches over workers: it feeds and fetches for all.

Its protocol is that of every master. A worker is told how many rows it has; the rows go straight
from what is fed here to the workers, and what is fetched straight back.

Before a variable is first used, every worker is given the value that it has here: so all start
alike, and a session takes up what another one has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from graphc.ir.errors import FeedError
from graphc.ir.graph import Tensor
from graphc.ir.types import user_shape_text
from graphc.runtime.broadcast import broadcast_plan
from graphc.runtime.effects import Role, Work
from graphc.runtime.master import Master, Prepared
from graphc.runtime.planning import Signature
from graphc.runtime.rows import Rows, divided
from graphc.runtime.sharded_order import check_shared

Array = npt.NDArray[Any]


@dataclass
class ShardedMaster(Master):
    """The master of a session with a strategy, in a member's task; the other members join."""

    members: tuple[int, ...] = ()
    """The ranks of the tasks that share batches."""
    _shared: set[str] = field(default_factory=set)
    """The variables that all members have from here."""
    _checked: set[tuple[int, tuple[int, ...]]] = field(default_factory=set)
    """The programs, by number, and sizes whose steps are proved to end."""

    def _sizes(
        self, prepared: Prepared, arrays: Sequence[Array], named: Mapping[str, int]
    ) -> tuple[Mapping[int, tuple[int, ...]], Rows | None]:
        plan, sharding = prepared.plan, prepared.own.part.sharding
        if sharding is None:
            return super()._sizes(prepared, arrays, named)
        rows = divided(rows_of(plan.feeds, arrays, plan.axes), sharding.shards)
        others = [named[name] for name in plan.symbols]
        sizes = {
            rank: replace(sharding, member=member).sizes(others, rows)
            for member, rank in enumerate(sharding.ranks)
        }
        key = prepared.number, sizes[self.rank]
        if key not in self._checked:
            check_shared(prepared.own, sizes[self.rank])
            self._checked.add(key)
        return sizes, rows

    def initialize(self, signature: Signature, prepared: Prepared, missing: Iterable[str]) -> Role:
        """Give variables their first values here, and all members those that they have here."""
        yield from super().initialize(signature, prepared, prepared.own.missing)
        others = [rank for rank in self.members if rank != self.rank]
        program = prepared.own.program
        types = {program.storages[i].name: program.storages[i].type for i in program.variables}
        new = {name: type_ for name, type_ in types.items() if name not in self._shared}
        if new and others:
            plan = yield Work(lambda: broadcast_plan(new, self.cluster, self.rank, others))
            copying, _ = yield from self._register(plan)
            yield from self.run(copying, ())
        self._shared.update(new)


def rows_of(feeds: Sequence[Tensor], arrays: Sequence[Array], axes: Sequence[int | None]) -> int:
    """How many rows a batch has; none, if nothing that is fed is divided.

    Raises:
        FeedError: feeds with different numbers of rows.
    """
    first: tuple[Tensor, int] | None = None
    for tensor, array, axis in zip(feeds, arrays, axes, strict=True):
        if axis is None:
            continue
        rows = array.shape[axis]
        if first is None:
            first = tensor, rows
        elif rows != first[1]:
            shape = user_shape_text(tensor.shape)
            what = f"has {rows} rows (axis {axis} of {shape}), but {first[0].name} has {first[1]}"
            rule = f"{what}: what is divided over workers has one number of rows in a step"
            raise FeedError(tensor.node.error(rule))
    return 0 if first is None else first[1]
