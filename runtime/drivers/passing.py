"""What MPI carries: control messages, tensors and reductions, by nonblocking calls alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from graphc.runtime.drivers.communicators import Communicators
from graphc.runtime.drivers.control import ControlChannel
from graphc.runtime.drivers.host.reading import Reading
from graphc.runtime.drivers.host.segment import map_segments
from graphc.runtime.drivers.tickets import Ticket
from graphc.runtime.effects import AllReduce


class MessagePassing:
    """Communicators for control and for data, made of ``world``. Collective over it.

    ``synchronous``: a send of data ends only when it was received.
    """

    def __init__(self, world: Any, *, synchronous: bool) -> None:
        from mpi4py import MPI

        self._byte = MPI.BYTE
        self.control, self.data = ControlChannel(world.Dup()), world.Dup()
        self.under_way: list[Ticket] = []
        self._isend: Callable[..., Any] = self.data.Issend if synchronous else self.data.Isend
        here = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.tasks_here: int = here.size
        """How many there are on this host."""
        segments = map_segments(here, world.rank)
        here.Free()
        self.communicators = Communicators(segments)
        self._reading = Reading(world, segments, synchronous=synchronous)

    def begin(self, ticket: Ticket) -> None:
        """Begin what was asked for."""
        post = ticket.post
        if isinstance(post, AllReduce):
            ticket.request = self.communicators.begin(post)
        elif self._reading.takes(post):
            self._reading.begin(ticket, post)
        else:
            call = self._isend if post.sends else self.data.Irecv
            ticket.request = call([post.memory, self._byte], post.peer, post.tag)
        self.under_way.append(ticket)

    def test(self, ticket: Ticket) -> bool:
        """Whether one that was begun has ended; if so, it is under way no more."""
        if not ticket.request.Test():
            return False
        if ticket.follows is not None and not ticket.withdrawn and not ticket.follows(ticket):
            return False
        self.under_way.remove(ticket)
        return True

    def ended(self) -> Sequence[Ticket]:
        """Those that have ended since they were looked at."""
        return [ticket for ticket in tuple(self.under_way) if self.test(ticket)]

    def allocate(self, size: int) -> npt.NDArray[Any]:
        """Bytes for what is sent, where tasks of this host can read them; like ``aligned``."""
        return self._reading.allocate(size)

    def collect(self) -> None:
        """Give back memory that was allocated here and is not used any more."""
        self._reading.collect()

    def close(self) -> None:
        """Free what MPI holds; nothing can be begun any more. Collective."""
        self.control.close()
        self.data.Free()
        self._reading.close()
        if not self.under_way:
            self.communicators.free()
