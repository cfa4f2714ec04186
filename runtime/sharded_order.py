"""In which order the members of a shared batch communicate in a step, for the checker of plans.

All members have the same instructions, so one of them knows what all do: its own program, between
whose instructions each member's reductions go on as strands of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from graphc.compiler.collectives import AllReduce, Receive, Send, Wait
from graphc.runtime.checker import check
from graphc.runtime.engine import Loaded
from graphc.runtime.order import Event, Kind, Order, Strand
from graphc.runtime.part import End
from graphc.runtime.planned import planned
from graphc.runtime.reduction import Planned
from graphc.runtime.sharding import EVERYONE, WHOLE, Sharding


def check_shared(loaded: Loaded, sizes: tuple[int, ...]) -> None:
    """Prove that a step of these sizes ends, whatever its members' order and speed.

    Args:
        loaded: one member's part.
        sizes: those that it is told.

    Raises:
        PlanError: as ``checker.check``.
    """
    sharding = loaded.part.sharding
    if sharding is None or len(sharding.ranks) == 1:
        return
    named = dict(zip(loaded.part.symbols, sizes, strict=True))
    orders = {
        rank: _order(loaded, replace(sharding, member=member), named)
        for member, rank in enumerate(sharding.ranks)
    }
    check(orders, agree=bool(loaded.compiled.commits))


def _order(loaded: Loaded, sharding: Sharding, sizes: Mapping[str, int]) -> Order:
    sends: dict[int, End] = {}
    receives: dict[int, End] = {}
    (main,) = loaded.strands
    before, after = _exchange(sharding, sends, receives)
    commit = next(n for n, event in enumerate(main) if event.kind is Kind.COMMIT)
    strands: list[Strand] = [[*before, *main[:commit], *after, *main[commit:]]]
    plans = planned(loaded.program, sharding, sizes)
    behind = plans[-1].end if plans else sharding.exchanged
    for place, plan in enumerate(plans):
        strand = _Strand(plan, sharding, behind + place * len(sharding.ranks) ** 2)
        strands.append(strand.events)
        sends |= strand.sends
        receives |= strand.receives
    return Order(sharding.names[sharding.member], strands, sends, receives)


class _Strand:
    """What one member does in a reduction.

    A collective of MPI ends when all have begun it: as if each sent word to each other one, in
    messages whose numbers, from ``words`` on, no other has.
    """

    def __init__(self, plan: Planned, sharding: Sharding, words: int) -> None:
        self._plan, self._sharding, self._words = plan, sharding, words
        self.events: list[Event] = []
        self.sends: dict[int, End] = {}
        self.receives: dict[int, End] = {}
        self._own: set[int] = set()
        for move in plan.plan.moves:
            rule = self._rules.get(type(move))
            if rule is not None:
                rule(self, move)

    def _send(self, move: Send) -> None:
        self.sends[self._begun(Kind.SEND, move.number)] = self._end(move.peer, move.count)

    def _receive(self, move: Receive) -> None:
        self.receives[self._begun(Kind.POST, move.number)] = self._end(move.peer, move.count)

    def _begun(self, kind: Kind, number: int) -> int:
        self.events.append(Event(kind, self._plan.first + number))
        return self._plan.first + number

    def _end(self, peer: int, count: int) -> End:
        size = count * self._plan.dtype.size
        return End(self._sharding.ranks[peer], self._plan.label, size)

    def _all_reduce(self, move: AllReduce) -> None:
        self._own.add(move.number)
        for peer, sent, received in self._said():
            self.events += [Event(Kind.SEND, sent), Event(Kind.POST, received)]
            self.sends[sent] = self.receives[received] = self._end(peer, 0)

    def _said(self) -> list[tuple[int, int, int]]:
        """For each other member the numbers of the words to it and from it."""
        own, members = self._sharding.member, len(self._sharding.ranks)
        return [
            (peer, self._words + own * members + peer, self._words + peer * members + own)
            for peer in range(members)
            if peer != own
        ]

    def _wait(self, move: Wait) -> None:
        numbers = [self._plan.first + move.number]
        if move.number in self._own:
            numbers = [number for _, *both in self._said() for number in both]
        self.events += [Event(Kind.WAIT, number) for number in numbers]

    _rules: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        Send: _send,
        Receive: _receive,
        AllReduce: _all_reduce,
        Wait: _wait,
    }


def _exchange(
    sharding: Sharding, sends: dict[int, End], receives: dict[int, End]
) -> tuple[list[Event], list[Event]]:
    """What happens before and behind the program: feeds come from the client, fetches go there."""
    before: list[Event] = []
    after: list[Event] = []
    if sharding.client == EVERYONE:
        return before, after
    feeds = _feeds(sharding)
    fetches = _fetches(sharding)
    if sharding.is_client:
        before += [Event(Kind.SEND, number) for number in feeds]
        after += [Event(Kind.POST, number) for number in fetches]
        after += [Event(Kind.WAIT, number) for number in (*fetches, *feeds)]
        sends.update((n, End(sharding.ranks[m], "a feed")) for n, m in feeds.items())
        receives.update((n, End(sharding.ranks[m], "a fetch")) for n, m in fetches.items())
        return before, after
    client = sharding.ranks[sharding.client]
    mine = [number for number, member in feeds.items() if member == sharding.member]
    given = [number for number, member in fetches.items() if member == sharding.member]
    before += [Event(kind, number) for kind in (Kind.POST, Kind.WAIT) for number in mine]
    after += [Event(kind, number) for kind in (Kind.SEND, Kind.WAIT) for number in given]
    receives.update((number, End(client, "a feed")) for number in mine)
    sends.update((number, End(client, "a fetch")) for number in given)
    return before, after


def _feeds(sharding: Sharding) -> dict[int, int]:
    """The member that each message with rows of a feed goes to, by number."""
    members = range(len(sharding.ranks))
    return {
        position * len(sharding.ranks) + member: member
        for position in range(len(sharding.feeds))
        for member in members
        if member != sharding.client
    }


def _fetches(sharding: Sharding) -> dict[int, int]:
    """The member that each message with rows of a fetch comes from, by number."""
    begin = len(sharding.feeds) * len(sharding.ranks)
    return {
        begin + position * sharding.shards + shard: member
        for position, axis in enumerate(sharding.fetches)
        if axis != WHOLE
        for member, block in enumerate(sharding.blocks)
        if member != sharding.client
        for shard in block
    }
