"""What a step of a placed graph costs beyond its messages.

    graphc launch cluster.json benchmarks/cluster/in_graph.py

Variables on a server, a little arithmetic on each worker: {"ps": 1, "worker": 1}, or more workers.
Raw is the messages of such a step without graphc: word to each task that a step begins, eight
bytes from the server to each worker, from each worker to the server, and to the client; word back.
"""

from __future__ import annotations

import sys

import numpy as np
from mpi4py import MPI
from rounds import in_turns, microseconds

import graphc as gx
from graphc.runtime.effects import Hear, Role, Tell
from graphc.runtime.messages import Leave

COUNT, PASSES = 50, 100
WORDS = bytes(49)
TURNS = 1000
"""The box of who waits for the turn of the raw messages."""


def step_of(cluster: gx.train.ClusterSpec) -> gx.Tensor:
    """Each worker takes its part of an update of a variable on the server."""
    with gx.device("/job:ps/task:0"):
        weights = gx.Variable(np.ones(2, np.float32))
    parts = []
    for task in range(cluster.num_tasks("worker")):
        with gx.device(f"/job:worker/task:{task}"):
            parts.append(weights * 0.5)
    with gx.device("/job:ps/task:0"):
        return weights.assign_sub(sum(parts[1:], start=parts[0]) * 1e-3)


class Raw:
    """The messages of a step, by the rank of whoever sends them; rank 0 is the server."""

    def __init__(self) -> None:
        self.world = MPI.COMM_WORLD.Dup()
        self.role = {0: self._server, 1: self._client}.get(self.world.rank, self._worker)

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self.role()

    def _client(self) -> None:
        others = [rank for rank in range(self.world.size) if rank != 1]
        sent = [self._send(rank, WORDS) for rank in others]
        self._update()
        self._receive(0)
        for rank in others:
            self._receive(rank)
        MPI.Request.Waitall(sent)

    def _worker(self) -> None:
        self._receive(1)
        self._update()
        self._send(1, WORDS).Wait()

    def _update(self) -> None:
        self._receive(0)
        self._send(0, bytes(8)).Wait()

    def _server(self) -> None:
        self._receive(1)
        workers = range(1, self.world.size)
        sent = [self._send(rank, bytes(8)) for rank in workers]
        for rank in workers:
            self._receive(rank)
        sent += [self._send(1, bytes(8)), self._send(1, WORDS)]
        MPI.Request.Waitall(sent)

    def _send(self, rank: int, data: bytes) -> MPI.Request:
        return self.world.Isend([data, MPI.BYTE], rank)

    def _receive(self, rank: int) -> None:
        request = self.world.Irecv([bytearray(64), MPI.BYTE], rank)
        while not request.Test():
            pass


def announce(ranks: list[int]) -> Role:
    """Tell others that it is the turn of the raw messages."""
    for rank in ranks:
        yield Tell(rank, TURNS, Leave())


def hear_turn() -> Role:
    """Serve until it is the turn of the raw messages."""
    yield Hear(TURNS)


def main() -> None:
    cluster = gx.train.ClusterSpec.from_environment()
    server, raw = gx.train.Server(cluster), Raw()
    if not server.is_chief:
        for _ in range(PASSES + 1):
            server.driver.drive(hear_turn())
            raw(COUNT)
        server.join()
        sys.exit()
    with gx.Session(server.target) as session:
        step = session.make_callable(step_of(cluster))
        step()
        others = [rank for rank in range(cluster.size) if rank != server.driver.rank]

        def steps(count: int) -> None:
            for _ in range(count):
                step()

        def messages(count: int) -> None:
            server.driver.drive(announce(others))
            raw(count)

        measurements = {"a step": steps, "raw: its messages": messages}
        seconds = in_turns(measurements, COUNT, PASSES)
    print(cluster)
    microseconds(seconds)
    pairs = zip(seconds["a step"], seconds["raw: its messages"], strict=True)
    microseconds({"overhead: the difference": [mine - other for mine, other in pairs]})


if __name__ == "__main__":
    main()
