"""The bandwidth of large tensors from rank to rank, beside raw messages of MPI.

    mpiexec -n 2 python -m mpi4py benchmarks/cluster/bandwidth.py

A role posts the receive of a tensor and awaits it; a role of the other rank sends it, and is told
that it may send the next. Raw does the same with ``Irecv`` and ``Isend``.
"""

from __future__ import annotations

import statistics

import numpy as np
from mpi4py import MPI
from rounds import in_turns

from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import Await, Post, Role

SIZES = (64 << 10, 1 << 20, 4 << 20, 16 << 20)
DATA, READY = 0, 1


def transfers(rank: int, memory: np.ndarray, count: int) -> Role:
    """Tensors from rank 0 to rank 1, and an empty message back for each."""
    word = bytearray(0)
    for _ in range(count):
        data = yield Post(1 - rank, DATA, memory, sends=rank == 0)
        if rank == 1:
            yield Await(data)
        ready = yield Post(1 - rank, READY, word, sends=rank == 1)
        yield Await(ready)
        yield Await(data)


def raw(rank: int, memory: np.ndarray, count: int) -> None:
    """The same without roles."""
    world, word = MPI.COMM_WORLD, bytearray(0)
    data, ready = (world.Isend, world.Irecv) if rank == 0 else (world.Irecv, world.Isend)
    for _ in range(count):
        first = data([memory, MPI.BYTE], 1 - rank, DATA)
        if rank == 1:
            _spin(first)
        second = ready([word, MPI.BYTE], 1 - rank, READY)
        _spin(second)
        _spin(first)


def _spin(request: MPI.Request) -> None:
    while not request.Test():
        pass


def main() -> None:
    driver = MpiDriver()
    rank = driver.rank
    if rank == 0:
        print(f"{'tensor':>10}{'roles':>10}{'raw':>10}{'ratio':>8}   GB/s, medians")
    for size in SIZES:
        memory = driver.allocate(size)
        memory[:] = 1
        measurements = {
            "roles": lambda n, m=memory: driver.drive(transfers(rank, m, n)),
            "raw": lambda n, m=memory: raw(rank, m, n),
        }
        seconds = in_turns(measurements, count=max(4, (64 << 20) // size), passes=15)
        pairs = zip(seconds["raw"], seconds["roles"], strict=True)
        ratio = statistics.median(mine / other for mine, other in pairs)
        speeds = [size / statistics.median(seconds[name]) / 1e9 for name in ("roles", "raw")]
        if rank == 0:
            print(f"{size >> 10:6} KiB{speeds[0]:10.2f}{speeds[1]:10.2f}{ratio:8.2f}")
    driver.close()


if __name__ == "__main__":
    main()
