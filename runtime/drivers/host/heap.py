"""Memory to be lent out of a region that other tasks have mapped as well.

Extents are found by first fit, and joined when they come back (Knuth, "The Art of Computer
Programming", volume 1, 2.5). Whole pages that come back are given to the system.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.loops.memory import ALIGNMENT

_PAGE = mmap.PAGESIZE


class Heap:
    """The bytes from ``begin`` to ``end`` of ``memory``, multiples of the alignment."""

    def __init__(self, memory: mmap.mmap, begin: int, end: int) -> None:
        self._memory = memory
        self._free = [(begin, end)]
        """Extents, in order, no two of them adjacent."""
        self._gone: deque[tuple[int, int]] = deque()
        """Extents that nobody uses any more: arrays may go at any moment, in any thread."""
        self._lock = threading.Lock()

    def allocate(self, size: int) -> npt.NDArray[Any] | None:
        """An array of so many bytes, aligned; None if there is no room for it.

        It comes back by itself once neither it nor a view of it is referred to.
        """
        self.collect()
        room = max(1, -(-size // ALIGNMENT)) * ALIGNMENT
        with self._lock:
            begin = self._take(room)
        if begin is None:
            return None
        array = np.frombuffer(self._memory, np.uint8, size, begin)
        weakref.finalize(array, self._gone.append, (begin, begin + room)).atexit = False
        return array

    def collect(self) -> None:
        """Take up what came back."""
        with self._lock:
            while self._gone:
                begin, end = self._gone.popleft()
                self._put(begin, end)
                first, last = -(-begin // _PAGE) * _PAGE, end // _PAGE * _PAGE
                if first < last:
                    self._memory.madvise(mmap.MADV_REMOVE, first, last - first)

    def _take(self, size: int) -> int | None:
        for index, (begin, end) in enumerate(self._free):
            if end - begin >= size:
                self._free[index : index + 1] = [(begin + size, end)] if end - begin > size else []
                return begin
        return None

    def _put(self, begin: int, end: int) -> None:
        index = next((i for i, (first, _) in enumerate(self._free) if first > begin), None)
        index = len(self._free) if index is None else index
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == begin:
            index -= 1
            begin = self._free.pop(index)[0]
        self._free.insert(index, (begin, end))
