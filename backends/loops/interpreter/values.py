"""What expressions are: a NumPy scalar for one lane, an array of ``lanes`` elements for several."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from graphc.backends.loops.interpreter.memory import AccessError, Agent, Memory
from graphc.backends.loops.ir import (
    Barrier,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Extract,
    Intrinsic,
    Lanes,
    Load,
    Op,
    Shuffle,
    Var,
)
from graphc.ir.compute import scalar


@dataclass(slots=True)
class Thread:
    """A thread of a GPU's block; ``agent`` is who it is for shared memory, until a barrier."""

    number: int
    agent: Agent
    places: dict[int, int]
    """The index that it has in each warp and thread loop, by the loop's identity."""


@dataclass(slots=True)
class Frame:
    """What one flow of control sees: values and memory by identity, and who it is."""

    values: dict[int, Any] = field(default_factory=dict)
    memories: dict[int, Memory] = field(default_factory=dict)
    shared: dict[int, Memory] = field(default_factory=dict)
    agent: Agent | None = None
    thread: Thread | None = None

    def memory(self, buffer: Buffer) -> tuple[Memory, Agent | None]:
        """A buffer's memory, and who accesses it."""
        if buffer.space == "shared":
            agent = self.thread.agent if self.thread is not None else None
            return self.shared[id(buffer)], agent
        return self.memories[id(buffer)], self.agent


@dataclass(frozen=True, slots=True)
class Exchange:
    """A thread waits for the other threads of its warp, to see their values."""

    expr: Intrinsic
    value: Any
    distance: int


Wait: TypeAlias = Barrier | Exchange
Flow: TypeAlias = "Generator[Wait, Any, Any]"
"""Runs until it waits for other threads; an exchange is answered with the value received."""


def evaluate(frame: Frame, order: Sequence[Expr]) -> Flow:
    """The values, by identity, of expressions that come after their operands."""
    found: dict[int, Any] = {}
    for expr in order:
        operands = [found[id(o)] for o in expr.operands]
        if isinstance(expr, Intrinsic):
            found[id(expr)] = yield _exchange(expr, operands)
        else:
            found[id(expr)] = _VALUES[type(expr)](frame, expr, operands)
    return found


def places(offset: Any, lanes: int) -> Any:
    """The offset of each lane."""
    return offset + np.arange(lanes) if lanes > 1 and np.ndim(offset) == 0 else offset


def _exchange(expr: Intrinsic, operands: Sequence[Any]) -> Exchange:
    if not expr.name.startswith("warp_shuffle"):
        raise AccessError(f"the interpreter does not know {expr.name}")
    return Exchange(expr, operands[0], int(operands[1]))


def _const(_frame: Frame, expr: Const, _operands: Sequence[Any]) -> Any:
    number = expr.type.dtype.numpy.type(expr.value)
    return number if expr.type.lanes == 1 else np.full(expr.type.lanes, number)


def _var(frame: Frame, expr: Var, _operands: Sequence[Any]) -> Any:
    return frame.values[id(expr)]


def _op(_frame: Frame, expr: Op, operands: Sequence[Any]) -> Any:
    value = scalar.evaluate(expr.op, tuple(operands), expr.type.dtype)
    return value if value.ndim else value[()]


def _load(frame: Frame, expr: Load, operands: Sequence[Any]) -> Any:
    memory, agent = frame.memory(expr.buffer)
    offsets = places(operands[0], expr.type.lanes)
    if expr.mask is None:
        return memory.read(offsets, agent)
    mask = operands[1]
    result = np.zeros(np.shape(mask), expr.type.dtype.numpy)
    if np.any(mask):
        result[mask] = memory.read(offsets[mask] if np.ndim(offsets) else offsets, agent)
    return result if result.ndim else result[()]


def _broadcast(_frame: Frame, expr: Broadcast, operands: Sequence[Any]) -> Any:
    return np.full(expr.type.lanes, operands[0]) if expr.type.lanes > 1 else operands[0]


def _lanes(_frame: Frame, expr: Lanes, _operands: Sequence[Any]) -> Any:
    return np.arange(expr.type.lanes) if expr.type.lanes > 1 else np.int64(0)


def _shuffle(_frame: Frame, expr: Shuffle, operands: Sequence[Any]) -> Any:
    chosen = np.concatenate([np.atleast_1d(o) for o in operands])[list(expr.lanes)]
    return chosen if expr.type.lanes > 1 else chosen[0]


def _extract(_frame: Frame, expr: Extract, operands: Sequence[Any]) -> Any:
    return np.atleast_1d(operands[0])[expr.lane]


_VALUES: dict[type[Expr], Callable[[Frame, Any, Sequence[Any]], Any]] = {
    Const: _const,
    Var: _var,
    Op: _op,
    Load: _load,
    Broadcast: _broadcast,
    Lanes: _lanes,
    Shuffle: _shuffle,
    Extract: _extract,
}
