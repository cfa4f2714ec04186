"""One member's plan of a reduction, carried out as effects beside the kernels.

    a. What the plan begins with, transfers that wait for nothing, is begun by the step itself: so
       the collectives of a step are begun in the order of its instructions.
    b. The other moves are done in order: transfers are begun, waited for, combined.
    c. The plan has ended: row 0 of the memory holds the reduction, and nothing is under way.

An aborted reduction stops before c. What it had under way is *drained* with all other transfers of
the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from graphc.compiler.collectives import AllReduce, Combine, Copy, Plan, Receive, Send, Wait
from graphc.ir.dtypes import DType
from graphc.runtime.effects import Role, Work
from graphc.runtime.transfers import Collective, Expected, Peer, Transfers

NO_GROUP = -1
"""In place of a communicator: reductions in one call cannot be used."""


class Memory(Protocol):
    """What a plan works on: rows and scratch memory of real elements, or only their sizes."""

    def reserve(self, plan: Plan) -> None:
        """Get the scratch memory of ``plan``, whose rows these have to be."""

    def part(self, place: int, first: int, count: int) -> Any:
        """What a transfer takes or fills."""

    def row(self) -> Any:
        """What is combined in one call."""

    def combine(self, move: Combine) -> None: ...

    def copy(self, move: Copy) -> None: ...

    def seconds(self, count: int) -> float:
        """What it takes in virtual time to combine or copy so many elements."""


@dataclass(frozen=True)
class Planned:
    """All of one member's reduction but its memory; its messages are numbered from ``first`` on.

    Raises:
        ValueError: another number of members than the plan is for.
    """

    plan: Plan
    members: tuple[Peer, ...]
    dtype: DType
    combiner: str
    label: str
    """What it is, in errors and timelines."""
    first: int = 0
    group: int = NO_GROUP
    """Which communicator of the members reductions in one call are made on."""

    def __post_init__(self) -> None:
        if len(self.members) != self.plan.members:
            raise ValueError(f"{self.members!r} are not {self.plan.members} tasks")

    @property
    def end(self) -> int:
        """The number behind those of its messages."""
        return self.first + self.plan.messages

    @property
    def part(self) -> str:
        """What a message is, in errors and timelines."""
        return f"a part of {self.label}"

    def collective(self, move: AllReduce) -> Collective:
        """What a move begins."""
        return Collective(
            self.first + move.number, self.group, self.members, self.dtype, move.count,
            self.combiner, self.label, move.shared,
        )  # fmt: skip

    def expected(self) -> Iterator[Expected]:
        """The messages that the plan receives."""
        for move in self.plan.moves:
            if isinstance(move, Receive):
                size = move.count * self.dtype.size
                yield Expected(self.first + move.number, self.members[move.peer], size, self.part)

    def collectives(self) -> Iterator[Collective]:
        """The collectives that the plan begins, in order."""
        return (self.collective(m) for m in self.plan.moves if isinstance(m, AllReduce))


class Reduction:
    """A reduction of ``memory``, whose messages are some of ``transfers``.

    Raises:
        ValueError: memory that does not fit the plan.
    """

    def __init__(self, planned: Planned, memory: Memory, transfers: Transfers) -> None:
        memory.reserve(planned.plan)
        self._planned, self._memory, self._transfers = planned, memory, transfers
        self._done = 0
        """How many of the moves."""

    def begin(self) -> Role:
        """Step a."""
        for move in self._planned.plan.moves:
            if type(move) not in _BEGINS:
                break
            self._done += 1
            yield from self._rules[type(move)](self, move)

    @property
    def only_waits(self) -> bool:
        """Whether nothing is left to be done but to wait, behind ``begin``."""
        return all(isinstance(move, Wait) for move in self._planned.plan.moves[self._done :])

    def run(self) -> Role:
        """Steps b and c, behind ``begin``, or all of them.

        Raises:
            ClusterError: a transfer that does not end in time, with the task that it waits for.
        """
        rules = self._rules
        for move in self._planned.plan.moves[self._done :]:
            yield from rules[type(move)](self, move)

    def _send(self, move: Send) -> Role:
        planned, memory = self._planned, self._memory.part(move.place, move.first, move.count)
        number, peer = planned.first + move.number, planned.members[move.peer]
        return self._transfers.send(number, peer, memory, planned.part)

    def _receive(self, move: Receive) -> Role:
        planned, memory = self._planned, self._memory.part(move.place, move.first, move.count)
        number, peer = planned.first + move.number, planned.members[move.peer]
        return self._transfers.receive(number, peer, memory, planned.part)

    def _all_reduce(self, move: AllReduce) -> Role:
        return self._transfers.reduce(self._planned.collective(move), self._memory.row())

    def _wait(self, move: Wait) -> Role:
        return self._transfers.ended(self._planned.first + move.number)

    def _combine(self, move: Combine) -> Role:
        yield Work(lambda: self._memory.combine(move), self._memory.seconds(move.count))

    def _copy(self, move: Copy) -> Role:
        yield Work(lambda: self._memory.copy(move), self._memory.seconds(move.count))

    _rules: ClassVar[dict[type[Any], Callable[[Any, Any], Role]]] = {
        Send: _send,
        Receive: _receive,
        AllReduce: _all_reduce,
        Wait: _wait,
        Combine: _combine,
        Copy: _copy,
    }


_BEGINS = frozenset({Send, Receive, AllReduce})
"""Moves that wait for nothing."""
