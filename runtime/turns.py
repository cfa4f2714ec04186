"""What the members of a shared batch have to agree on before they take a step together."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from graphc.ir.dims import symbols_of
from graphc.ir.errors import FeedError
from graphc.runtime.exchange import as_bytes
from graphc.runtime.master import Prepared
from graphc.runtime.planning import Plan
from graphc.runtime.rows import Rows, divided, joined
from graphc.runtime.sharding import Sharding

Array = npt.NDArray[Any]


def whole_digest(sharding: Sharding, arrays: Sequence[Array]) -> int:
    """A digest of the feeds that are not divided, which all members have to be fed alike."""
    found = 0
    if not sharding.has_whole:
        return found
    for array, axis in zip(arrays, sharding.feeds, strict=True):
        if axis < 0:
            found = zlib.crc32(as_bytes(array).data, found)
            found = zlib.crc32(repr(array.shape).encode(), found)
    return found


def check_sizes(plan: Plan, named: Mapping[str, int], rows: int) -> None:
    """Hold the sizes of the whole batch against the rules of the graph.

    Raises:
        FeedError: a rule that they break.
    """
    pairs = zip(plan.feeds, plan.axes, strict=True)
    own = (symbols_of(tensor.shape[axis]) for tensor, axis in pairs if axis is not None)
    sizes = {**named, **{name: rows for names in own for name in names}}
    for check in plan.checks:
        if not check.constraint.holds(sizes):
            raise FeedError(check.message)


def rows_together(counts: tuple[int, ...], sharding: Sharding) -> Rows:
    """How the batch of members with so many rows is divided.

    Raises:
        FeedError: logical shards that would not be where they are for other numbers of workers.
    """
    rows = joined(counts)
    if not sharding.same_bits:
        return rows
    wanted = divided(rows.total, sharding.shards)
    bounds = [wanted.of(block) for block in sharding.blocks]
    if [last - first for first, last in bounds] != [*counts]:
        parts = ", ".join(
            f"{name} rows {first} to {last - 1}" if last > first else f"{name} none"
            for name, (first, last) in zip(sharding.names, bounds, strict=True)
        )
        raise FeedError(
            f"a batch of {rows.total} rows in {sharding.shards} logical shards gives {parts}; "
            f"they were fed {', '.join(map(str, counts))} rows"
        )
    return wanted


def rows_alone(rows: int, sharding: Sharding) -> Rows:
    """The rows of one member, divided over its shards; no other has any."""
    own = sharding.own
    within = divided(rows, len(own)).bounds
    return Rows((*[0] * own.start, *within, *[rows] * (sharding.shards - own.stop)))


def described(prepared: Prepared) -> str:
    """Fetches and feeds in words."""
    tensors, targets, feeds = prepared.signature
    wanted = ", ".join([*(t.name for t in tensors), *(n.name for n in targets)])
    fed = ", ".join(tensor.name for tensor in feeds)
    return f"run {wanted or 'nothing'}" + (f", fed {fed}" if fed else "")
