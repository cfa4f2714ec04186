"""The clocks of all ranks against that of rank 0, compared by messages to and fro.

Whoever asks notes when; rank 0 answers with its own time. The quickest of many answers is the best:
rank 0's time was read in between, so half of what it took bounds the error.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any

from graphc.runtime.trace import Sample

_ASKED = 64
_SERIES = 1e-3
"""Rank 0 stays with who asks, until it has asked nothing for so long."""
_SPIN = 2e-5
"""After so long without an answer the core is offered to others: rank 0 may need it."""
_TIME = struct.Struct("<d")
_QUESTION, _DONE = b"\0", b"\1"


class ClockService:
    """Making one is collective over ``communicator``."""

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._mpi, self._status = MPI, MPI.Status()
        self._communicator = communicator.Dup()
        self._others = communicator.size - 1
        self._is_first = communicator.rank == 0
        self._buffer = bytearray(_TIME.size)
        self._done = 0
        self._request = self._listen() if self._is_first else None

    def compare(self, seconds: float) -> Sample | None:
        """What this clock is against that of rank 0; nothing if that is it, or is late."""
        if self._is_first:
            return None
        end = time.perf_counter() + seconds
        samples = [found for _ in range(_ASKED) if (found := self._ask(end)) is not None]
        return min(samples, key=lambda sample: sample.bound, default=None)

    def finish(self, seconds: float) -> None:
        """Tell rank 0 that nothing more is asked for now; it waits until all have told so."""
        if not self._is_first:
            self._communicator.Send([_DONE, self._mpi.BYTE], 0)
            return
        end = time.perf_counter() + seconds
        while self._done < self._others and time.perf_counter() < end:
            self.answer()
        self._done = max(0, self._done - self._others)

    def answer(self) -> None:
        """Rank 0 answers whoever has asked."""
        patience = 0.0
        while self._request is not None and self._comes(self._request, patience):
            source, question = self._status.source, bytes(self._buffer[:1])
            self._request = self._listen()
            if question == _DONE:
                self._done += 1
                return
            now = _TIME.pack(time.perf_counter())
            self._communicator.Send([now, self._mpi.BYTE], source)  # so little leaves at once
            patience = _SERIES

    def close(self) -> None:
        if self._request is not None:
            self._request.Cancel()
        self._communicator.Free()

    def _listen(self) -> Any:
        return self._communicator.Irecv([self._buffer, self._mpi.BYTE])

    def _ask(self, end: float) -> Sample | None:
        answer = bytearray(_TIME.size)
        request = self._communicator.Irecv([answer, self._mpi.BYTE], 0)
        begin = time.perf_counter()
        self._communicator.Send([_QUESTION, self._mpi.BYTE], 0)
        if not self._comes(request, end - begin):
            request.Cancel()
            return None
        now = time.perf_counter()
        (there,) = _TIME.unpack(answer)
        return Sample((begin + now) / 2, there - (begin + now) / 2, (now - begin) / 2)

    def _comes(self, request: Any, seconds: float) -> bool:
        """Whether a message comes in time."""
        begin = now = time.perf_counter()
        while not request.Test(self._status):
            if now - begin >= seconds:
                return False
            if now - begin > _SPIN:
                os.sched_yield()
            now = time.perf_counter()
        return True
