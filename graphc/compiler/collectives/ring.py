"""The ring: every byte is sent as seldom as can be, in many steps.

Members stand in a ring, and the elements are cut into a chunk for each. In step g a member sends
chunk ``member - g`` to the next member and receives the chunk before it. In the first
``members - 1`` steps what comes is combined with the member's own elements, then each member has
one chunk that is complete; in as many steps more the complete chunks go round. (Patarasuk and Yuan,
"Bandwidth optimal all-reduce algorithms", 2009.)

Chunk c is combined in the order of members c, c+1, ... around the ring, on one member, so all get
the same bits.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import (
    SCRATCH,
    Chunks,
    Combine,
    Move,
    Plan,
    Receive,
    Send,
    Wait,
    check_member,
)


def ring(member: int, members: int, elements: int, pieces: int = 1) -> Plan:
    """The plan of ``member``, each chunk moved in ``pieces``.

    With several pieces one is combined and sent on while the next is on its way. Scratch memory
    holds two chunks.

    Raises:
        ValueError: no such member, no piece, or fewer than no elements.
    """
    return _Ring(member, members, elements, pieces).plan()


class _Ring:
    def __init__(self, member: int, members: int, elements: int, pieces: int) -> None:
        check_member(member, members, elements)
        if pieces < 1:
            raise ValueError(f"a chunk cannot be moved in {pieces} pieces")
        self.member, self.members = member, members
        self.chunks = Chunks(elements, members)
        self.pieces = max(1, min(pieces, elements // members))
        self.spans = [self._cut(chunk) for chunk in range(members)]
        """By chunk, the first element and the count of each of its pieces."""
        self.steps = 2 * (members - 1)
        self.slot = self.chunks.count(0)
        """Elements of the largest chunk."""
        self.moves: list[Move] = []
        self.under_way: dict[int, tuple[int, ...]] = {}
        """By step, the numbers of what is being sent."""

    def plan(self) -> Plan:
        if self.steps:
            self._receive(0)
            for piece in range(self.pieces):
                self._send(0, piece)
        for step in range(self.steps):
            self._take(step)
        for step in sorted(self.under_way):
            self._sent(step)
        return Plan(
            "ring", self.member, self.members, self.chunks.elements, 1,
            2 * self.slot if self.steps else 0,
            self.steps * self.chunks.filled * self.pieces, tuple(self.moves),
        )  # fmt: skip

    def _take(self, step: int) -> None:
        """Receive what comes in ``step``, and send it on; what comes next may come already."""
        if step + 1 < self.steps:
            self._receive(step + 1)
        for piece in range(self.pieces):
            chunk = self._chunk(step + 1)
            first, count = self.spans[chunk][piece]
            if count:
                self.moves.append(Wait(self._number(step, chunk, piece)))
                if self._combines(step):
                    self.moves.append(Combine(0, first, SCRATCH, self._slot(step, piece), count))
            if step + 1 < self.steps:
                self._send(step + 1, piece)
        self._sent(step)

    def _receive(self, step: int) -> None:
        """Post the receives of a step; complete chunks come where they stay."""
        if not self._combines(step):
            self._sent(step - self.members + 1)  # then this chunk was sent
        chunk = self._chunk(step + 1)
        for piece in range(self.pieces):
            first, count = self.spans[chunk][piece]
            if count:
                place = (SCRATCH, self._slot(step, piece)) if self._combines(step) else (0, first)
                number = self._number(step, chunk, piece)
                self.moves.append(Receive(number, self._peer(-1), *place, count))

    def _send(self, step: int, piece: int) -> None:
        chunk = self._chunk(step)
        first, count = self.spans[chunk][piece]
        if count:
            number = self._number(step, chunk, piece)
            self.moves.append(Send(number, self._peer(1), 0, first, count))
            self.under_way[step] = (*self.under_way.get(step, ()), number)

    def _sent(self, step: int) -> None:
        """Wait for what was sent in ``step``, unless that was done."""
        self.moves += [Wait(number) for number in self.under_way.pop(step, ())]

    def _combines(self, step: int) -> bool:
        return step < self.members - 1

    def _peer(self, distance: int) -> int:
        return (self.member + distance) % self.members

    def _chunk(self, step: int) -> int:
        """What this member sends in ``step``, and receives in the step before."""
        return (self.member - step) % self.members

    def _cut(self, chunk: int) -> list[tuple[int, int]]:
        begin, parts = self.chunks.first(chunk), Chunks(self.chunks.count(chunk), self.pieces)
        return [(begin + parts.first(n), parts.count(n)) for n in range(self.pieces)]

    def _slot(self, step: int, piece: int) -> int:
        """Where in scratch memory a piece comes: steps take turns."""
        return step % 2 * self.slot + self.spans[0][piece][0]

    def _number(self, step: int, chunk: int, piece: int) -> int:
        return (step * self.chunks.filled + chunk) * self.pieces + piece
