"""Walks a graph from its outputs to its inputs and lets each node join the group of its readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from graphc.passes.fusion.group import Group, Joining, Kind, start
from graphc.passes.fusion.joining import Request, ask
from graphc.passes.fusion.levels import Levels
from graphc.passes.fusion.roles import Facts, Role
from graphc.passes.fusion.updates import update_groups

MOST_COPIES = 3
"""A cheap node is computed in so many groups rather than stored for them."""
MOST_TRIED = 4
"""So many of the groups that take a node are asked whether it may join."""
MOST_STREAMS = 24
"""Groups that only share operands are not merged beyond so many tensors read and written."""

_GROUPED = frozenset({Role.POINTWISE, Role.MOVEMENT, Role.REDUCTION, Role.ROWWISE, Role.PRODUCT})
Explain = Callable[[int, int, str], None]
"""Is told a node, one of its readers, and why they were not fused."""


@dataclass(frozen=True, slots=True)
class Options:
    """``limit``: nodes in a group. The others say what the target's schedules can do."""

    limit: int
    epilogues: bool
    updates: bool


def find_groups(facts: Facts, options: Options, explain: Explain | None = None) -> list[Group]:
    """Disjoint groups, but for cheap nodes that are computed in several; no cycles between them."""
    grouping = _Grouping(facts, options, explain)
    for n in reversed(range(len(facts.nodes))):
        grouping.place(n)
    grouping.merge_siblings()
    return grouping.groups()


