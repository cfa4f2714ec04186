"""What a program sends and receives: where among its calls each transfer begins or ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.backends.loops.program import Call, Transfer
from graphc.compiler.lower import Draft


def transfers(
    draft: Draft, calls: Sequence[Call], moved: Mapping[int, int], commit: int
) -> tuple[tuple[Transfer, ...], tuple[Transfer, ...]]:
    """The sends and the receives of a draft, each in the order of their calls.

    A send begins behind the last call that writes its storage; a variable that is read, not
    assigned, is sent as it is before the commit phase. A receive ends before the first call that
    touches its storage, and before ``commit``. ``moved`` are storages that became others.
    """
    written: dict[int, int] = {}
    touched: dict[int, int] = {}
    for number, call in enumerate(calls):
        written |= dict.fromkeys(call.writes, number + 1)
        for storage in call.storages:
            touched.setdefault(storage, min(number, commit))
    receives = [
        Transfer(node.attrs["edge"], storage, node.attrs["source"], touched.get(storage, commit))
        for node, storage in draft.receives
    ]
    arrives = {transfer.storage: transfer.call for transfer in receives}
    sends = []
    for node, storage in draft.sends:
        now = moved.get(storage, storage)
        begin = max(written.get(now, 0), arrives.get(now, 0))
        if draft.storages[storage].kind == "variable":
            begin = 0
        sends.append(Transfer(node.attrs["edge"], now, node.attrs["to"], begin))
    return _ordered(sends), _ordered(receives)


def _ordered(found: Sequence[Transfer]) -> tuple[Transfer, ...]:
    return tuple(sorted(found, key=lambda transfer: transfer.call))
