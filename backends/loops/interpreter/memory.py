"""Buffers that check their bounds and see races.

An *agent* is one iteration of a pooled loop or one thread of a GPU; a *region* is a time in which
agents do not wait for each other. Within a region, what one agent writes no other may touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.loops.ir import Buffer
from graphc.ir.dtypes import DType

Array = npt.NDArray[Any]


class AccessError(Exception):
    """An access that no schedule may make; the interpreter adds the statement."""


@dataclass(frozen=True, slots=True)
class Agent:
    """``number`` is larger than ``region``, which is that of no agent."""

    region: int
    number: int


def poisoned(size: int, dtype: DType) -> Array:
    """Memory with undefined contents: values that spoil whatever is computed with them."""
    value = np.nan if dtype.is_float else dtype.max if dtype.kind == "uint" else dtype.min
    return np.full(size, True if dtype.is_bool else value, dtype.numpy)


class Memory:
    """The elements of one buffer; ``owner`` is the agent that it is private to."""

    def __init__(self, buffer: Buffer, array: Array, owner: Agent | None = None) -> None:
        self.buffer = buffer
        self.array = array
        self.owner = owner
        self.writer: Array | None = None
        self.reader: Array | None = None

    def read(self, offsets: Any, agent: Agent | None) -> Any:
        """The elements at ``offsets``, an int or an array of them."""
        self.check(offsets)
        if agent is not None and agent is not self.owner:
            self.note_read(offsets, agent)
        return self.array[offsets]

    def write(self, offsets: Any, values: Any, agent: Agent | None) -> None:
        self.check(offsets)
        if agent is not None and agent is not self.owner:
            self.note_write(offsets, agent)
        self.array[offsets] = values

    def check(self, offsets: Any) -> None:
        size = len(self.array)
        outside = np.logical_or(np.less(offsets, 0), np.greater_equal(offsets, size))
        if outside.any():
            first = np.atleast_1d(offsets)[np.atleast_1d(outside)][0]
            raise AccessError(f"offset {first} is not in {self.buffer.name}, of {size} elements")

    def note_read(self, offsets: Any, agent: Agent) -> None:
        """Remember who read; the region's own number stands for several agents."""
        writer, reader = self.notes()
        wrote = writer[offsets]
        self.demand((wrote < agent.region) | (wrote == agent.number), offsets)
        read = reader[offsets]
        alone = (read < agent.region) | (read == agent.number)
        reader[offsets] = np.where(alone, agent.number, agent.region)

    def note_write(self, offsets: Any, agent: Agent) -> None:
        for notes in self.notes():
            found = notes[offsets]
            self.demand((found < agent.region) | (found == agent.number), offsets)
        self.notes()[0][offsets] = agent.number

    def notes(self) -> tuple[Array, Array]:
        if self.writer is None or self.reader is None:
            self.writer = np.full(len(self.array), -1, np.int64)
            self.reader = np.full(len(self.array), -1, np.int64)
        return self.writer, self.reader

    def demand(self, right: Any, offsets: Any) -> None:
        if not np.all(right):
            first = np.atleast_1d(offsets)[~np.atleast_1d(right)][0]
            raise AccessError(f"parallel iterations race for {self.buffer.name}[{first}]")
