"""Where reductions in one call are made: communicators of MPI, and groups over shared memory.

All are made when a server starts. Making one is collective and may block, so it is done once, where
all tasks are at the same point: no two can be made in different orders by different tasks, and no
step waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.runtime.drivers.host.reducing import SharedGroup
from graphc.runtime.drivers.host.segment import Segment
from graphc.runtime.effects import AllReduce

_OPERATIONS = {
    "sum": "SUM", "prod": "PROD", "max": "MAX", "min": "MIN", "any": "LOR", "all": "LAND",
}  # fmt: skip
"""MPI's names of combiners."""


class Communicators:
    """Those of one task, which has mapped ``segments``; there are none before ``make``."""

    def __init__(self, segments: Mapping[int, Segment]) -> None:
        self._segments = segments
        self._made: list[Any] = []
        self._shared: list[SharedGroup] = []

    def make(self, world: Any, members: Sequence[int], count: int) -> None:
        """Make ``count`` of ``members``, ranks in ``world``. Collective over the whole world.

        There are none for tasks that are no members, or for one alone. It does not hang if tasks
        disagree on who the members are: that is found out and told later.
        """
        from mpi4py import MPI

        first = world.Split(0 if world.rank in members else MPI.UNDEFINED, world.rank)
        if first != MPI.COMM_NULL:
            self._made = [first]
            if first.size > 1:
                self._made += [first.Dup() for _ in range(count - 1)]
            if first.size > 1 and self._segments.keys() >= {*members}:
                self._shared = [
                    SharedGroup(world.rank, members, self._segments, n) for n in range(count)
                ]

    @property
    def share_memory(self) -> bool:
        """Whether the members can combine what lies in each other's memory."""
        return bool(self._shared)

    def begin(self, effect: AllReduce) -> Any:
        """The request of a reduction that has begun; ``MemoryError``: there is no room for it."""
        if effect.shared:
            return self._shared[effect.group].begin(effect)
        from mpi4py import MPI

        operation = getattr(MPI, _OPERATIONS[effect.combiner])
        return self._made[effect.group].Iallreduce(MPI.IN_PLACE, effect.memory, operation)

    def free(self) -> None:
        """Free all; nothing may be under way on them. Collective."""
        while self._made:
            self._made.pop().Free()
