"""Every plan under MPI: right, the same bits everywhere, no message left after an abort."""

import sys

import numpy as np

from graphc.compiler.collectives import direct, library, ring, scattered, shared, tree
from graphc.ir.dtypes import float32
from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import Hear, Spawn, Stop, Tell
from graphc.runtime.master import Tags
from graphc.runtime.messages import Aborted
from graphc.runtime.operands import Arrays
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.transfers import Peer, Transfers

BOX = 7
driver = MpiDriver()
rank, size = driver.rank, driver.size
driver.make_groups(range(size), 1)
members = tuple(Peer(n, f"task {n}") for n in range(size))
bounds = [round(n * 12 / size) for n in range(size + 1)]
PLANS = {
    "ring": lambda n: ring(rank, size, n, 3),
    "direct": lambda n: direct(rank, size, n),
    "scattered": lambda n: scattered(rank, size, n),
    "mpi": lambda n: library(rank, size, n),
    "shared": lambda n: shared(rank, size, n),
    "tree": lambda n: tree(rank, bounds, n),
}
heard = {}
tags = Tags(0, driver.tags)


class Reducing:
    """A reduction and the transfers of its step."""

    def __init__(self, plan, rows, seconds=30.0):
        self.planned = Planned(plan, members, float32, "sum", "gradients", group=0)
        self.transfers = Transfers(0, tags.take(plan.messages), seconds)
        self.run = Reduction(self.planned, Arrays(rows, "sum"), self.transfers).run

    def drain(self, sent):
        planned = self.planned
        return self.transfers.drain(sent, planned.expected(), planned.collectives())


def everywhere(phase, numbers=()):
    """What all tasks tell each other in a phase, together; a role."""
    for other in range(size):
        yield Tell(other, BOX, Aborted(phase, tuple(numbers)))
    while len(heard.get(phase, ())) < size:
        _, message = yield Hear(BOX, 30.0)  # some tasks are a phase ahead
        heard.setdefault(message.step, []).append(message)
    return {number for message in heard.pop(phase) for number in message.sent}


def aborted(role, phase, begins):
    """Begin, stop wherever it is by then, and drain."""
    handle = (yield Spawn(role.run())) if begins else None
    yield from everywhere(phase)
    if handle is not None:
        yield Stop(handle)
    yield from role.drain((yield from everywhere(phase + 1, role.transfers.sent)))


def values(kind, elements):
    """The rows of all tasks, and which of them are this one's."""
    count = 12 if kind == "tree" else size
    rows = np.random.default_rng(elements).integers(-9, 9, (count, elements)).astype(np.float32)
    mine = slice(bounds[rank], bounds[rank + 1]) if kind == "tree" else slice(rank, rank + 1)
    return rows, list(rows[mine].copy())


right = phase = 0
for kind, make in PLANS.items():
    for elements in (0, 1, 7, 5000, 300000):
        rows, mine = values(kind, elements)
        driver.drive(Reducing(make(elements), mine).run())
        right += np.array_equal(mine[0], rows.sum(0))
        rows, mine = values(kind, elements)
        begins = rank != elements % size
        driver.drive(aborted(Reducing(make(elements), mine), phase, begins))
        phase += 2
driver.drive(everywhere(phase))
sys.stdout.write(f"task {rank}: right {right}, left {len(driver._passing.under_way)}\n")
driver.close()
