"""Whether reductions by MPI give the same bits on all ranks, and when they are done once more."""

import numpy as np
from mpi4py import MPI

from graphc.compiler.collectives import library
from graphc.ir.dtypes import as_dtype
from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.operands import Arrays
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.transfers import Peer, Transfers

driver = MpiDriver()
driver.make_groups(range(driver.size), 1)
members = tuple(Peer(n, f"task {n}") for n in range(driver.size))
rng = np.random.default_rng(driver.rank)
found = []
for dtype in (np.float32, np.float64):
    for elements in (1, 2, 3, 17, 100, 1001, 5000, 40_000, 130_001, 300_000):
        operand = rng.standard_normal(elements) * 10.0 ** rng.integers(-3, 9, elements)
        bits = set()
        for _ in range(5):
            row = operand.astype(dtype)
            plan = library(driver.rank, driver.size, elements)
            planned = Planned(plan, members, as_dtype(dtype), "sum", "gradients", group=0)
            transfers = Transfers(0, 0, 30.0)
            driver.drive(Reduction(planned, Arrays([row], "sum"), transfers).run())
            bits.update(MPI.COMM_WORLD.allgather(row.tobytes()))
        found.append(len(bits))
if driver.rank == 0:
    print(f"{len(found)} reductions, each with one result: {set(found) == {1}}")
driver.close()
