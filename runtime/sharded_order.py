"""In which order the members of a shared batch communicate in a step, for the checker of plans.

All members have the same instructions, so one of them knows what all do: its own program, between
whose instructions each member's reductions go on as strands of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphc.compiler.collectives import Move, Receive, Send, Wait
from graphc.runtime.checker import check
from graphc.runtime.engine import Loaded
from graphc.runtime.order import End, Event, Kind, Order, Strand
from graphc.runtime.planned import Planned, planned
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
    for plan in planned(loaded.program, sharding, sizes):
        strands.append([_event(move, plan) for move in plan.plan.moves if _is_event(move)])
        _ends(plan, sharding, sends, receives)
    return Order(sharding.names[sharding.member], strands, sends, receives)


def _is_event(move: Move) -> bool:
    return isinstance(move, Send | Receive | Wait)


def _event(move: Move, plan: Planned) -> Event:
    assert isinstance(move, Send | Receive | Wait), "others wait for nobody"
    return Event(_KINDS[type(move)], plan.first + move.number)


_KINDS: dict[type[Send | Receive | Wait], Kind] = {
    Send: Kind.SEND,
    Receive: Kind.POST,
    Wait: Kind.WAIT,
}


def _ends(
    plan: Planned, sharding: Sharding, sends: dict[int, End], receives: dict[int, End]
) -> None:
    for move in plan.plan.moves:
        if isinstance(move, Send | Receive):
            ends = sends if isinstance(move, Send) else receives
            size = move.count * plan.itemsize
            rank = sharding.ranks[move.peer]
            ends[plan.first + move.number] = End(rank, plan.reduction.name, size)


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
