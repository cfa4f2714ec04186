"""Each member owns a chunk: all send it their part of it, it combines them and sends the result.

Two rounds. In which order an owner combines is told by the caller, for all owners alike, so the
bits depend neither on who owns what nor on what arrives first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.compiler.collectives.moves import (
    SCRATCH,
    Chunks,
    Combine,
    Copy,
    Move,
    Plan,
    Receive,
    Send,
    Wait,
)


@dataclass(frozen=True, slots=True)
class Share:
    """A partial result that lies in row ``row`` of member ``member``."""

    member: int
    row: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How shares are made and combined, as one member needs to know it."""

    algorithm: str
    member: int
    elements: int
    rows: tuple[int, ...]
    """How many rows each member has."""
    shares: tuple[Share, ...]
    """Of all members."""
    local: tuple[tuple[int, int], ...]
    """Pairs of rows (into, source) that the member combines before it sends."""
    order: tuple[tuple[int, int], ...]
    """Pairs of shares (into, source) that the member combines for its chunk."""
    result: int
    """The share that it has combined all others into then."""

    def plan(self) -> Plan:
        """The plan of the member.

        Raises:
            ValueError: no such member, or fewer than no elements.
        """
        return _Owners(self).plan()


class _Owners:
    def __init__(self, recipe: Recipe) -> None:
        self.members, self.member = len(recipe.rows), recipe.member
        self.recipe = recipe
        self.chunks = Chunks(recipe.elements, self.members)
        self.first, self.count = self.chunks.first(self.member), self.chunks.count(self.member)
        self.moves: list[Move] = []
        self.slots: dict[int, int] = {}
        """By share, where the owned chunk of another member's share comes."""
        self.numbers = _numbers(recipe.shares, self.chunks.filled)

    def plan(self) -> Plan:
        self._receive_shares()
        sent = self._send_shares()
        total = self._combine()
        self.moves += sent
        self._gather(total)
        recipe = self.recipe
        results = self.chunks.filled * (self.members - 1)
        return Plan(
            recipe.algorithm, self.member, self.members, recipe.elements,
            recipe.rows[self.member], len(self.slots) * self.count,
            len(self.numbers) + results, tuple(self.moves),
        )  # fmt: skip

    def _receive_shares(self) -> None:
        """Post the receives, in the order in which others send."""
        shares = enumerate(self.recipe.shares)
        for index, share in sorted(shares, key=lambda pair: self._distance(pair[1].member)):
            if share.member != self.member and self.count:
                self.slots[index] = slot = len(self.slots) * self.count
                number = self.numbers[index, self.member]
                self.moves.append(Receive(number, share.member, SCRATCH, slot, self.count))

    def _send_shares(self) -> list[Wait]:
        """Make the shares, chunk by chunk, and send each at once; gives what to wait for.

        Owners are sent to in such an order that each gets first what the next member sends it.
        """
        sent: list[Wait] = []
        for distance in range(1, self.members + 1):
            owner = (self.member - distance) % self.members
            first, count = self.chunks.first(owner), self.chunks.count(owner)
            if count == 0:
                continue
            for into, source in self.recipe.local:
                self.moves.append(Combine(into, first, source, first, count))
            for index, share in enumerate(self.recipe.shares):
                if share.member == self.member != owner:
                    number = self.numbers[index, owner]
                    self.moves.append(Send(number, owner, share.row, first, count))
                    sent.append(Wait(number))
        return sent

    def _combine(self) -> tuple[int, int]:
        """Combine the owned chunk of all shares; gives where the result is."""
        if self.count == 0:
            return 0, self.first
        coming = dict.fromkeys(self.slots)
        for pair in self.recipe.order:
            for index in pair:
                if index in coming:
                    del coming[index]
                    self.moves.append(Wait(self.numbers[index, self.member]))
            into, source = map(self._where, pair)
            self.moves.append(Combine(*into, *source, self.count))
        return self._where(self.recipe.result)

    def _gather(self, total: tuple[int, int]) -> None:
        """Send the owned chunk of the result to all, and receive theirs."""
        others = [(self.member + distance) % self.members for distance in range(1, self.members)]
        owners = [owner for owner in others if self.chunks.count(owner)]
        for owner in owners:
            first, count = self.chunks.first(owner), self.chunks.count(owner)
            number = self._result(owner, self.member)
            self.moves.append(Receive(number, owner, 0, first, count))
        if self.count and total != (0, self.first):
            self.moves.append(Copy(0, self.first, *total, self.count))
        readers = others if self.count else []
        for reader in readers:
            number = self._result(self.member, reader)
            self.moves.append(Send(number, reader, 0, self.first, self.count))
        self.moves += [Wait(self._result(owner, self.member)) for owner in owners]
        self.moves += [Wait(self._result(self.member, reader)) for reader in readers]

    def _distance(self, peer: int) -> int:
        return (peer - self.member) % self.members

    def _where(self, share: int) -> tuple[int, int]:
        """Place and first element of the owned chunk of a share."""
        if share in self.slots:
            return SCRATCH, self.slots[share]
        return self.recipe.shares[share].row, self.first

    def _result(self, owner: int, reader: int) -> int:
        """The number of the message by which a reader gets an owner's result."""
        within = (reader - owner - 1) % self.members
        return len(self.numbers) + owner * (self.members - 1) + within


def _numbers(shares: Sequence[Share], owners: int) -> dict[tuple[int, int], int]:
    """The numbers of the messages that take a share to an owner."""
    pairs = [(n, o) for n, share in enumerate(shares) for o in range(owners) if o != share.member]
    return {pair: number for number, pair in enumerate(pairs)}
