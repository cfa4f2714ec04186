"""Direct reduce-scatter and all-gather: as few bytes as the ring, in two rounds.

Everyone sends to everyone, so it suits few members, and sizes between those of the other two. The
owner of a chunk combines its own elements with those of the next member, and so on around: in the
order in which they are sent, so that combining overlaps with what is still on its way.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import Plan, check_member
from graphc.compiler.collectives.owners import Recipe, Share


def scattered(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member``; scratch memory holds its chunk of the operands of all others.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    check_member(member, members, elements)
    shares = tuple(Share(n, 0) for n in range(members))
    order = tuple((member, (member + n) % members) for n in range(1, members))
    rows = (1,) * members
    return Recipe("scattered", member, elements, rows, shares, (), order, member).plan()
