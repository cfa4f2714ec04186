"""Reductions over tasks of one host, which read each other's operands where they lie.

Every operand is cut into a chunk for each member. A member counts its steps where others see them:

    a. *Begun*: its operand is complete, and it has told where that lies.
    b. *Combined*: all have begun; its chunk of its operand is combined with those of the others.
    c. *Copied*: all have combined; the other chunks were copied from the members that have them.
    d. The reduction has ended: all have copied. Operands may be written again.

MPI does much the same, but first copies operands to where others see them, or through the kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.executable import address_of
from graphc.ir.dtypes import as_dtype
from graphc.runtime.drivers.host.fence import native_fence
from graphc.runtime.drivers.host.segment import Segment
from graphc.runtime.effects import AllReduce
from graphc.runtime.memory import kept
from graphc.runtime.operands import combiner_of

Array = npt.NDArray[Any]
Other = tuple[int, Segment, memoryview]
"""The place of another member among all, its segment and its words."""

_BEGUN, _COMBINED, _COPIED, _WHERE = range(4)
"""The words of a member: how many reductions have come so far, and the operand's offset."""
_NOWHERE = -1
"""The offset where a member wants no result: then there is none."""
_CHUNK = 64
"""Chunks begin at multiples of so many elements: no two members write to one cache line."""
_BLOCK = 1 << 15
"""So many elements are combined with all members before the next ones: they stay in the cache."""


class _Moves(NamedTuple):
    """Pairs of what is written and what is read."""

    combined: Sequence[tuple[Array, Array]]
    copied: Sequence[tuple[Array, Array]]


