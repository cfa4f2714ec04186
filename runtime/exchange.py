"""Rows of a batch on their way: from who feeds them to the workers, and what is fetched back.

Feeds go straight from the client's arrays, and fetches straight into them, where rows lie one
behind the other; along another axis they are copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.dims import evaluate
from graphc.ir.graph import Tensor
from graphc.passes.unroll import of_shard
from graphc.runtime.effects import Role
from graphc.runtime.rows import Rows
from graphc.runtime.sharding import EVERYONE, WHOLE, Sharding
from graphc.runtime.transfers import Expected, Transfers

Array = npt.NDArray[Any]


class Exchange:
    """The feeds and fetches of one member's part in one step.

    ``inputs`` and ``outputs`` are the part's, those that are divided once for each of the member's
    shards; ``sizes`` are its sizes, and ``rows`` those of the batch, which the client knows.
    """

    def __init__(
        self,
        sharding: Sharding,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        sizes: Mapping[str, int],
        rows: Rows | None,
    ) -> None:
        self.sharding, self._sizes, self._rows = sharding, sizes, rows
        self._given, self._made = inputs, outputs
        self._counts = [sizes[of_shard(sharding.rows, k)] for k in range(len(sharding.own))]

    @cached_property
    def _inputs(self) -> tuple[Tensor, ...]:
        return _of_first_shard(self._given, self.sharding.feeds, len(self.sharding.own))

    @cached_property
    def _outputs(self) -> tuple[Tensor, ...]:
        return _of_first_shard(self._made, self.sharding.fetches, len(self.sharding.own))

    def feed(self, given: Sequence[Array], transfers: Transfers) -> Role:
        """The feeds of this member's shards; ``given`` are those of all rows, at the client.

        Raises:
            ClusterError: they do not come in time.
        """
        sharding = self.sharding
        if sharding.client == EVERYONE:
            mine: Sequence[Array] = given
        elif sharding.is_client:
            mine = yield from self._scatter(given, transfers)
        else:
            mine = yield from self._take(transfers)
        found: list[Array] = []
        for array, axis in zip(mine, sharding.feeds, strict=True):
            ends = np.cumsum(self._counts)[:-1]
            found += [array] if axis == WHOLE else map(_dense, np.split(array, ends, axis))
        return found

    def fetch(self, fetched: Sequence[Array], transfers: Transfers) -> Role:
        """What is fetched, of all rows, at the client; the others send theirs there.

        Raises:
            ClusterError: it does not come, or is not taken, in time.
        """
        flat, sharding = iter(fetched), self.sharding
        counts = [1 if axis == WHOLE else len(sharding.own) for axis in sharding.fetches]
        parts = [[next(flat) for _ in range(count)] for count in counts]
        pairs = list(zip(parts, sharding.fetches, strict=True))
        if sharding.client == EVERYONE:
            return [p[0] if len(p) == 1 else np.concatenate(p, axis) for p, axis in pairs]
        if not sharding.is_client:
            yield from self._give(parts, transfers)
            return []
        found = []
        for position, (arrays, axis) in enumerate(pairs):
            whole = arrays[0]
            if axis != WHOLE:
                whole = yield from self._gather(position, arrays, transfers)
            found.append(whole)
        yield from transfers.all_sent()  # what was fed is the user's again
        return found

    def expected(self) -> Iterator[Expected]:
        """All messages with feeds or fetches that may come."""
        sharding = self.sharding
        if sharding.client == EVERYONE:
            return
        if not sharding.is_client:
            peer = sharding.peer(sharding.client)
            for position, tensor in enumerate(self._inputs):
                size = math.prod(self._fed_shape(position)) * tensor.dtype.size
                number = self._feed_number(position, sharding.member)
                yield Expected(number, peer, size, tensor.name)
            return
        for position, tensor in enumerate(self._outputs):
            for member, shard in self._others(position):
                size = math.prod(self._fetched_shape(position, shard)) * tensor.dtype.size
                number = self._fetch_number(position, shard)
                yield Expected(number, sharding.peer(member), size, tensor.name)

    def _scatter(self, given: Sequence[Array], transfers: Transfers) -> Role:
        """Begin to send each member its rows; gives this one's."""
        assert self._rows is not None, "who feeds knows all rows"
        sharding, mine = self.sharding, list[Array]()
        for position, (array, axis) in enumerate(zip(given, sharding.feeds, strict=True)):
            for member, block in enumerate(sharding.blocks):
                first, last = self._rows.of(block)
                piece = array if axis == WHOLE else _dense(_cut(array, axis, first, last))
                if member == sharding.member:
                    mine.append(piece)
                elif piece.size:
                    number = self._feed_number(position, member)
                    peer, name = sharding.peer(member), self._inputs[position].name
                    yield from transfers.send(number, peer, as_bytes(piece), name)
        return mine

    def _take(self, transfers: Transfers) -> Role:
        """This member's rows of all feeds, from the client."""
        sharding, found, numbers = self.sharding, list[Array](), list[int]()
        for position, tensor in enumerate(self._inputs):
            array = np.empty(self._fed_shape(position), tensor.dtype.numpy)
            found.append(array)
            if array.size:
                number = self._feed_number(position, sharding.member)
                peer, memory = sharding.peer(sharding.client), as_bytes(array)
                yield from transfers.receive(number, peer, memory, tensor.name)
                numbers.append(number)
        for number in numbers:
            yield from transfers.ended(number)
        return found

    def _give(self, parts: Sequence[Sequence[Array]], transfers: Transfers) -> Role:
        """Send the client this member's rows of what is fetched."""
        sharding = self.sharding
        peer = sharding.peer(sharding.client)
        for position, (arrays, axis) in enumerate(zip(parts, sharding.fetches, strict=True)):
            if axis == WHOLE:
                continue
            for shard, array in zip(sharding.own, arrays, strict=True):
                if array.size:
                    number = self._fetch_number(position, shard)
                    name = self._outputs[position].name
                    yield from transfers.send(number, peer, as_bytes(array), name)
        yield from transfers.all_sent()

    def _gather(self, position: int, own: Sequence[Array], transfers: Transfers) -> Role:
        """All rows of a fetch: ``own`` and those of the other members."""
        sharding, tensor = self.sharding, self._outputs[position]
        axis = sharding.fetches[position]
        whole = np.empty(self._fetched_shape(position, None), tensor.dtype.numpy)
        for shard, array in zip(sharding.own, own, strict=True):
            self._place(whole, position, shard)[...] = array
        coming: list[tuple[int, Array, Array]] = []
        for member, shard in self._others(position):
            target = self._place(whole, position, shard)
            if target.size:
                number, peer = self._fetch_number(position, shard), sharding.peer(member)
                array = target if axis == 0 else np.empty(target.shape, target.dtype)
                yield from transfers.receive(number, peer, as_bytes(array), tensor.name)
                coming.append((number, target, array))
        for number, target, array in coming:
            yield from transfers.ended(number)
            if array is not target:
                target[...] = array
        return whole

    def _others(self, position: int) -> Iterator[tuple[int, int]]:
        """(member, shard) for each shard of a divided fetch that another member has."""
        if self.sharding.fetches[position] == WHOLE:
            return
        for member, block in enumerate(self.sharding.blocks):
            if member != self.sharding.member:
                yield from ((member, shard) for shard in block)

    def _place(self, whole: Array, position: int, shard: int) -> Array:
        """The rows of a shard in a fetch of all rows."""
        assert self._rows is not None, "who fetches knows all rows"
        axis, bounds = self.sharding.fetches[position], self._rows.bounds
        dim = self._outputs[position].shape[axis]
        first, last = (evaluate(dim, self._with_rows(bound)) for bound in bounds[shard : shard + 2])
        return _cut(whole, axis, first, last)

    def _fed_shape(self, position: int) -> tuple[int, ...]:
        """That of this member's rows of a feed."""
        sizes = self._with_rows(sum(self._counts))
        return tuple(evaluate(dim, sizes) for dim in self._inputs[position].shape)

    def _fetched_shape(self, position: int, shard: int | None) -> tuple[int, ...]:
        """That of a shard's rows of a fetch, or of all rows."""
        assert self._rows is not None, "who fetches knows all rows"
        bounds, rows = self._rows.bounds, self._rows.total
        if shard is not None:
            rows = bounds[shard + 1] - bounds[shard]
        sizes = self._with_rows(rows)
        return tuple(evaluate(dim, sizes) for dim in self._outputs[position].shape)

    def _with_rows(self, rows: int) -> Mapping[str, int]:
        """The sizes if the first shard of this member had so many rows."""
        return {**self._sizes, of_shard(self.sharding.rows, 0): rows}

    def _feed_number(self, position: int, member: int) -> int:
        return position * len(self.sharding.ranks) + member

    def _fetch_number(self, position: int, shard: int) -> int:
        sharding = self.sharding
        begin = len(sharding.feeds) * len(sharding.ranks)
        return begin + position * sharding.shards + shard


def as_bytes(array: Array) -> Array:
    """The bytes of a dense array, which any dtype has."""
    return array.reshape(-1).view(np.uint8)


def _of_first_shard(
    tensors: Sequence[Tensor], axes: Sequence[int], shards: int
) -> tuple[Tensor, ...]:
    """For each feed or fetch the part's tensor, that of the first shard if it is divided."""
    flat = iter(tensors)
    found = []
    for axis in axes:
        found.append(next(flat))
        for _ in range(0 if axis == WHOLE else shards - 1):
            next(flat)
    return tuple(found)


def _cut(array: Array, axis: int, first: int, last: int) -> Array:
    return array[(slice(None),) * axis + (slice(first, last),)]


def _dense(array: Array) -> Array:
    """A dense array of the same elements; rows of a dense one are not copied."""
    return np.ascontiguousarray(array)
