"""What reductions take between ranks: our plans, and MPI_Allreduce alone.

    mpiexec -n 2 python -m mpi4py benchmarks/cluster/allreduce.py

Each is a float32 sum, driven as a step drives it, of memory that the other ranks can read: so does
``shared``, and so do long messages of other plans. ``mpi`` is MPI's own ``Iallreduce``, ``chosen``
what the cost model takes. All take turns, and figures are medians of passes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from rounds import in_turns

from graphc.compiler.collectives import (
    Choice,
    Plan,
    choose,
    direct,
    library,
    ring,
    scattered,
    shared,
)
from graphc.ir.dtypes import float32
from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import Join, Role, Spawn
from graphc.runtime.operands import Arrays
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.transfers import Peer, Transfers

SIZES = (64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)
PASSES = 9


def reductions(plan: Plan, row: np.ndarray, count: int) -> Role:
    """So many reductions, each begun by a step and carried on by a role beside it."""
    members = tuple(Peer(n, f"task {n}") for n in range(plan.members))
    planned = Planned(plan, members, float32, "sum", "gradients", group=0)
    memory = Arrays([row], "sum")
    for number in range(count):
        reduction = Reduction(planned, memory, Transfers(number, 0, 60.0))
        yield from reduction.begin()
        yield Join((yield Spawn(reduction.run())))


def raw(row: np.ndarray, count: int) -> None:
    """MPI's blocking reduction, without roles."""
    for _ in range(count):
        MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, row, MPI.SUM)


def measurements(driver: MpiDriver, size: int) -> dict[str, Callable[[int], None]]:
    """What takes turns, for so many bytes."""
    rank, ranks, elements = driver.rank, driver.size, size // 4
    plans = {
        "direct": direct(rank, ranks, elements),
        "scattered": scattered(rank, ranks, elements),
        "ring": ring(rank, ranks, elements, min(8, max(1, elements // ranks))),
        "mpi": library(rank, ranks, elements),
        "shared": shared(rank, ranks, elements),
        "chosen": _choice(driver, size).plan(rank),
    }
    row = driver.allocate(size).view(np.float32)
    row[:] = 0.0
    found = {name: _driven(driver, plan, row) for name, plan in plans.items()}
    return {"raw": lambda count: raw(row, count)} | found


def _choice(driver: MpiDriver, size: int) -> Choice:
    return choose(size // 4, 4, driver.size, own=True, shares=driver.shares_memory)


def _driven(driver: MpiDriver, plan: Plan, row: np.ndarray) -> Callable[[int], None]:
    return lambda count: driver.drive(reductions(plan, row, count))


def main() -> None:
    driver = MpiDriver()
    driver.make_groups(range(driver.size), 1)
    names = ("raw", "direct", "scattered", "ring", "mpi", "shared", "chosen")
    if driver.rank == 0:
        print(f"{'bytes':>10}" + "".join(f"{name:>11}" for name in names) + "   us, medians")
    for size in SIZES:
        seconds = in_turns(measurements(driver, size), max(1, min(100, (8 << 20) // size)), PASSES)
        medians = [statistics.median(seconds[name]) * 1e6 for name in names]
        algorithm = _choice(driver, size).algorithm
        if driver.rank == 0:
            print(f"{size:10,}" + "".join(f"{us:11.1f}" for us in medians) + f"   {algorithm}")
    driver.close()


if __name__ == "__main__":
    main()
