"""Control messages under MPI: one receive is always posted, for whatever comes from wherever.

Asking whether a message is there, and of what length, before it is received takes longer than to
receive it. So messages come in pieces that fit into one buffer; the tag tells the box, and whether
more of the message follows. Messages between two ranks keep their order.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from graphc.runtime.messages import Message, decode, encode

_PIECE = 1 << 16
"""The most bytes of a piece."""


class ControlChannel:
    """Sends and receives the control messages of this rank; the communicator becomes its own."""

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._communicator = communicator
        self._byte, self._status = MPI.BYTE, MPI.Status()
        self._buffer = memoryview(bytearray(_PIECE))
        self._receive = communicator.Recv_init(
            [self._buffer, MPI.BYTE], MPI.ANY_SOURCE, MPI.ANY_TAG
        )
        self._receive.Start()
        self._leaving: deque[tuple[Any, bytes]] = deque()
        self._pieces: dict[tuple[int, int], bytearray] = {}
        """The beginnings of messages, by sender and box."""

    def send(self, to: int, box: int, message: Message) -> None:
        """Begin to send a message to a box of rank ``to``."""
        data = encode(message)
        last = max(0, len(data) - 1) // _PIECE * _PIECE
        for begin in range(0, last, _PIECE):
            self._send(data[begin : begin + _PIECE], to, 2 * box + 1)
        self._send(data[last:] if last else data, to, 2 * box)

    def receive(self) -> tuple[int, int, Message] | None:
        """The sender, the box and the message, if one has come."""
        if self._leaving:
            self.has_left()
        status = self._status
        if not self._receive.Test(status):
            return None
        source, tag = status.source, status.tag
        box, more = tag >> 1, tag & 1
        piece = self._buffer[: status.count]
        if more or self._pieces:
            piece = self._joined(source, box, piece, more)
        message = None if more else decode(piece)
        self._receive.Start()
        return None if message is None else (source, box, message)

    def has_left(self) -> bool:
        """Whether everything that was sent has left."""
        while self._leaving and self._leaving[0][0].Test():
            self._leaving.popleft()
        return not self._leaving

    def close(self) -> None:
        """Free what MPI holds; nothing can be sent or received any more."""
        self._receive.Cancel()
        self._receive.Wait()
        self._receive.Free()
        self._communicator.Free()

    def _joined(self, source: int, box: int, piece: memoryview, more: int) -> memoryview:
        """All pieces of a message that have come; those to be continued are kept."""
        whole = self._pieces.pop((source, box), bytearray())
        whole += piece
        if more:
            self._pieces[source, box] = whole
        return memoryview(whole)

    def _send(self, data: bytes, to: int, tag: int) -> None:
        request = self._communicator.Isend([data, self._byte], to, tag)
        if not request.Test():
            self._leaving.append((request, data))
