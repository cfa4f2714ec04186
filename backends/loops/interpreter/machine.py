"""Statements, and the order in which iterations and threads run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.backends.loops.interpreter.block import Threads, has_loops, thread_places
from graphc.backends.loops.interpreter.memory import (
    AccessError,
    Agent,
    Array,
    Memory,
    poisoned,
)
from graphc.backends.loops.interpreter.values import (
    Exchange,
    Flow,
    Frame,
    Thread,
    evaluate,
    places,
)
from graphc.backends.loops.ir import (
    Alloc,
    Barrier,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Guard,
    If,
    Let,
    Stmt,
    Store,
)
from graphc.backends.loops.text import statement_text
from graphc.backends.loops.walk import expressions, postorder
from graphc.ir.errors import VerifyError

NO_ERROR = -1
POSITION_BITS = 48


def run(
    function: Function,
    arrays: Sequence[Array],
    sizes: Mapping[str, int] | Sequence[int] = (),
    *,
    reverse: bool = False,
) -> int:
    """Run ``function`` on ``arrays``, one for each buffer, which it changes in place.

    ``sizes`` are the function's, by name or in order; ``reverse`` runs parallel iterations
    in the opposite order, which may change nothing.

    Returns:
        -1, or the smallest ``code << 48 | position`` that a guard reported.

    Raises:
        ValueError: the arrays or sizes are not the function's.
        VerifyError: the function does what no schedule may: an access out of bounds, a race,
            threads that part at a barrier.
    """
    machine = _Machine(function, reverse)
    frame = machine.frame(arrays, sizes)
    one_block = has_loops(function.body, ("warp", "thread")) and not machine.has_grid
    try:
        if one_block:
            machine.threads(frame, function.body)
        else:
            machine.alone(machine.block(frame, function.body))
    except AccessError as error:
        raise VerifyError(f"{function.name}: {error}{machine.where()}") from None
    return machine.status


@dataclass
class _Machine:
    """``agents`` counts the agents there have been; ``current`` is the statement that runs."""

    function: Function
    reverse: bool
    status: int = NO_ERROR
    agents: int = 0
    current: Stmt | None = None
    orders: dict[tuple[int, ...], list[Expr]] = field(default_factory=dict)

    @property
    def has_grid(self) -> bool:
        return has_loops(self.function.body, ("block",))

    def where(self) -> str:
        if self.current is None:
            return ""
        return ", in\n    " + statement_text(self.current).replace("\n", "\n    ")

    def frame(self, arrays: Sequence[Array], sizes: Mapping[str, int] | Sequence[int]) -> Frame:
        function, frame = self.function, Frame()
        if isinstance(sizes, Mapping):
            sizes = [sizes[size.name] for size in function.sizes]
        if len(sizes) != len(function.sizes) or len(arrays) != len(function.buffers):
            raise ValueError(
                f"{function.name} takes {len(function.buffers)} arrays and "
                f"{len(function.sizes)} sizes, not {len(arrays)} and {len(sizes)}"
            )
        for var, size in zip(function.sizes, sizes, strict=True):
            frame.values[id(var)] = np.int64(size)
        for buffer, array in zip(function.buffers, arrays, strict=True):
            frame.memories[id(buffer)] = Memory(buffer, _flat(buffer, array))
        for buffer in function.workspace:
            assert buffer.size is not None
            size = int(self.alone(self.values(frame, (buffer.size,)))[0])
            frame.memories[id(buffer)] = Memory(buffer, poisoned(max(size, 0), buffer.dtype))
        return frame

    def alone(self, flow: Flow) -> Any:
        """Run a flow of control that has nobody to wait for."""
        try:
            while True:
                if isinstance(next(flow), Exchange):
                    raise AccessError("there is no warp to shuffle with")
        except StopIteration as end:
            return end.value

    def threads(self, frame: Frame, body: Block) -> None:
        """Run ``body`` once in each thread of a block, with fresh shared memory."""
        frames = []
        shared: dict[int, Memory] = {}
        for number, at in enumerate(thread_places(body)):
            self.agents += 1
            thread = Thread(number, Agent(0, number + 1), at)
            values, memories = dict(frame.values), dict(frame.memories)
            frames.append(Frame(values, memories, shared, Agent(0, self.agents), thread))
        flows = [self.block(own, body) for own in frames]
        Threads(flows, frames).run(reverse=self.reverse)

    def values(self, frame: Frame, roots: tuple[Expr, ...]) -> Flow:
        """The values of expressions, in order."""
        key = tuple(map(id, roots))
        order = self.orders.get(key)
        if order is None:
            order = self.orders[key] = postorder(roots)
        found = yield from evaluate(frame, order)
        return [found[id(root)] for root in roots]

    def block(self, frame: Frame, block: Block) -> Flow:
        for stmt in block:
            self.current = stmt
            yield from _STATEMENTS[type(stmt)](self, frame, stmt)

    def let(self, frame: Frame, stmt: Let) -> Flow:
        (frame.values[id(stmt.var)],) = yield from self.values(frame, (stmt.value,))

    def store(self, frame: Frame, stmt: Store) -> Flow:
        offset, value, *mask = yield from self.values(frame, expressions(stmt))
        memory, agent = frame.memory(stmt.buffer)
        offsets = places(offset, stmt.value.type.lanes)
        if not mask:
            memory.write(offsets, value, agent)
        elif np.ndim(offsets) == 0:
            if mask[0]:
                memory.write(offsets, value, agent)
        elif mask[0].any():
            memory.write(offsets[mask[0]], value[mask[0]], agent)

    def loop(self, frame: Frame, stmt: For) -> Flow:
        starts = tuple(c.start for c in stmt.carried)
        begin, end, *state = yield from self.values(frame, (stmt.begin, stmt.end, *starts))
        nexts = tuple(c.next for c in stmt.carried)
        for index in _LOOPS[stmt.kind](self, frame, stmt, range(int(begin), int(end), stmt.step)):
            frame.values[id(stmt.index)] = np.int64(index)
            for carried, value in zip(stmt.carried, state, strict=True):
                frame.values[id(carried.var)] = value
            if stmt.kind == "block" and not has_loops(stmt.body, ("block",)):
                self.threads(frame, stmt.body)
                continue
            yield from self.block(frame, stmt.body)
            self.current = stmt
            state = yield from self.values(frame, nexts)
        for carried, value in zip(stmt.carried, state, strict=True):
            frame.values[id(carried.result)] = value

    def in_order(self, _frame: Frame, _stmt: For, indices: range) -> Iterator[int]:
        yield from indices

    def in_any_order(self, _frame: Frame, _stmt: For, indices: range) -> Iterator[int]:
        yield from reversed(indices) if self.reverse else indices

    def as_tasks(self, frame: Frame, stmt: For, indices: range) -> Iterator[int]:
        """Each iteration is an agent of its own."""
        self.agents += 1
        outer, region = frame.agent, self.agents
        for index in self.in_any_order(frame, stmt, indices):
            self.agents += 1
            frame.agent = Agent(region, self.agents)
            yield index
        frame.agent = outer

    def as_thread(self, frame: Frame, stmt: For, _indices: range) -> Iterator[int]:
        """The one iteration that is this thread's."""
        if frame.thread is None:
            raise AccessError(f"a {stmt.kind} loop outside of a block")
        yield frame.thread.places[id(stmt)]

    def condition(self, frame: Frame, stmt: If) -> Flow:
        (holds,) = yield from self.values(frame, (stmt.condition,))
        yield from self.block(frame, stmt.then if holds else stmt.orelse)

    def alloc(self, frame: Frame, stmt: Alloc) -> Flow:
        buffer = stmt.buffer
        assert isinstance(buffer.size, Const)
        shared = buffer.space == "shared"
        if not shared or id(buffer) not in frame.shared:
            array = poisoned(int(buffer.size.value), buffer.dtype)
            where = frame.shared if shared else frame.memories
            where[id(buffer)] = Memory(buffer, array, None if shared else frame.agent)
        yield from ()

    def barrier(self, _frame: Frame, stmt: Barrier) -> Flow:
        yield stmt

    def guard(self, frame: Frame, stmt: Guard) -> Flow:
        ok, position = yield from self.values(frame, (stmt.ok, stmt.position))
        wrong = np.atleast_1d(position)[~np.atleast_1d(ok)]
        if wrong.size:
            found = stmt.code << POSITION_BITS | int(wrong.min())
            self.status = found if self.status == NO_ERROR else min(self.status, found)


def _flat(buffer: Buffer, array: Array) -> Array:
    if array.dtype != buffer.dtype.numpy or not array.flags.c_contiguous:
        raise ValueError(f"{buffer.name} takes a dense {buffer.dtype.name}, not {array.dtype}")
    return array.reshape(-1)


_LOOPS: dict[str, Callable[[_Machine, Frame, For, range], Iterator[int]]] = {
    "serial": _Machine.in_order,
    "unrolled": _Machine.in_order,
    "vector": _Machine.in_any_order,
    "pooled": _Machine.as_tasks,
    "block": _Machine.in_any_order,
    "warp": _Machine.as_thread,
    "thread": _Machine.as_thread,
}

_STATEMENTS: dict[type[Any], Callable[[_Machine, Frame, Any], Flow]] = {
    Let: _Machine.let,
    Store: _Machine.store,
    For: _Machine.loop,
    If: _Machine.condition,
    Alloc: _Machine.alloc,
    Barrier: _Machine.barrier,
    Guard: _Machine.guard,
}
