"""The round trip of a control message between two roles, beside raw messages of MPI.

    mpiexec -n 2 python -m mpi4py benchmarks/cluster/control.py

A role tells a message to a role of the other rank and hears one from there. Raw is the least that
a driver does which cannot know what comes: ``Isend``, then ``Improbe`` until there is something.
"""

from __future__ import annotations

from mpi4py import MPI
from rounds import in_turns, microseconds

from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import Hear, Role, Tell
from graphc.runtime.messages import Computed, Run

BOX = 1


def ping(count: int) -> Role:
    """Tell of runs, as a master does, and hear that they are computed."""
    for step in range(count):
        yield Tell(1, BOX, Run(BOX, 0, step, 4 * step, (64, 10)))
        yield Hear(BOX, 60.0)


def pong(count: int) -> Role:
    """Answer what was heard, as a worker does."""
    for _ in range(count):
        _, message = yield Hear(BOX)
        yield Tell(0, BOX, Computed(message.step))


def raw(count: int) -> None:
    """The same bytes to and fro, and no more."""
    world, other = MPI.COMM_WORLD, 1 - MPI.COMM_WORLD.rank
    for turn in range(2 * count):
        if turn % 2 == world.rank:
            sent = world.Isend([bytes(49), MPI.BYTE], other)
        else:
            while (found := world.Improbe()) is None:
                pass
            found.Recv([bytearray(49), MPI.BYTE])
            sent = MPI.REQUEST_NULL
        while not sent.Test():
            pass


def main() -> None:
    driver = MpiDriver()
    role = (ping, pong)[driver.rank]
    measurements = {
        "Tell and Hear, both ways": lambda count: driver.drive(role(count)),
        "raw: Isend and Improbe, both ways": raw,
    }
    seconds = in_turns(measurements, count=200, passes=150)
    if driver.rank == 0:
        microseconds(seconds)
    driver.close()


if __name__ == "__main__":
    main()
