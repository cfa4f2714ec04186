"""One fixed binary tree over logical shards: the same bits for any number of members.

The global batch has S shards, whose partial results are the rows of all members. The tree over them
is determined by S alone: a range of shards is split in the middle, until single shards are left. A
member combines the largest subtrees that are its own; for each chunk its owner finishes the tree.
Who holds which shards decides where a node of the tree is computed, never what it combines.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from graphc.compiler.collectives.moves import Plan, check_member
from graphc.compiler.collectives.owners import Recipe, Share


def tree(member: int, bounds: Sequence[int], elements: int) -> Plan:
    """The plan of ``member``, whose rows are the shards ``bounds[member]`` to ``[member + 1] - 1``.

    Scratch memory holds its chunk of the largest subtrees of all others.

    Raises:
        ValueError: no such member, or bounds that give a member no shard.
    """
    if len(bounds) < 2 or bounds[0] != 0 or any(a >= b for a, b in pairwise(bounds)):
        raise ValueError(f"bounds {tuple(bounds)} do not give every member shards, from 0 on")
    check_member(member, len(bounds) - 1, elements)
    walk = _Walk(tuple(bounds))
    rows = tuple(b - a for a, b in pairwise(bounds))
    local = tuple(walk.local[member])
    shares, order = tuple(walk.shares), tuple(walk.order)
    return Recipe("tree", member, elements, rows, shares, local, order, 0).plan()


def subtrees(bounds: Sequence[int]) -> tuple[int, ...]:
    """For each member, how many subtrees of its own it cannot combine further."""
    shares = _Walk(tuple(bounds)).shares
    return tuple(sum(s.member == m for s in shares) for m in range(len(bounds) - 1))


class _Walk:
    """The tree from its leaves up: what is combined where, in order."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.holders = [m for m, (a, b) in enumerate(pairwise(bounds)) for _ in range(a, b)]
        self.shares: list[Share] = []
        self.local: list[list[tuple[int, int]]] = [[] for _ in bounds[1:]]
        self.order: list[tuple[int, int]] = []
        self._visit(0, bounds[-1])

    def _visit(self, first: int, last: int) -> int:
        """Combine the shards ``first`` to ``last - 1``; gives the share that has the result.

        The depth is logarithmic in the number of shards.
        """
        member = self.holders[first]
        if member == self.holders[last - 1]:
            self._combine_rows(member, first, last)
            self.shares.append(Share(member, first - self.bounds[member]))
            return len(self.shares) - 1
        middle = (first + last) // 2
        left = self._visit(first, middle)
        self.order.append((left, self._visit(middle, last)))
        return left

    def _combine_rows(self, member: int, first: int, last: int) -> None:
        if last - first > 1:
            middle = (first + last) // 2
            self._combine_rows(member, first, middle)
            self._combine_rows(member, middle, last)
            begin = self.bounds[member]
            self.local[member].append((first - begin, middle - begin))
