"""Programs that touch memory while a transfer owns it are refused."""

import pytest

from graphc.backends.loops.instructions import Commit, Receive, Run, Send, Wait
from graphc.backends.loops.program import Call, Program, Transfer
from graphc.ir.errors import PlanError
from graphc.runtime.in_flight import check_memory

READ, WRITE = Call(0, (0, 1), 1, (), (), "reader"), Call(0, (1, 0), 1, (), (), "writer")
PROGRAM = Program((), (), (READ, WRITE), 1, (), ())
IN, OUT, AGAIN = (Transfer(edge, 0, "p", 0) for edge in ("in", "out", "again"))
READS, WRITES = Run(0, 1), Commit()


@pytest.mark.parametrize(
    "instructions",
    [
        [Receive(IN), Wait(IN), READS, Send(OUT), READS, Wait(OUT), WRITES],
        [Send(OUT), Send(AGAIN), Wait(OUT), READS, Wait(AGAIN), WRITES],
        [WRITES, Send(OUT), Wait(OUT), Receive(IN), Wait(IN)],
    ],
)
def test_memory_that_is_left_alone(instructions):
    check_memory(PROGRAM, instructions)


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([Receive(IN), READS], "reader needs in before that has been waited for"),
        ([Receive(IN), WRITES], "writer needs in before that has been waited for"),
        ([Receive(IN), Send(OUT)], "out needs in before that has been waited for"),
        ([Send(OUT), WRITES], "writer writes memory that is still being sent"),
        ([Send(OUT), Send(AGAIN), Wait(OUT), WRITES], "writer writes memory"),
        ([Send(OUT), Receive(IN)], "in writes memory that is still being sent"),
    ],
)
def test_memory_that_is_touched(instructions, message):
    with pytest.raises(PlanError, match=message):
        check_memory(PROGRAM, instructions)
