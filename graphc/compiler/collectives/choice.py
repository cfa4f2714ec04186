"""Which plan a reduction is carried out by: the cheapest by the cost model, decided by numbers.

Every member decides alike, since it decides from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.compiler.collectives.cost import (
    ONE_HOST,
    Costs,
    direct_seconds,
    library_seconds,
    ring_seconds,
    scattered_seconds,
    shared_seconds,
)
from graphc.compiler.collectives.direct import direct
from graphc.compiler.collectives.library import library, shared
from graphc.compiler.collectives.moves import Plan, check_member
from graphc.compiler.collectives.ring import ring
from graphc.compiler.collectives.scattered import scattered

_PIECES = (1, 2, 4, 8, 16, 32, 64)
_PLANS: dict[str, Callable[[int, int, int], Plan]] = {
    "direct": direct, "mpi": library, "scattered": scattered, "shared": shared,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """An algorithm for ``members`` members and ``elements`` elements."""

    algorithm: str
    members: int
    elements: int
    seconds: float
    """What it takes by the model."""
    pieces: int = 1
    """In how many pieces a ring moves a chunk."""

    def plan(self, member: int) -> Plan:
        """The plan of a member.

        Raises:
            ValueError: no such member.
        """
        if self.algorithm == "ring":
            return ring(member, self.members, self.elements, self.pieces)
        return _PLANS[self.algorithm](member, self.members, self.elements)


def choose(
    elements: int,
    itemsize: int,
    members: int,
    costs: Costs = ONE_HOST,
    *,
    own: bool = False,
    shares: bool = False,
) -> Choice:
    """The cheapest plan for ``elements`` of ``itemsize`` bytes; of equals, the one of fewer rounds.

    ``own``: MPI's own reduction can be had; ``shares``: members can read each other's memory. Both
    only if ``costs`` say what they take.

    Raises:
        ValueError: no members, or fewer than no elements.
    """
    check_member(0, members, elements)
    size = elements * itemsize
    longest = max(1, elements // members)
    candidates = [
        Choice("direct", members, elements, direct_seconds(size, members, costs)),
        Choice("scattered", members, elements, scattered_seconds(size, members, costs)),
    ]
    candidates += [
        Choice("ring", members, elements, ring_seconds(size, members, costs, pieces), pieces)
        for pieces in _PIECES
        if pieces <= longest
    ]
    if own and costs.library is not None:
        seconds = library_seconds(size, members, costs.library)
        candidates.append(Choice("mpi", members, elements, seconds))
    if shares and costs.shared is not None:
        seconds = shared_seconds(size, members, costs.shared)
        candidates.append(Choice("shared", members, elements, seconds))
    return min(candidates, key=lambda choice: choice.seconds)
