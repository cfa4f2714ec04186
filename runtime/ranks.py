"""The ranks of this host, as whoever started them sees them: their streams, and how they end.

Nobody relies on MPI to notice a failure or to name its task: every rank tells of itself (the
protocol is in ``graphc.runtime.rank``), and the kernel tells of its death. What a rank writes is
passed on line by line, marked with its task.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from graphc.runtime.cluster_spec import ClusterSpec, Task
from graphc.runtime.lines import Lines


@dataclass
class Rank:
    """A rank of this host, from its ``start`` on."""

    task: Task
    number: int
    process: int = -1
    """A descriptor of its process; another host's has none."""
    lifeline: int = -1
    alive: bool = True
    exit: int | None = None
    """The code it told, if it came to the end of its script."""

    def kill(self) -> None:
        """End its process, if it has not ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL)


class Ranks:
    """Those that have connected to ``name``; nothing happens but in ``turn``.

    Args:
        cluster: the tasks, by rank.
        prefix: whether to mark lines of output with their task.
        greeting: what a rank is told when it has started.
        exited: called when a rank tells its exit code.
        died: called when the process of a rank has ended; in the order in which they do, as
            epoll tells what has happened in the order in which it did.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        prefix: bool,
        greeting: bytes,
        exited: Callable[[Rank], None],
        died: Callable[[Rank], None],
    ) -> None:
        self._cluster, self._prefix, self._greeting = cluster, prefix, greeting
        self._exited, self._died = exited, died
        self._by_process: dict[int, Rank] = {}
        self._streams: list[Lines] = []
        self._selector = selectors.EpollSelector()
        self._listener = _listener()
        self._open: set[socket.socket] = set()
        self.name = self._listener.getsockname().lstrip(b"\0").decode()
        """The socket that ranks connect to; it is in no folder."""
        self.watch(self._listener, self._accept)

    @property
    def known(self) -> list[Rank]:
        """Those that have started, in order."""
        return sorted(self._by_process.values(), key=lambda rank: rank.number)

    def of_process(self, process: int) -> Rank | None:
        """The rank that is the process of this number."""
        return self._by_process.get(process)

    def watch(self, what: Any, react: Callable[[Any], None]) -> None:
        """Have ``turn`` call ``react`` whenever there is something to read."""
        self._selector.register(what, selectors.EVENT_READ, react)

    def forget(self, what: Any) -> None:
        """Undo ``watch``."""
        self._selector.unregister(what)

    def turn(self, seconds: float) -> None:
        """Wait so long for something to happen, and deal with it.

        Raises:
            BrokenPipeError: nobody reads the output any more.
        """
        for key, _ in self._selector.select(seconds):
            key.data(key.fileobj)

    def drain(self) -> None:
        """Pass on what ranks have written."""
        for stream in self._streams:
            with suppress(BrokenPipeError):
                stream.drain()

    def close(self) -> None:
        """Let go of all ranks: the kernel kills those that still run."""
        for rank in self._by_process.values():
            for descriptor in (rank.process, rank.lifeline):
                os.close(descriptor)
        for stream in self._streams:
            os.close(stream.source)
        for connection in (self._listener, *self._open):
            connection.close()
        self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        process, user, _ = struct.unpack("3i", credentials)
        if user != os.geteuid():
            connection.close()
            return
        self._open.add(connection)
        self.watch(connection, lambda peer: self._hear(peer, process))

    def _hear(self, connection: socket.socket, process: int) -> None:
        """A message of a rank, or the end of its connection."""
        try:
            words = connection.recv(64).split()
        except ConnectionError:
            words = []
        if words[:1] == [b"start"]:
            self._start(connection, int(words[1]), process)
        elif words[:1] == [b"exit"] and process in self._by_process:
            rank = self._by_process[process]
            rank.exit = int(words[1])
            self._exited(rank)
        else:
            self.forget(connection)
            self._open.discard(connection)
            connection.close()

    def _start(self, connection: socket.socket, number: int, process: int) -> None:
        """Give a rank its streams and its lifeline, and watch over its process."""
        task = self._cluster.task_of(number)
        lifeline, kept = os.pipe()
        given = [self._stream(task, 1), self._stream(task, 2), lifeline]
        try:
            rank = Rank(task, number, os.pidfd_open(process), kept)
            socket.send_fds(connection, [self._greeting], given)
        except OSError:
            os.close(kept)
            return
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._by_process[process] = rank
        self.watch(rank.process, lambda _: self._ended(rank))

    def _ended(self, rank: Rank) -> None:
        self.forget(rank.process)
        rank.alive = False
        self._died(rank)

    def _stream(self, task: Task, target: int) -> int:
        """The writing end of a stream of a rank."""
        source, writer = os.pipe()
        mark = f"{task}| " if self._prefix else ""
        stream = Lines(source, target, mark, self._cluster.size > 1)
        self._streams.append(stream)
        self.watch(source, lambda _: self._pump(stream))
        return writer

    def _pump(self, stream: Lines) -> None:
        if not stream.pump():
            self.forget(stream.source)
            self._streams.remove(stream)
            os.close(stream.source)


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # Linux makes up a name that is free
    listener.listen(1024)
    return listener
