"""What a member does in a collective: a list of moves of elements, pure data made from numbers.

A plan is what a role carries out, what a checker proves and what a cost model counts. Its moves are
done in order. A transfer only begins with its move and has ended with its wait: until then what is
sent is not written, and what is received is neither read nor written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

SCRATCH = -1
"""The place that is no row: memory that the plan alone uses."""


@dataclass(frozen=True, slots=True)
class Send:
    """Begin to send ``count`` elements of ``place``, a row or ``SCRATCH``, to member ``peer``."""

    number: int
    """Of the message, among those of all members."""
    peer: int
    place: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Receive:
    """Begin to receive ``count`` elements into ``place`` from member ``peer``."""

    number: int
    peer: int
    place: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Begin to combine row 0, of ``count`` elements, with that of all members, in one call.

    Until its wait the row is neither read nor written.
    """

    number: int
    """Among the messages of all members; it is one of each."""
    count: int
    shared: bool
    """Members read each other's memory; else MPI does it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on once message ``number``, which was begun here, has ended."""

    number: int


@dataclass(frozen=True, slots=True)
class Combine:
    """Elements of place ``into`` become ``into o source``, one by one."""

    into: int
    into_first: int
    source: int
    source_first: int
    count: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Elements of place ``into`` become those of ``source``."""

    into: int
    into_first: int
    source: int
    source_first: int
    count: int


Move: TypeAlias = Send | Receive | AllReduce | Wait | Combine | Copy


@dataclass(frozen=True, slots=True)
class Plan:
    """The moves of one member; behind them its row 0 holds the reduction.

    The member's operand is ``rows`` rows of ``elements`` elements; the plan may overwrite them all.
    """

    algorithm: str
    member: int
    members: int
    elements: int
    rows: int
    scratch: int
    """Elements of scratch memory."""
    messages: int
    """Of all members together; their numbers are 0 to ``messages - 1``."""
    moves: tuple[Move, ...]

    @property
    def elements_sent(self) -> int:
        """How many elements this member sends."""
        return sum(move.count for move in self.moves if isinstance(move, Send))


@dataclass(frozen=True, slots=True)
class Chunks:
    """``elements`` cut into a chunk for each of ``members``; sizes differ by one at most.

    Where there are fewer elements than members, the first members have one each.
    """

    elements: int
    members: int

    def __post_init__(self) -> None:
        if self.members < 1 or self.elements < 0:
            raise ValueError(f"{self.elements} elements cannot be cut for {self.members} members")

    def first(self, chunk: int) -> int:
        """The first element of a chunk."""
        size, more = divmod(self.elements, self.members)
        return chunk * size + min(chunk, more)

    def count(self, chunk: int) -> int:
        """How many elements a chunk has."""
        return self.first(chunk + 1) - self.first(chunk)

    @property
    def filled(self) -> int:
        """How many chunks, the first ones, have elements."""
        return min(self.elements, self.members)


def check_member(member: int, members: int, elements: int) -> None:
    """Refuse numbers that no plan can be made from.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    Chunks(elements, members)
    if not 0 <= member < members:
        raise ValueError(f"there is no member {member} among {members}")
