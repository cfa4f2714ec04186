"""One member's plan of a reduction, carried out as effects beside the kernels.

    a. The moves of the plan are done in order: transfers are begun, waited for, combined.
    b. The plan has ended: row 0 of the memory holds the reduction, and nothing is under way.

An aborted reduction stops inside a. It is *drained* as a step is: once every message that was begun
to be sent anywhere has ended, and the receives that nothing was sent for are taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Protocol

from graphc.compiler.collectives import Combine, Copy, Plan, Receive, Send, Wait
from graphc.ir.errors import ClusterError
from graphc.runtime.effects import Await, Overdue, Post, Role, Withdraw, Work


class Memory(Protocol):
    """What a plan works on: rows and scratch memory of real elements, or only their sizes."""

    def reserve(self, plan: Plan) -> None:
        """Get the scratch memory of ``plan``, whose rows these have to be."""

    def part(self, place: int, first: int, count: int) -> Any:
        """What a transfer takes or fills."""

    def nowhere(self, count: int) -> Any:
        """Memory for elements that nobody wants."""

    def combine(self, move: Combine) -> None: ...

    def copy(self, move: Copy) -> None: ...

    def seconds(self, count: int) -> float:
        """What it takes in virtual time to combine or copy so many elements."""


class Reduction:
    """A reduction under ``plan``; message n of it has tag ``tag + n``.

    ``ranks`` and ``names`` are those of the tasks that the members are, in order. ``seconds``
    bounds each wait for another task; ``label`` says in errors and timelines what is reduced, and
    ``step`` in which step of its session.

    Raises:
        ValueError: memory that does not fit the plan.
    """

    def __init__(
        self,
        plan: Plan,
        memory: Memory,
        ranks: Sequence[int],
        names: Sequence[str],
        tag: int,
        seconds: float,
        label: str,
        step: int = 0,
    ) -> None:
        for what in (ranks, names):
            if len(what) != plan.members:
                raise ValueError(f"{what!r} are not {plan.members} tasks")
        memory.reserve(plan)
        self.plan, self.label, self._step = plan, label, step
        self._memory, self._ranks, self._names = memory, ranks, names
        self._tag, self._seconds = tag, seconds
        self._begun: set[int] = set()
        self._sent: set[int] = set()
        self._under_way: dict[int, tuple[Send | Receive, Any]] = {}
        """By number, what has been begun and not waited for, with its ticket."""

    @property
    def sent(self) -> tuple[int, ...]:
        """The numbers of the messages that were begun to be sent."""
        return tuple(sorted(self._sent))

    def run(self) -> Role:
        """Steps a and b.

        Raises:
            ClusterError: a transfer that does not end in time, with the task that it waits for.
        """
        rules = self._rules
        for move in self.plan.moves:
            yield from rules[type(move)](self, move)

    def drain(self, sent: Collection[int]) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        Raises:
            ClusterError: one does not end in time.
        """
        for move in self.plan.moves:
            if isinstance(move, Receive) and move.number in sent and move.number not in self._begun:
                yield from self._post(move, self._memory.nowhere(move.count))
        yield from self.withdraw(sent)
        for number in tuple(self._under_way):
            yield from self._ended(number)

    def withdraw(self, sent: Collection[int] = ()) -> Role:
        """Give up the receives but for those of ``sent``."""
        for number, (move, ticket) in tuple(self._under_way.items()):
            if isinstance(move, Receive) and number not in sent:
                del self._under_way[number]
                yield Withdraw(ticket)

    def _transfer(self, move: Send | Receive) -> Role:
        yield from self._post(move, self._memory.part(move.place, move.first, move.count))

    def _post(self, move: Send | Receive, memory: Any) -> Role:
        sends = isinstance(move, Send)
        tag = self._tag + move.number
        ticket = yield Post(self._ranks[move.peer], tag, memory, sends, self.label, self._step)
        self._under_way[move.number] = move, ticket
        self._begun.add(move.number)
        if sends:
            self._sent.add(move.number)

    def _wait(self, move: Wait) -> Role:
        yield from self._ended(move.number)

    def _ended(self, number: int) -> Role:
        move, ticket = self._under_way[number]
        try:
            yield Await(ticket, self._seconds)
        except Overdue:
            way = "be taken by" if isinstance(move, Send) else "come from"
            raise ClusterError(
                f"step {self._step}: {self.label}: a part of it did not {way} "
                f"{self._names[move.peer]} within {self._seconds:g} s"
            ) from None
        del self._under_way[number]

    def _combine(self, move: Combine) -> Role:
        yield Work(lambda: self._memory.combine(move), self._memory.seconds(move.count))

    def _copy(self, move: Copy) -> Role:
        yield Work(lambda: self._memory.copy(move), self._memory.seconds(move.count))

    _rules: ClassVar[dict[type[Any], Callable[[Any, Any], Role]]] = {
        Send: _transfer,
        Receive: _transfer,
        Wait: _wait,
        Combine: _combine,
        Copy: _copy,
    }
