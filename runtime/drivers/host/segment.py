"""Memory of a task that the other tasks of its host map: a heap of what it sends.

It has no name and so leaves nothing behind, however the tasks end: others open it through the
owner's file descriptor. It is as large as the host's memory, but only what is touched is there.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.executable import address_of
from graphc.runtime.drivers.host.heap import Heap

SWITCH = "GRAPHC_SHARED_MEMORY"
"""Set to 0, tasks of one host use MPI as those of several do."""
_MOST_ADDRESSES = 1 << 46
"""So many bytes at most are mapped in all: half of what a process can address."""
_TOKEN = 16
_HEAP = mmap.PAGESIZE
"""The heap follows a page with the token, by which others know that this is the right memory, and
with the words of groups."""
_WORDS = 64
"""Bytes for the words of a group: a cache line, behind that of the token."""


class Segment:
    """What one task owns, mapped here: the memory of ``descriptor``, of ``size`` bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        memory = mmap.mmap(descriptor, size)
        self._bytes = memoryview(memory)
        self.address = address_of(np.frombuffer(memory, np.uint8))
        self.heap = Heap(memory, _HEAP, size)
        self.size = size

    def offset_of(self, address: int, size: int) -> int | None:
        """Where in the segment ``size`` bytes at an address of this process are, if they are."""
        offset = address - self.address
        return offset if offset >= 0 and offset + size <= self.size else None

    def words(self, group: int) -> memoryview:
        """Some int64 that the owner alone writes, by which it tells how far a group has come."""
        begin = (1 + group) * _WORDS
        return self._bytes[begin : begin + _WORDS].cast("q")

    def array(self, offset: int, size: int) -> npt.NDArray[Any]:
        """Some of the bytes."""
        return np.frombuffer(self._bytes, np.uint8, size, offset)

    @property
    def token(self) -> bytes:
        return bytes(self._bytes[:_TOKEN])

    @token.setter
    def token(self, token: bytes) -> None:
        self._bytes[:_TOKEN] = token


class _Offer(NamedTuple):
    """What others have to know to map a segment; ``size`` is 0 if there is none."""

    rank: int
    process: int
    descriptor: int
    size: int
    token: bytes


_OFFER = struct.Struct(f"<qqqq{_TOKEN}s")


def map_segments(here: Any, rank: int) -> Mapping[int, Segment]:
    """The segments of all tasks of ``here``, which are those of one host, by rank in the cluster.

    Collective over ``here``, in which this is the task with ``rank``. There are none if one of them
    cannot map all the others, if ``SWITCH`` is off in one of them, or if this task is alone.
    """
    if here.size == 1:
        return {}
    descriptor, own = _create(here.size)
    found: dict[int, Segment] = {}
    try:
        offer = _Offer(rank, os.getpid(), descriptor, 0, bytes(_TOKEN))
        if own is not None:
            own.token = secrets.token_bytes(_TOKEN)
            found[rank] = own
            offer = offer._replace(size=own.size, token=own.token)
        offers = [_Offer._make(_OFFER.unpack(o)) for o in here.allgather(_OFFER.pack(*offer))]
        good = all(other.size for other in offers) and _map_others(offers, found)
        return found if all(here.allgather(good)) else {}
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _create(tasks: int) -> tuple[int, Segment | None]:
    """A descriptor of memory for one of so many tasks, and the segment, if it can be had."""
    if os.environ.get(SWITCH) == "0" or not hasattr(os, "memfd_create"):
        return -1, None
    descriptor = -1
    try:
        descriptor = os.memfd_create("graphc", os.MFD_CLOEXEC)
        memory = min(os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE, _MOST_ADDRESSES // tasks)
        size = _HEAP + memory // mmap.PAGESIZE * mmap.PAGESIZE
        os.ftruncate(descriptor, size)
        return descriptor, Segment(descriptor, size)
    except (OSError, ValueError):
        return descriptor, None


def _map_others(offers: Sequence[_Offer], found: dict[int, Segment]) -> bool:
    """Map what is not in ``found``; whether all could be, and are what was offered."""
    for offer in offers:
        if offer.rank in found:
            continue
        try:
            descriptor = os.open(f"/proc/{offer.process}/fd/{offer.descriptor}", os.O_RDWR)
        except OSError:
            return False
        try:
            segment = found[offer.rank] = Segment(descriptor, offer.size)
        except (OSError, ValueError):
            return False
        finally:
            os.close(descriptor)
        if segment.token != offer.token:
            return False
    return True
