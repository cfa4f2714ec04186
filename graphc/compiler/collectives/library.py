"""Reductions in one call: what MPI itself has, and what tasks do that share their host's memory.

A member has one row, and all members begin their reductions in one order.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import AllReduce, Plan, Wait, check_member


def library(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member`` to leave a reduction to MPI, whose library chooses an algorithm.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    return _in_one_call("mpi", member, members, elements)


def shared(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member`` if all members can read each other's memory.

    Each combines a chunk of all rows, and then copies the chunks of the others.

    Raises:
        ValueError: as ``library``.
    """
    return _in_one_call("shared", member, members, elements)


def _in_one_call(algorithm: str, member: int, members: int, elements: int) -> Plan:
    check_member(member, members, elements)
    reduce = AllReduce(0, elements, shared=algorithm == "shared")
    moves = (reduce, Wait(0)) if elements and members > 1 else ()
    return Plan(algorithm, member, members, elements, 1, 0, min(1, len(moves)), moves)
