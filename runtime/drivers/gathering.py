"""Reductions in one call, made up: the n-th that a member begins is the n-th of all others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.dtypes import as_dtype
from graphc.runtime.effects import AllReduce
from graphc.runtime.operands import combiner_of

Begun = tuple[AllReduce, Any]
"""What a member began, and its ticket."""


class Mixed(Exception):  # noqa: N818, it says how things stand
    """Members begin reductions in different orders: MPI would combine what does not belong."""


class Gathering:
    """The communicators of a simulated cluster: what was begun on them and has not been matched."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, tuple[int, ...]], dict[int, deque[Begun]]] = {}

    @property
    def left(self) -> list[Any]:
        """The tickets of what not all members have begun."""
        queues = [queue for ranks in self._begun.values() for queue in ranks.values()]
        return [ticket for queue in queues for _, ticket in queue]

    def begin(self, rank: int, effect: AllReduce, ticket: Any) -> Sequence[Begun]:
        """What all members began, in the order of members, if this was the last one; or nothing.

        Raises:
            Mixed: they began different things.
        """
        key = effect.group, effect.members
        queues = self._begun.setdefault(key, {member: deque() for member in effect.members})
        queues[rank].append((effect, ticket))
        if not all(queues.values()):
            return ()
        begun = [queues[member].popleft() for member in effect.members]
        if len({_kind(other) for other, _ in begun}) > 1:
            raise Mixed(
                "; ".join(f"{m}: {_kind(e)}" for m, (e, _) in zip(key[1], begun, strict=True))
            )
        return begun

    def missing(self, effect: AllReduce) -> tuple[int, ...]:
        """The members that have not begun what others have."""
        queues = self._begun.get((effect.group, effect.members), {})
        return tuple(member for member, queue in queues.items() if not queue)


def combined(begun: Sequence[Begun]) -> npt.NDArray[Any]:
    """The operands of all members, combined one after the other."""
    (first, _), *others = begun
    total: npt.NDArray[Any] = first.memory.copy()
    combiner = combiner_of(first.combiner, as_dtype(total.dtype))
    with np.errstate(all="ignore"):
        for effect, _ in others:
            combiner(total, effect.memory, out=total)
    return total


def _kind(effect: AllReduce) -> tuple[Any, ...]:
    memory = effect.memory
    return effect.about, effect.step, effect.combiner, str(memory.dtype), memory.shape
