"""Where in the arena temporaries lie.

Greedy by size (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*,
2020): the largest first, each at the lowest offset where it fits between those placed before
that are alive at the same time. ``overlaps`` is an independent check of the result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Interval:
    """``bytes`` that are in use from step ``first`` to step ``last``, both included."""

    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """An offset for each interval, and how many bytes that takes."""

    offsets: tuple[int, ...]
    peak: int


def plan_memory(intervals: Sequence[Interval]) -> Layout:
    """Offsets, multiples of 64, such that no two intervals in use at one time overlap."""
    order = sorted(range(len(intervals)), key=lambda i: (-intervals[i].bytes, intervals[i].first))
    offsets = [0] * len(intervals)
    by_step = _Steps(max((i.last for i in intervals), default=0) + 1)
    peak = 0
    for i in order:
        interval = intervals[i]
        taken = sorted(by_step.during(interval.first, interval.last))
        offset = 0
        for start, end in taken:
            if start - offset >= interval.bytes:
                break
            offset = max(offset, end)
        offsets[i] = offset
        end = offset + -(-interval.bytes // ALIGNMENT) * ALIGNMENT
        by_step.add(interval.first, interval.last, (offset, end))
        peak = max(peak, end)
    return Layout(tuple(offsets), peak)


def overlaps(intervals: Sequence[Interval], layout: Layout) -> Iterator[tuple[int, int]]:
    """Pairs that are in use at one time and share a byte: there must be none."""
    order = sorted(range(len(intervals)), key=lambda i: intervals[i].first)
    alive: list[int] = []
    for i in order:
        alive = [j for j in alive if intervals[j].last >= intervals[i].first]
        for j in alive:
            a, b = layout.offsets[i], layout.offsets[j]
            if a < b + intervals[j].bytes and b < a + intervals[i].bytes:
                yield (j, i)
        alive.append(i)


class _Ranges:
    """A union of byte ranges, as sorted starts and ends; ranges that touch are one."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first, last = bisect_left(self.ends, start), bisect_right(self.starts, end)
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]


class _Steps:
    """Which byte ranges are taken at a step, in a segment tree over steps."""

    def __init__(self, steps: int) -> None:
        self._size = 1 << max(0, (steps - 1).bit_length())
        self._here = [_Ranges() for _ in range(2 * self._size)]
        self._below = [_Ranges() for _ in range(2 * self._size)]

    def add(self, first: int, last: int, taken: tuple[int, int]) -> None:
        above: set[int] = set()
        for node in self._cover(first, last):
            self._here[node].add(*taken)
            parent = node >> 1
            while parent and parent not in above:
                above.add(parent)
                parent >>= 1
        for parent in above:
            self._below[parent].add(*taken)

    def during(self, first: int, last: int) -> list[tuple[int, int]]:
        """Ranges taken at any step from ``first`` to ``last``; they may overlap."""
        seen: set[int] = set()
        found: list[tuple[int, int]] = []
        for node in self._cover(first, last):
            found += zip(self._here[node].starts, self._here[node].ends, strict=True)
            found += zip(self._below[node].starts, self._below[node].ends, strict=True)
            parent = node >> 1
            while parent and parent not in seen:
                seen.add(parent)
                found += zip(self._here[parent].starts, self._here[parent].ends, strict=True)
                parent >>= 1
        return found

    def _cover(self, first: int, last: int) -> Iterator[int]:
        low, high = first + self._size, last + self._size + 1
        while low < high:
            if low & 1:
                yield low
                low += 1
            if high & 1:
                high -= 1
                yield high
            low >>= 1
            high >>= 1


def plan_slots(intervals: Sequence[Interval]) -> tuple[int, ...]:
    """A slot for each interval such that intervals in one slot are never in use at one time.

    For sizes that are known only in a run: a slot is as large as its largest interval. ``bytes``
    are estimates, by which a free slot is chosen that fits best.
    """
    slots: list[int] = [0] * len(intervals)
    free: list[tuple[int, int]] = []
    busy: list[tuple[int, int, int]] = []
    count = 0
    for i in sorted(range(len(intervals)), key=lambda i: intervals[i].first):
        interval = intervals[i]
        free += [(size, slot) for last, size, slot in busy if last < interval.first]
        busy = [b for b in busy if b[0] >= interval.first]
        if free:
            best = min(free, key=lambda entry: abs(entry[0] - interval.bytes))
            free.remove(best)
            slot = best[1]
        else:
            slot, count = count, count + 1
        slots[i] = slot
        busy.append((interval.last, interval.bytes, slot))
    return tuple(slots)