class SharedGroup:
    """The reductions of ``members`` in their ``number``-th group, one after the other."""

    def __init__(
        self, rank: int, members: Sequence[int], segments: Mapping[int, Segment], number: int
    ) -> None:
        self._index = members.index(rank)
        self._ranks = tuple(members)
        self._others: list[Other] = [
            (index, segments[member], segments[member].words(number))
            for index, member in enumerate(members) if member != rank
        ]  # fmt: skip
        self._own, self._words = segments[rank], segments[rank].words(number)
        self._members = len(members)
        self._count = 0
        self._queue: deque[Reducing] = deque()
        """Those that have not ended; the first one is under way."""
        self._found: dict[tuple[Any, ...], _Moves] = {}

    def begin(self, effect: AllReduce) -> Reducing:
        """A reduction that goes on whenever it is tested.

        Raises:
            MemoryError: there is no room for an operand that others cannot read where it is. Then
                nothing was begun.
        """
        operand, offset = effect.memory, _NOWHERE
        if effect.wanted:
            operand, offset = self._readable(operand)
        self._count += 1
        reducing = Reducing(self, self._count, effect, operand, offset)
        self._queue.append(reducing)
        self.go_on()
        return reducing

    def go_on(self) -> None:
        """Take the steps that can be taken."""
        while self._queue and self._queue[0].go_on():
            self._queue.popleft()

    def tell(self, step: int, number: int, offset: int | None = None) -> None:
        """Let others see that this member has taken a step of reduction ``number``."""
        if offset is not None:
            self._words[_WHERE] = offset
        native_fence()()
        self._words[step] = number

    def all_told(self, step: int, number: int) -> bool:
        """Whether all others have taken that step."""
        for _, _, words in self._others:
            if words[step] < number:
                return False
        native_fence()()
        return True

    def missing(self, number: int) -> tuple[int, ...]:
        """The ranks of those that have come the least far in reduction ``number``."""
        told = [(sum(w[step] >= number for step in (_BEGUN, _COMBINED, _COPIED)), index)
                for index, _, w in self._others]  # fmt: skip
        least = min(told)[0]
        return tuple(self._ranks[index] for steps, index in told if steps == least)

    def combine(self, operand: Array, combiner: Callable[..., Any]) -> None:
        """Combine this member's chunk with those of the others, in the order that follows it."""
        with np.errstate(all="ignore"):  # infinities and NaN follow IEEE
            for into, source in self._moves(operand).combined:
                combiner(into, source, out=into)

    def copy(self, operand: Array) -> None:
        """Copy the chunks of the others."""
        for into, source in self._moves(operand).copied:
            into[...] = source

    def _readable(self, memory: Array) -> tuple[Array, int]:
        """The operand, or room for a copy of it where others can read it; and where that is."""
        offset = self._own.offset_of(address_of(memory), memory.nbytes)
        if offset is not None:
            return memory, offset
        room = self._own.heap.allocate(memory.nbytes)
        if room is None:
            raise MemoryError(f"{memory.nbytes:,} bytes for a reduction")
        return room.view(memory.dtype), address_of(room) - self._own.address

    def _moves(self, operand: Array) -> _Moves:
        """What is done in a reduction of operands that lie where those of this one do."""
        offsets = [self._words[_WHERE], *[words[_WHERE] for _, _, words in self._others]]
        if _NOWHERE in offsets:
            return _Moves((), ())
        key = operand.size, operand.dtype, *offsets
        return kept(self._found, key, lambda _: self._make_moves(operand.nbytes, operand.dtype))

    def _make_moves(self, size: int, dtype: np.dtype[Any]) -> _Moves:
        own = self._own.array(self._words[_WHERE], size).view(dtype)
        rows = {
            index: segment.array(words[_WHERE], size).view(dtype)
            for index, segment, words in self._others
        }
        first, last = self._chunk(self._index, own.size)
        combined = [
            (own[begin : min(begin + _BLOCK, last)], row[begin : min(begin + _BLOCK, last)])
            for begin in range(first, last, _BLOCK)
            for _, row in sorted(rows.items(), key=lambda item: item[0] < self._index)
        ]
        chunks = [(index, slice(*self._chunk(index, own.size))) for index in rows]
        return _Moves(combined, [(own[chunk], rows[index][chunk]) for index, chunk in chunks])

    def _chunk(self, index: int, elements: int) -> tuple[int, int]:
        """The first element of a member's chunk, and the one behind its last."""
        first, last = (n * elements // self._members // _CHUNK * _CHUNK for n in (index, index + 1))
        return first, elements if index == self._members - 1 else last


class Reducing:
    """One reduction; ``Test`` is what a request of MPI has."""

    def __init__(
        self, group: SharedGroup, number: int, effect: AllReduce, operand: Array, offset: int
    ) -> None:
        self._group, self._number = group, number
        self._memory: Array = effect.memory
        self._operand, self._offset = operand, offset
        self._combiner = _combiner(effect.combiner, operand.dtype)
        self._step = -1
        """The last step that was taken."""

    def Test(self) -> bool:  # noqa: N802, as MPI calls it
        """Go on; whether the reduction has ended."""
        self._group.go_on()
        return self._step > _COPIED

    @property
    def missing(self) -> tuple[int, ...]:
        """The ranks that it waits for."""
        return self._group.missing(self._number)

    def go_on(self) -> bool:
        """Take the steps that can be taken; whether the reduction has ended."""
        if self._step < _BEGUN:
            self._begin()
        while self._step <= _COPIED and self._group.all_told(self._step, self._number):
            self._step += 1
            if self._step == _COMBINED:
                self._group.combine(self._operand, self._combiner)
            elif self._step == _COPIED:
                self._group.copy(self._operand)
            if self._step <= _COPIED:
                self._group.tell(self._step, self._number)
        if self._step > _COPIED and self._operand is not self._memory:
            self._memory[...] = self._operand
            self._operand = self._memory
        return self._step > _COPIED

    def _begin(self) -> None:
        if self._operand is not self._memory:
            self._operand[...] = self._memory
        self._step = _BEGUN
        self._group.tell(_BEGUN, self._number, self._offset)


@cache
def _combiner(name: str, dtype: np.dtype[Any]) -> Callable[..., Any]:
    return combiner_of(name, as_dtype(dtype))
