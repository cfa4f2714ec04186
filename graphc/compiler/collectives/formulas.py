"""How many elements each member sends under each plan, exactly, without making the plan."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.compiler.collectives.moves import Chunks
from graphc.compiler.collectives.tree import subtrees


def ring_sent(member: int, members: int, elements: int) -> int:
    """All chunks twice, but for the one received last in each round; 2 (P - 1) / P n on average."""
    if members == 1:
        return 0
    chunks = Chunks(elements, members)
    kept = chunks.count((member + 1) % members) + chunks.count((member + 2) % members)
    return 2 * elements - kept


def direct_sent(members: int, elements: int) -> int:
    """(P - 1) n, the same for every member."""
    return (members - 1) * elements


def scattered_sent(member: int, members: int, elements: int) -> int:
    """The chunks of others, and the own chunk to all others; 2 (P - 1) / P n on average."""
    own = Chunks(elements, members).count(member)
    return elements - own + (members - 1) * own


def tree_sent(member: int, bounds: Sequence[int], elements: int) -> int:
    """The chunks of others for each own subtree, and the own chunk of the result to all others."""
    own = Chunks(elements, len(bounds) - 1).count(member)
    return subtrees(bounds)[member] * (elements - own) + (len(bounds) - 2) * own
