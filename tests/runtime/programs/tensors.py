"""Tensors between all ranks at once, from memory that others can read and from other memory.

The first argument says how the ranks are divided over what are taken for hosts.
"""

import os
import sys

import numpy as np
from mpi4py import MPI

from graphc.runtime.drivers.host.reading import LONG
from graphc.runtime.drivers.host.segment import SWITCH
from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import AllReduce, Await, Post, Withdraw

SIZES = (0, 1, 100_001, LONG - 1, LONG, 1 << 20)
hosts = sys.argv[1]
rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
others = set(range(size)) - {rank}
if hosts == "one that refuses" and rank == 1:
    os.environ[SWITCH] = "0"


class TwoHosts:
    """All ranks, half of them on another host as far as the driver knows."""

    def __getattr__(self, name):
        return getattr(MPI.COMM_WORLD, name)

    def Split_type(self, *_):  # noqa: N802, as MPI calls it
        return MPI.COMM_WORLD.Split(rank // 2)


def value(sender, number):
    return (31 * sender + 7 * number + 1) % 256


def exchange(driver, readable):
    """Send all sizes to all others, receive theirs, in opposite orders."""
    tickets, received = [], []
    unwanted = yield Post((rank + 1) % size, 999, bytearray(LONG), sends=False)
    for number, length in [*enumerate(SIZES)][::-1]:
        memory = driver.allocate(length) if readable else np.empty(length, np.uint8)
        memory[:] = value(rank, number)
        for other in others:
            ticket = yield Post(other, number, memory, sends=True)
            tickets.append(ticket)
    for number, length in enumerate(SIZES):
        for other in others:
            memory = np.zeros(length, np.uint8)
            received.append((memory, value(other, number)))
            ticket = yield Post(other, number, memory, sends=False)
            tickets.append(ticket)
    for ticket in tickets:
        yield Await(ticket, 30.0)
    yield Withdraw(unwanted)
    for memory, wanted in received:
        assert (memory == wanted).all()


def reduce(driver):
    """A sum over all ranks, by memory if they share it."""
    row = np.full(100_000, rank, np.float32)
    members = tuple(range(size))
    ticket = yield AllReduce(0, members, row, "sum", shared=driver.shares_memory)
    yield Await(ticket, 30.0)
    assert (row == sum(members)).all()


driver = MpiDriver(TwoHosts() if hosts == "two" else None)
driver.make_groups(range(size), 1)
for turn in range(6):
    driver.drive(exchange(driver, readable=turn % 2 == 0))
    driver.drive(reduce(driver))
sys.stdout.write(f"all arrived, reductions over memory: {driver.shares_memory}\n")
driver.close()
