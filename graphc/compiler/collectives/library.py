"""The reduction that MPI itself has: one call, whose algorithm the MPI library chooses.

A member has one row, and all members begin their reductions in one order.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import AllReduce, Plan, Wait, check_member


def library(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member``.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    check_member(member, members, elements)
    moves = (AllReduce(0, elements), Wait(0)) if elements and members > 1 else ()
    return Plan("mpi", member, members, elements, 1, 0, min(1, len(moves)), moves)
