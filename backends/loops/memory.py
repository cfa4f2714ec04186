"""Where in the arena temporaries lie.

Greedy by size (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*,
2020): the largest first, each at the lowest offset where it fits between those placed before
that are alive at the same time. ``overlaps`` is an independent check of the result.
"""

from __future__ import annotations

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


class _Steps:
    """Which byte ranges are taken at a step; ranges are kept in a segment tree over steps."""

    def __init__(self, steps: int) -> None:
        self._size = 1 << max(0, (steps - 1).bit_length())
        self._here: list[list[tuple[int, int]]] = [[] for _ in range(2 * self._size)]
        self._below: list[list[tuple[int, int]]] = [[] for _ in range(2 * self._size)]

    def add(self, first: int, last: int, taken: tuple[int, int]) -> None:
        for node in self._cover(first, last):
            self._here[node].append(taken)
            parent = node >> 1
            while parent:
                self._below[parent].append(taken)
                parent >>= 1

    def during(self, first: int, last: int) -> set[tuple[int, int]]:
        """Ranges taken at any step from ``first`` to ``last``."""
        found: set[tuple[int, int]] = set()
        for node in self._cover(first, last):
            found.update(self._here[node], self._below[node])
            parent = node >> 1
            while parent:
                found.update(self._here[parent])
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
