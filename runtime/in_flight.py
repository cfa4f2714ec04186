"""Whether a program leaves memory alone while a transfer owns it: the local half of a plan's check.

From the post of a receive to its wait nobody may look at its memory, and from the begin of a send
to its wait nobody may write it; what is being reduced is touched by nobody else. Each task checks
this of its own program, whose calls alone it knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from graphc.backends.loops.instructions import (
    Commit,
    Instruction,
    Receive,
    Reduce,
    Reduced,
    Run,
    Send,
    Wait,
)
from graphc.backends.loops.program import Call, Program, Transfer
from graphc.ir.errors import PlanError


def check_memory(program: Program, instructions: Iterable[Instruction]) -> None:
    """Go through the instructions of ``program`` in order.

    Raises:
        PlanError: a call or a send reads what is being received, or a call or a receive writes
            what is being received or sent.
    """
    flight = _Flight(program)
    for instruction in instructions:
        flight.rules[type(instruction)](flight, instruction)


class _Flight:
    """The transfers that are under way, by storage."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._received: dict[int, Transfer] = {}
        self._sent: Counter[int] = Counter()
        self._reduced: dict[int, str] = {}
        """What is being reduced, and where it lies."""

    def _run(self, instruction: Run) -> None:
        self._touch(self._program.calls[instruction.first : instruction.last])

    def _commit(self, instruction: Commit) -> None:
        self._touch(self._program.calls[self._program.commit :])

    def _touch(self, calls: Iterable[Call]) -> None:
        for call in calls:
            for storage in call.storages:
                self._check_read(storage, call.name)
            for storage in call.writes:
                self._check_write(storage, call.name)

    def _receive(self, instruction: Receive) -> None:
        transfer = instruction.transfer
        self._check_read(transfer.storage, transfer.edge)
        self._check_write(transfer.storage, transfer.edge)
        self._received[transfer.storage] = transfer

    def _send(self, instruction: Send) -> None:
        self._check_read(instruction.transfer.storage, instruction.transfer.edge)
        self._sent[instruction.transfer.storage] += 1

    def _wait(self, instruction: Wait) -> None:
        storage = instruction.transfer.storage
        if self._received.get(storage) is instruction.transfer:
            del self._received[storage]
        else:
            self._sent[storage] -= 1

    def _reduce(self, instruction: Reduce) -> None:
        reduction = instruction.reduction
        for row in reduction.rows:
            self._check_write(row, reduction.name)
        self._reduced |= dict.fromkeys(reduction.rows, reduction.name)

    def _reduce_end(self, instruction: Reduced) -> None:
        for row in instruction.reduction.rows:
            del self._reduced[row]

    def _check_read(self, storage: int, what: str) -> None:
        if self._reduced:
            inside = self._program.storages[storage].inside
            home = storage if inside is None else inside.storage
            if home in self._reduced:
                reduced = self._reduced[home]
                raise PlanError(f"{what} needs {reduced} before that has been reduced")
        if storage in self._received:
            edge = self._received[storage].edge
            raise PlanError(f"{what} needs {edge} before that has been waited for")

    def _check_write(self, storage: int, what: str) -> None:
        if self._sent[storage]:
            raise PlanError(f"{what} writes memory that is still being sent")

    rules: ClassVar[dict[type, Callable[[_Flight, Any], None]]] = {
        Run: _run,
        Commit: _commit,
        Receive: _receive,
        Send: _send,
        Wait: _wait,
        Reduce: _reduce,
        Reduced: _reduce_end,
    }