class _Grouping:
    def __init__(self, facts: Facts, options: Options, explain: Explain | None) -> None:
        self.facts, self.options, self.explain = facts, options, explain
        self.levels = Levels(facts, options.epilogues)
        count = len(facts.nodes)
        self.owners: list[tuple[Group, ...]] = [()] * count
        """The groups that compute each node."""
        self.rank = [0] * count
        """Of nodes in no group."""
        if options.updates:
            for group in update_groups(facts, options.limit):
                for n in group.members:
                    self.owners[n] = (group,)

    def groups(self) -> list[Group]:
        found: dict[int, Group] = {}
        for owners in self.owners:
            found.update({id(group): group for group in owners})
        return list(found.values())

    def place(self, n: int) -> None:
        """Let ``n`` join, be computed by each of its readers, or start a group."""
        role = self.facts.role[n]
        if role is Role.SOURCE or self.owners[n]:
            return
        uses, alone, top = self._uses(n)
        if role not in _GROUPED:
            self.rank[n] = top + 1
            self._feed(n, uses, top + 1)
            return
        repeats = alone < 0 and len(uses) > 1 and _repeats_one_operand(self.facts, n)
        if repeats and self._copy(n, uses):
            return
        joined = (
            self._join_all(n, uses, alone, top)
            or self._join(n, uses, alone, raised=False)
            or (alone < 0 and self._is_better_copied(n) and self._copy(n, uses))
            or self._join(n, uses, alone, raised=True)
        )
        if not joined:
            self._start(n, uses, top + 1)

    def _uses(self, n: int) -> tuple[dict[Group, list[tuple[int, int]]], int, int]:
        """The uses of ``n`` by group, the highest rank among others that need it, and of all.

        -1: nobody else.
        """
        alone = 0 if n in self.facts.demanded else -1
        top = alone
        uses: dict[Group, list[tuple[int, int]]] = {}
        for use in self.facts.uses[n]:
            owners = self.owners[use[0]]
            if not owners:
                alone = max(alone, self.rank[use[0]])
            for group in owners:
                uses.setdefault(group, []).append(use)
                top = max(top, group.rank)
        return uses, alone, max(top, alone)

    def _join(
        self, n: int, uses: dict[Group, list[tuple[int, int]]], alone: int, *, raised: bool
    ) -> bool:
        """Join the first group that takes ``n`` and comes, or can be made to come, before others.

        ``raised``: groups whose rank has to grow for that, not beyond what they need themselves.
        """
        for group in sorted(uses, key=lambda g: -g.rank)[:MOST_TRIED]:
            others = max([alone, *(g.rank for g in uses if g is not group)])
            rank = max(group.rank, others + 1)
            if (rank > group.rank) is not raised:
                continue
            exposed = alone >= 0 or len(uses) > 1
            request = self._request(n, group, uses[group], exposed=exposed)
            if rank > group.rank and rank >= group.fed_from:
                self._refused(request, "the reader also needs what others make of it")
            elif self._admit(request):
                group.rank = rank
                self._feed(n, uses, rank)
                return True
        return False

    def _feed(self, n: int, uses: Iterable[Group], rank: int) -> None:
        """Remember that groups which take ``n`` need something of ``rank``."""
        for group in uses:
            if group not in self.owners[n]:
                group.fed_from = min(group.fed_from, rank)

    def _request(
        self,
        n: int,
        group: Group,
        uses: Sequence[tuple[int, int]],
        *,
        exposed: bool = False,
        copied: bool = False,
    ) -> Request:
        facts, levels = self.facts, self.levels
        return Request(n, group, uses, facts, levels, exposed=exposed, copied=copied)

    def _admit(self, request: Request) -> bool:
        answer = ask(request, self.options.limit)
        if isinstance(answer, str):
            self._refused(request, answer)
            return False
        self._enter(request, answer)
        return True

    def _enter(self, request: Request, joining: Joining) -> None:
        group, n = request.group, request.n
        group.admit(n, joining, request.exposed, request.feeds)
        self.owners[n] = (*self.owners[n], group)

    def _join_all(
        self, n: int, uses: dict[Group, list[tuple[int, int]]], alone: int, top: int
    ) -> bool:
        """Groups of one rank that take ``n`` become one, if they are alike."""
        highest = [group for group in uses if group.rank == top]
        if alone >= top or len(highest) < 2:
            return False
        if not all(_are_alike(highest[0], group) for group in highest[1:]):
            return False
        if 1 + sum(len(g.members) for g in highest) > self.options.limit:
            return False
        exposed = alone >= 0 or len(uses) > len(highest)
        requests = [self._request(n, g, uses[g], exposed=exposed) for g in highest]
        if any(ask(request, self.options.limit) != Joining() for request in requests):
            return False
        for group in highest[1:]:
            self._merge(highest[0], group)
        self._enter(requests[0], Joining())
        self._feed(n, [group for group in uses if group.rank < top], top)
        return True

    def _merge(self, group: Group, other: Group) -> None:
        group.absorb(other)
        for n in other.members:
            owners = (group if owner is other else owner for owner in self.owners[n])
            self.owners[n] = tuple(dict.fromkeys(owners))

    def _is_better_copied(self, n: int) -> bool:
        """Whether ``n`` follows from little that is stored anyway."""
        stored = self.levels.has_stored_operands(n)
        return stored and len(_large_operands(self.facts, n)) <= 2

    def _copy(self, n: int, uses: dict[Group, list[tuple[int, int]]]) -> bool:
        """Compute ``n`` in every group that takes it, and store it nowhere."""
        if not 1 <= len(uses) <= MOST_COPIES or not self.facts.is_cheap(n):
            return False
        requests = [self._request(n, group, taken, copied=True) for group, taken in uses.items()]
        answers = [ask(request, self.options.limit) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, str):
                self._refused(request, answer)
                return False
        for request, answer in zip(requests, answers, strict=True):
            assert isinstance(answer, Joining)
            self._enter(request, answer)
        return True

    def _start(self, n: int, uses: Iterable[Group], rank: int) -> None:
        facts, role = self.facts, self.facts.role[n]
        kind, joining = Kind.MAP, Joining(frame=facts.frame[n])
        if role is Role.PRODUCT:
            kind, joining = Kind.PRODUCT, Joining(frame=facts.frame[n], is_anchor=True)
        elif role is Role.ROWWISE or (role is Role.REDUCTION and facts.is_trailing(n)):
            kind, joining = Kind.ROWS, Joining(frame=facts.rows(n), reduces=True)
        elif role is Role.REDUCTION:
            kind, joining = Kind.TOTAL, Joining(frame=facts.frame[n], is_anchor=True)
        group = start(kind, n, rank, joining, facts, exposed=True)
        if kind is Kind.MAP:
            group.root = self.levels.own_root(n)
        self.owners[n] = (group,)
        self._feed(n, uses, rank)

    def merge_siblings(self) -> None:
        """Elementwise groups of one rank and frame that share an operand read it once."""
        latest: dict[tuple[int, int], Group] = {}
        for n in range(len(self.facts.nodes)):
            for o in self.facts.operands[n]:
                if not self.facts.frame[o]:
                    continue
                for group in self.owners[n]:
                    if group.kind is Kind.MAP and group.root is None:
                        self._merge_with_latest(latest, (o, group.rank), group)

    def _merge_with_latest(
        self, latest: dict[tuple[int, int], Group], key: tuple[int, int], group: Group
    ) -> None:
        """Merge ``group`` with the last one before it that shares the operand, or be the last."""
        other = latest.get(key, group)
        if other is group or not other.members:
            latest[key] = group
        elif _are_alike(other, group) and self._fit(other, group):
            self._merge(other, group)
            group.members = []
        else:
            latest[key] = group

    def _fit(self, a: Group, b: Group) -> bool:
        if len(a.members) + len(b.members) > self.options.limit:
            return False
        return len(self._streams(a) | self._streams(b)) <= MOST_STREAMS

    def _streams(self, group: Group) -> set[int]:
        members = set(group.members)
        read = {o for n in group.members for o in self.facts.operands[n] if self.facts.frame[o]}
        return (read - members) | group.exposed

    def _refused(self, request: Request, reason: str) -> None:
        if self.explain is not None:
            self.explain(request.n, request.uses[0][0], reason)


def _are_alike(a: Group, b: Group) -> bool:
    """Whether two groups are elementwise over one frame, and finish the same matrix product."""
    own = (a.kind, a.rank, a.frame, a.device, a.root)
    return a.kind is Kind.MAP and own == (b.kind, b.rank, b.frame, b.device, b.root)


def _large_operands(facts: Facts, n: int) -> set[int]:
    return {o for o in facts.operands[n] if facts.frame[o]}


def _repeats_one_operand(facts: Facts, n: int) -> bool:
    """Whether storing what ``n`` is computed from takes no more memory than storing ``n``."""
    large = _large_operands(facts, n)
    if len(large) != 1:
        return False
    (operand,) = large
    own, read = (facts.nodes[i].outputs[0].dtype.size for i in (n, operand))
    return read <= own and facts.frame[operand] == facts.frame[n]
