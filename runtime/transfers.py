"""The transfers of one step of one task: begun, ended, and brought to an end after an abort.

Transfers have numbers that are unique in the step, whoever makes them: edges of the graph, rows
of feeds and fetches, messages of reductions. So whatever was under way when a step was stopped,
all that has to be known of it are the numbers that were begun to be sent.

A reduction in one call has a number as well, and cannot be taken back: once a member has begun
it, all have to, and in one order with all others. Each begins the collectives of a step in the
order of their numbers, so what a member has begun when it is stopped are the first ones of them,
and what any has begun are the first ones too. After an abort each begins those that it lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphc.ir.dtypes import DType
from graphc.ir.errors import ClusterError
from graphc.runtime.effects import AllReduce, Await, Overdue, Post, Role, Withdraw


class Peer(NamedTuple):
    """The task at the other end of a transfer: its rank, and what it is called."""

    rank: int
    name: str


class Listener(Protocol):
    """Who hears at ``box`` while a transfer is waited for."""

    @property
    def box(self) -> int: ...

    def hear(self) -> Role:
        """Hear one message, which may end the wait by an error."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A message that is to be received: its number, who sends it, its bytes, what it is."""

    number: int
    peer: Peer
    bytes: int
    what: str


@dataclass(frozen=True, slots=True)
class Collective:
    """A reduction over ``members`` in one call, on their communicator ``group``."""

    number: int
    group: int
    members: tuple[Peer, ...]
    dtype: DType
    count: int
    """Of elements."""
    combiner: str
    what: str
    shared: bool
    """Over memory that they share, not by MPI."""


class _Begun(NamedTuple):
    ticket: Any
    way: str
    """What did not happen, if it does not end."""
    whom: tuple[Peer, ...]
    what: str


class Transfers:
    """The transfers of step ``step``, of which number n has tag ``tag + n``.

    ``seconds`` bounds each wait for another task.
    """

    def __init__(self, step: int, tag: int, seconds: float) -> None:
        self._step, self.tag, self._seconds = step, tag, seconds
        self._listener: Listener | None = None
        self._sends: dict[int, _Begun] = {}
        self._receives: dict[int, _Begun] = {}
        self._collectives: dict[int, _Begun] = {}
        """By number."""

    def listen(self, listener: Listener | None) -> None:
        """Hear what is told to ``listener`` in every wait from now on, or nothing."""
        self._listener = listener

    @property
    def sent(self) -> tuple[int, ...]:
        """The numbers of the transfers that were begun to be sent, collectives included."""
        return tuple(sorted((*self._sends, *self._collectives)))

    def send(self, number: int, peer: Peer, memory: Any, what: str) -> Role:
        """Begin to send ``memory``, which is not written before this has ended."""
        tag = self.tag + number
        ticket = yield Post(peer.rank, tag, memory, True, what, self._step)
        self._sends[number] = _Begun(ticket, "was not taken by", (peer,), what)

    def receive(self, number: int, peer: Peer, memory: Any, what: str) -> Role:
        """Begin to receive into ``memory``, which is not touched before this has ended."""
        tag = self.tag + number
        ticket = yield Post(peer.rank, tag, memory, False, what, self._step)
        self._receives[number] = _Begun(ticket, "did not come from", (peer,), what)

    def reduce(self, collective: Collective, memory: Any, *, wanted: bool = True) -> Role:
        """Begin a collective on ``memory``, an array, not touched before this has ended.

        Those of a step are begun in the order of their numbers. ``wanted``: as of ``AllReduce``.
        """
        ranks = tuple(member.rank for member in collective.members)
        ticket = yield AllReduce(
            collective.group, ranks, memory, collective.combiner, collective.what, self._step,
            collective.shared, wanted,
        )  # fmt: skip
        begun = _Begun(ticket, "was not combined over", collective.members, collective.what)
        self._collectives[collective.number] = begun

    def ended(self, number: int) -> Role:
        """Go on once transfer ``number``, which was begun here, has ended.

        Raises:
            ClusterError: it does not end in time, with the task that it waits for.
        """
        begun = self._receives.get(number) or self._sends.get(number) or self._collectives[number]
        listener = self._listener
        try:
            if listener is None:
                yield Await(begun.ticket, self._seconds)
            else:
                while not (yield Await(begun.ticket, self._seconds, listener.box)):
                    yield from listener.hear()
        except Overdue as overdue:
            missing = [member.name for member in begun.whom if member.rank in overdue.missing]
            names = missing or [member.name for member in begun.whom]
            raise ClusterError(
                f"step {self._step}: {begun.what} {begun.way} {', '.join(names)} "
                f"within {self._seconds:g} s"
            ) from None

    def all_sent(self) -> Role:
        """Go on once all that was begun to be sent has been taken.

        Raises:
            ClusterError: as ``ended``.
        """
        for number in list(self._sends):
            yield from self.ended(number)

    def drain(
        self,
        sent: Collection[int],
        expected: Iterable[Expected],
        collectives: Iterable[Collective] = (),
    ) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        ``expected`` are all messages that this task may receive in the step: what was sent before
        a receive for it was begun is received now, to nowhere. Of ``collectives``, all those of the
        step in order, what any member has begun is begun here as well.

        Raises:
            ClusterError: one does not end in time.
        """
        for message in expected:
            if message.number in sent and message.number not in self._receives:
                memory = bytearray(message.bytes)
                yield from self.receive(message.number, message.peer, memory, message.what)
        for collective in collectives:
            if collective.number in sent and collective.number not in self._collectives:
                operand = np.zeros(collective.count, collective.dtype.numpy)
                yield from self.reduce(collective, operand, wanted=False)
        for number in [n for n in self._receives if n in sent]:
            yield from self.ended(number)
        yield from self.withdraw()
        yield from self.all_sent()
        for number in self._collectives:
            yield from self.ended(number)

    def withdraw(self) -> Role:
        """Give up the receives; one that has ended is not touched by that."""
        while self._receives:
            _, begun = self._receives.popitem()
            yield Withdraw(begun.ticket)
