"""Long tensors between tasks of one host: the receiver reads them from the sender's memory.

    a. The sender announces a tensor: where in its segment it lies.
    b. The receiver copies it from there, and acknowledges that; now it may be overwritten.

What lies elsewhere is announced as well, and then sent by MPI. That copies through the kernel, page
by page, or twice, which takes twice to three times as long.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.executable import address_of, aligned
from graphc.runtime.drivers.host.segment import Segment
from graphc.runtime.drivers.tickets import Ticket
from graphc.runtime.effects import Post

LONG = 1 << 18
"""Tensors of so many bytes are read; shorter ones have come by MPI before that is agreed on."""
_ELSEWHERE = -1
_OFFSET = struct.Struct("<q")
_NOTHING = bytearray(0)


class Reading:
    """Transfers of this task of ``world`` with others of its host, whose ``segments`` it mapped.

    Making one is collective. ``synchronous``: what is sent by MPI has been sent only when it was
    received; what is read is always so.
    """

    def __init__(self, world: Any, segments: Mapping[int, Segment], *, synchronous: bool) -> None:
        from mpi4py import MPI

        self._byte = MPI.BYTE
        self._own, self._segments = segments.get(world.rank), segments
        self._announcing, self._acknowledging = world.Dup(), world.Dup()
        self._data = world.Dup()
        self._isend = self._data.Issend if synchronous else self._data.Isend
        self._leaving: list[tuple[Any, bytes]] = []

    def takes(self, post: Post) -> bool:
        """Whether a transfer is for here: both ends say the same, for both know its length."""
        return post.peer in self._segments and memoryview(post.memory).nbytes >= LONG

    def begin(self, ticket: Ticket, post: Post) -> None:
        """Begin what was asked for."""
        memory = np.frombuffer(post.memory, np.uint8)
        if not post.sends:
            room = bytearray(_OFFSET.size)
            ticket.request = self._announcing.Irecv([room, self._byte], post.peer, post.tag)
            ticket.follows = partial(self._read, post=post, memory=memory, room=room)
            return
        assert self._own is not None, "who maps the segments of others has one"
        offset = self._own.offset_of(address_of(memory), memory.size)
        self._send(self._announcing, _OFFSET.pack(_ELSEWHERE if offset is None else offset), post)
        if offset is None:
            ticket.request = self._isend([memory, self._byte], post.peer, post.tag)
        else:
            nowhere = [_NOTHING, self._byte]
            ticket.request = self._acknowledging.Irecv(nowhere, post.peer, post.tag)

    def allocate(self, size: int) -> npt.NDArray[Any]:
        """Memory from which others read what is sent, as far as there is room for it."""
        found = None if self._own is None else self._own.heap.allocate(size)
        return aligned(size) if found is None else found

    def collect(self) -> None:
        """Give back memory that is not used any more."""
        if self._own is not None:
            self._own.heap.collect()

    def close(self) -> None:
        """Free the communicators. Collective."""
        for communicator in (self._announcing, self._acknowledging, self._data):
            communicator.Free()

    def _read(self, ticket: Ticket, post: Post, memory: npt.NDArray[Any], room: bytearray) -> bool:
        """Step b; whether the tensor is here."""
        (offset,) = _OFFSET.unpack(room)
        ticket.follows = None
        if offset == _ELSEWHERE:
            ticket.request = self._data.Irecv([memory, self._byte], post.peer, post.tag)
            return False
        source = self._segments[post.peer].address + offset
        ctypes.memmove(address_of(memory), source, memory.size)
        self._send(self._acknowledging, b"", post)
        return True

    def _send(self, communicator: Any, data: bytes, post: Post) -> None:
        """Send a few bytes, whose request is looked after here."""
        self._leaving = [(sent, kept) for sent, kept in self._leaving if not sent.Test()]
        request = communicator.Isend([data, self._byte], post.peer, post.tag)
        if not request.Test():
            self._leaving.append((request, data))
