"""A group of nodes in the making."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum, auto

from graphc.passes.fusion.roles import Facts, Frame


class Kind(IntEnum):
    """What nest of loops a group is."""

    MAP = auto()
    """Elementwise over one frame."""
    ROWS = auto()
    """Over rows: what reads across a row, and what is done to rows and their elements."""
    TOTAL = auto()
    """One reduction over axes that are not the last; what it reduces, what is done with it."""
    PRODUCT = auto()
    """One matrix product and what is done with it, element by element."""
    UPDATE = auto()
    """New values of variables, of any frames."""


@dataclass(frozen=True, slots=True)
class Joining:
    """How a group changes when a node joins it."""

    kind: Kind | None = None
    """What the group becomes, with ``frame``; None: it stays what it is."""
    frame: Frame = ()
    is_anchor: bool = False
    """The node is the group's one reduction or matrix product."""
    reduces: bool = False
    """The node is one more of the group's passes over rows."""
    is_before: bool = False
    """The node computes what the anchor reduces."""
    is_small: bool = False
    """The node is repeated: it has fewer elements than the group, and is computed for each."""


@dataclass(eq=False)
class Group:
    """Nodes by number, consumers first; ``rank`` is larger than that of every group it feeds.

    Every path between two groups goes down in rank, so no group both feeds and needs another.
    """

    kind: Kind
    rank: int
    frame: Frame
    """Of the elements or, with ``ROWS``, of the rows."""
    device: str
    root: int | None = None
    """The matrix product that finishes here, once it is reached."""
    anchor: int | None = None
    fed_from: float = math.inf
    """The lowest rank of what it needs, as far as that has been placed; above its own."""
    members: list[int] = field(default_factory=list)
    exposed: set[int] = field(default_factory=set)
    """Members whose values others need too."""
    before: set[int] = field(default_factory=set)
    """Members that are computed for each element that the anchor reduces."""
    passes: int = 0
    """How many reductions and rowwise ops there are."""
    feeds: dict[int, int] = field(default_factory=dict)
    """The number of the topmost pass that each member is, or leads to; others are left out."""
    small: set[int] = field(default_factory=set)
    """Members that are computed again for each element of their readers."""

    def admit(self, n: int, joining: Joining, exposed: bool, feeds: int) -> None:
        """Add ``n``, which leads to pass ``feeds`` (0: to none), as ``joining`` says."""
        if joining.kind is not None:
            self.kind, self.frame = joining.kind, joining.frame
        if joining.is_anchor:
            self.anchor = n
        if joining.reduces:
            self.passes += 1
            feeds = self.passes
        if joining.is_before:
            self.before.add(n)
        if exposed:
            self.exposed.add(n)
        if joining.is_small:
            self.small.add(n)
        self.members.append(n)
        if feeds:
            self.feeds[n] = feeds

    def exposed_depend_on(self, n: int, facts: Facts) -> bool:
        """Whether all that leaves the group would follow from ``n``, if that came first."""
        after = {n}
        for member in reversed(self.members):
            if any(o in after for o in facts.operands[member]):
                after.add(member)
        return self.exposed <= after

    def absorb(self, other: Group) -> None:
        """Take over the members of a group of the same kind, rank and frame."""
        self.members = sorted({*self.members, *other.members}, reverse=True)
        self.exposed |= other.exposed
        self.fed_from = min(self.fed_from, other.fed_from)
        self.small |= other.small


def start(kind: Kind, n: int, rank: int, joining: Joining, facts: Facts, exposed: bool) -> Group:
    """A group of ``n`` alone."""
    group = Group(kind, rank, joining.frame, facts.nodes[n].device)
    group.admit(n, replace(joining, kind=None), exposed, 0)
    return group
