"""Messages of all lengths to every rank at once, in pieces where they are long: they keep order."""

from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import Hear, Tell
from graphc.runtime.messages import Computed, Drain, Register

LENGTHS = (0, 1, 65_000, 65_536, 300_000, 5_000_000)
BOXES = (1, 2)
driver = MpiDriver()
others = [rank for rank in range(driver.size) if rank != driver.rank]


def told(rank):
    """What a rank tells, in order; no two ranks tell the same."""
    for number, length in enumerate(LENGTHS):
        constants = bytes([rank]) * length
        yield Register(1, number, "text", ("n",), (), (), (), (), (), (), (), constants)
        yield Drain(1, number, tuple(range(rank, number * 3000)))
        yield Computed(number)


def tell():
    for message in told(driver.rank):
        for rank in others:
            for box in BOXES:
                yield Tell(rank, box, message)


def hear(box):
    left = {rank: told(rank) for rank in others}
    for _ in range(3 * len(LENGTHS) * len(others)):
        sender, message = yield Hear(box, 30.0)
        assert message == next(left[sender]), (driver.rank, sender)


hearing = [driver.start(hear(box)) for box in BOXES]
driver.drive(tell())
for running in hearing:
    driver.finish(running)
print("heard all")
driver.close()
