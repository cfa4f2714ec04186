"""The transfers of one step of one task: begun, ended, and brought to an end after an abort.

Transfers have numbers that are unique in the step, whoever makes them: edges of the graph, rows
of feeds and fetches, messages of reductions. So whatever was under way when a step was stopped,
all that has to be known of it are the numbers that were begun to be sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphc.ir.errors import ClusterError
from graphc.runtime.effects import Await, Overdue, Post, Role, Withdraw


class Peer(NamedTuple):
    """The task at the other end of a transfer: its rank, and what it is called."""

    rank: int
    name: str


@dataclass(frozen=True, slots=True)
class Expected:
    """A message that is to be received: its number, who sends it, its bytes, what it is."""

    number: int
    peer: Peer
    bytes: int
    what: str


class Transfers:
    """The transfers of step ``step``, of which number n has tag ``tag + n``.

    ``seconds`` bounds each wait for another task.
    """

    def __init__(self, step: int, tag: int, seconds: float) -> None:
        self._step, self._tag, self._seconds = step, tag, seconds
        self._sends: dict[int, tuple[Any, Peer, str]] = {}
        self._receives: dict[int, tuple[Any, Peer, str]] = {}
        """By number: the ticket, the task at the other end, and what is sent."""

    @property
    def sent(self) -> tuple[int, ...]:
        """The numbers of the transfers that were begun to be sent."""
        return tuple(sorted(self._sends))

    def send(self, number: int, peer: Peer, memory: Any, what: str) -> Role:
        """Begin to send ``memory``, which is not written before this has ended."""
        tag = self._tag + number
        ticket = yield Post(peer.rank, tag, memory, True, what, self._step)
        self._sends[number] = ticket, peer, what

    def receive(self, number: int, peer: Peer, memory: Any, what: str) -> Role:
        """Begin to receive into ``memory``, which is not touched before this has ended."""
        tag = self._tag + number
        ticket = yield Post(peer.rank, tag, memory, False, what, self._step)
        self._receives[number] = ticket, peer, what

    def ended(self, number: int) -> Role:
        """Go on once transfer ``number``, which was begun here, has ended.

        Raises:
            ClusterError: it does not end in time, with the task that it waits for.
        """
        receives = number in self._receives
        ticket, peer, what = (self._receives if receives else self._sends)[number]
        try:
            yield Await(ticket, self._seconds)
        except Overdue:
            way = "come from" if receives else "be taken by"
            raise ClusterError(
                f"step {self._step}: {what} did not {way} {peer.name} within {self._seconds:g} s"
            ) from None

    def all_sent(self) -> Role:
        """Go on once all that was begun to be sent has been taken.

        Raises:
            ClusterError: as ``ended``.
        """
        for number in list(self._sends):
            yield from self.ended(number)

    def drain(self, sent: Collection[int], expected: Iterable[Expected]) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        ``expected`` are all messages that this task may receive in the step: what was sent before
        a receive for it was begun is received now, to nowhere.

        Raises:
            ClusterError: one does not end in time.
        """
        for message in expected:
            if message.number in sent and message.number not in self._receives:
                memory = bytearray(message.bytes)
                yield from self.receive(message.number, message.peer, memory, message.what)
        for number in [n for n in self._receives if n in sent]:
            yield from self.ended(number)
        yield from self.withdraw()
        yield from self.all_sent()

    def withdraw(self) -> Role:
        """Give up the receives; one that has ended is not touched by that."""
        while self._receives:
            _, (ticket, _, _) = self._receives.popitem()
            yield Withdraw(ticket)
