"""Direct reduce-scatter and all-gather: as few bytes as the ring, in two rounds.

Everyone sends to everyone, so it suits few members, and sizes between those of the other two. An
owner combines its chunk in the order of members.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import Plan
from graphc.compiler.collectives.owners import Recipe, Share


def scattered(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member``; scratch memory holds its chunk of the operands of all others.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    everyone = range(members)
    shares = tuple(Share(n, 0) for n in everyone)
    order = tuple((0, n) for n in everyone[1:])
    rows, local = (1,) * members, ((),) * members
    return Recipe("scattered", elements, rows, shares, local, order).plan(member)
