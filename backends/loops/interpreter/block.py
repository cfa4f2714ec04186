"""The threads of a GPU's block: in lockstep at barriers and warp shuffles, in turn between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.backends.loops.interpreter.memory import AccessError, Agent, poisoned
from graphc.backends.loops.interpreter.values import Exchange, Flow, Frame, Wait
from graphc.backends.loops.ir import Barrier, Block, Const, For, Stmt
from graphc.backends.loops.walk import blocks, statements
from graphc.ir.dtypes import DType

WARP = 32
_THREADS = ("warp", "thread")


def has_loops(body: Block, kinds: Sequence[str]) -> bool:
    """Whether a loop of one of ``kinds`` is anywhere in ``body``."""
    return any(isinstance(s, For) and s.kind in kinds for s in statements(body))


def thread_places(body: Block) -> list[dict[int, int]]:
    """For each thread of a block, its index in each warp and thread loop (by identity).

    Threads are numbered through a nest of loops, the innermost fastest.
    """
    nests = [nest for stmt in body for nest in _nests(stmt, ())]
    sizes = {math.prod(_extent(loop) for loop in nest) for nest in nests} or {1}
    if len(sizes) > 1:
        raise AccessError(f"nests of thread loops have different sizes, {sorted(sizes)}")
    return [_places(nests, number) for number in range(sizes.pop())]


def _nests(stmt: Stmt, above: tuple[For, ...]) -> list[tuple[For, ...]]:
    """The nests of warp and thread loops in ``stmt``, each with the loops ``above`` it."""
    nest = (*above, stmt) if isinstance(stmt, For) and stmt.kind in _THREADS else above
    inner = [found for block in blocks(stmt) for s in block for found in _nests(s, nest)]
    return inner or ([nest] if len(nest) > len(above) else [])


def _extent(loop: For) -> int:
    if not isinstance(loop.end, Const):
        raise AccessError(f"the extent of the {loop.kind} loop {loop.index.name} is no constant")
    return int(loop.end.value)


def _places(nests: list[tuple[For, ...]], number: int) -> dict[int, int]:
    places: dict[int, int] = {}
    for nest in nests:
        rest = number
        for loop in reversed(nest):
            rest, places[id(loop)] = divmod(rest, _extent(loop))
    return places


@dataclass
class Threads:
    """Runs flows to their ends; ``waits[i]`` is what thread i waits for (None: it is done)."""

    flows: list[Flow]
    frames: list[Frame]
    waits: list[Wait | None] = field(default_factory=list)

    def run(self, *, reverse: bool) -> None:
        count = len(self.flows)
        order = range(count - 1, -1, -1) if reverse else range(count)
        self.waits = [None] * count
        for i in order:
            self.resume(i, None)
        while any(wait is not None for wait in self.waits):
            if not self.exchange(order):
                self.barrier(order)

    def resume(self, i: int, answer: Any) -> None:
        try:
            self.waits[i] = self.flows[i].send(answer)
        except StopIteration:
            self.waits[i] = None

    def exchange(self, order: Sequence[int]) -> bool:
        """Let the warps go on whose threads all wait for the same shuffle."""
        ready: dict[int, Any] = {}
        for first in range(0, len(self.flows), WARP):
            warp = self.waits[first : first + WARP]
            lead = warp[0]
            if not isinstance(lead, Exchange):
                continue
            members = [w for w in warp if isinstance(w, Exchange) and w.expr is lead.expr]
            if len(members) == len(warp):
                ready.update({first + i: _received(members, i) for i in range(len(warp))})
        for i in order:
            if i in ready:
                self.resume(i, ready[i])
        return bool(ready)

    def barrier(self, order: Sequence[int]) -> None:
        """Let all threads go on if all wait at the same barrier."""
        first = self.waits[0]
        if not isinstance(first, Barrier) or any(wait is not first for wait in self.waits):
            raise AccessError("the threads of a block part: some do not come to a barrier")
        for frame in self.frames:
            assert frame.thread is not None
            before = frame.thread.agent
            step = len(self.frames) + 1
            frame.thread.agent = Agent(before.region + step, before.number + step)
        for i in order:
            self.resume(i, None)


def _received(warp: Sequence[Exchange], lane: int) -> Any:
    """What a lane gets: of a lane beyond the warp its own value, of an idle one rubbish."""
    own = warp[lane]
    down = own.expr.name == "warp_shuffle_down"
    other = lane + own.distance if down else lane ^ own.distance
    if not 0 <= other < WARP:
        return own.value
    if other < len(warp):
        return warp[other].value
    return _rubbish(own.expr.type.dtype)


def _rubbish(dtype: DType) -> Any:
    return np.asarray(poisoned(1, dtype))[0]
