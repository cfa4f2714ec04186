"""What a program sends and receives: where among its calls each transfer begins or ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphc.backends.loops.program import Call, Reduction, Transfer
from graphc.compiler.lower import Draft


def transfers(
    draft: Draft,
    calls: Sequence[Call],
    moved: Mapping[int, int],
    commit: int,
    fetched: Collection[str] = (),
) -> tuple[tuple[Transfer, ...], tuple[Transfer, ...]]:
    """The sends and the receives of a draft, in the order in which they begin and end.

    A send begins behind the last call that writes its storage; a variable that is read, not
    assigned, is sent as it is before the commit phase. A receive ends where it is first needed, in
    the order of the nodes: by a call or to be sent on, and before ``commit``. So no task waits
    for what another one can send only later in that order. What comes over the edges ``fetched``
    and is not touched here is sent after a commit, so it is waited for behind this one's.
    ``moved`` are storages that became others.
    """
    written = {storage: n + 1 for n, call in enumerate(calls) for storage in call.writes}
    touched = _touched(draft, calls, commit)
    never = (commit, len(draft.sends))
    arriving = sorted(draft.receives, key=lambda receive: touched.get(receive[1], never))
    receives = []
    for node, at in arriving:
        edge = node.attrs["edge"]
        end = commit + 1 if edge in fetched and at not in touched else touched.get(at, never)[0]
        receives.append(Transfer(edge, at, node.attrs["source"], end))
    arrives = {transfer.storage: transfer.call for transfer in receives}
    sends = []
    for send in draft.sends:
        now = moved.get(send.storage, send.storage)
        begin = max(written.get(now, 0), arrives.get(now, 0))
        if draft.storages[send.storage].kind == "variable":
            begin = 0
        sends.append(Transfer(send.node.attrs["edge"], now, send.node.attrs["to"], begin))
    sends.sort(key=lambda transfer: transfer.call)
    return tuple(sends), tuple(receives)


def _touched(draft: Draft, calls: Sequence[Call], commit: int) -> dict[int, tuple[int, int]]:
    """By which call, then by which send, each storage is needed first."""
    touched: dict[int, tuple[int, int]] = {}
    for number, call in enumerate(calls):
        for storage in call.storages:
            touched.setdefault(storage, (min(number, commit), len(draft.sends)))
    for number, send in enumerate(draft.sends):
        here = min(send.after, commit), number
        touched[send.storage] = min(touched.get(send.storage, here), here)
    return touched


def reductions_of(draft: Draft, calls: Sequence[Call], commit: int) -> tuple[Reduction, ...]:
    """Where among the calls each reduction begins and ends; in the order of the graph.

    It begins behind the last call that writes an operand, and ends before the first that reads a
    result: every worker has the same calls, so all begin and all end them in one order.
    """
    written = {storage: n + 1 for n, call in enumerate(calls) for storage in call.writes}
    read: dict[int, int] = {}
    for n, call in enumerate(calls):
        for storage in call.reads:
            read.setdefault(storage, n)
    found = []
    for bucket in draft.reductions:
        begin = max((written.get(storage, 0) for storage in bucket.operands), default=0)
        end = min((read.get(storage, commit) for storage in bucket.results), default=commit)
        combiner, name = bucket.node.attrs["combiner"], bucket.node.name
        found.append(Reduction(bucket.rows, combiner, begin, min(end, commit), name))
    return tuple(sorted(found, key=lambda reduction: reduction.begin))
