"""Reductions and what is computed with their results: a block for each row.

The threads of a block stride through its row, so neighbouring threads read neighbouring elements.
A stage that has one value for each row (a reduction, or what follows from one) is computed by all
threads alike; a stage that has a value for each element of the row is computed where it is
needed, again for each stage that reads it: a GPU has arithmetic to spare, and no other room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from graphc.backends.gpu.geometry import WARP
from graphc.backends.gpu.schedules.frame import Frame, extent, unflatten
from graphc.backends.gpu.schedules.reduction import across_block
from graphc.backends.loops import build, combine
from graphc.backends.loops.emit import Loop
from graphc.backends.loops.ir import Expr
from graphc.backends.loops.lower import Position
from graphc.backends.loops.plan import Group
from graphc.ir.compute.compose import loads_of
from graphc.ir.compute.expr import Axis
from graphc.ir.compute.kernel import Map, Reduce, Stage
from graphc.ir.errors import CompileError

MAX_WARPS = 8

LoopContext: TypeAlias = AbstractContextManager[Loop]


def write_rows(frame: Frame, group: Group) -> None:
    """One block for each row of ``group``.

    Raises:
        CompileError: a stage reduces less than the row, or reads elements that are not its own.
    """
    emit, lowering = frame.emit, frame.lowering
    warps = _warps(group)
    count = lowering.dim(extent(group.rows))
    with (
        emit.loop(0, count, kind="block", hint="row") as row,
        emit.loop(0, warps, kind="warp", hint="warp") as warp,
        emit.loop(0, WARP, kind="thread", hint="lane") as lane,
    ):
        at = Position(unflatten(lowering, group.rows, row.index))
        writer = _Writer(frame, group, at, warps, warp.index, lane.index)
        for stage in group.stages:
            _RULES[type(stage)](writer, stage)


@dataclass
class _Writer:
    """Writes the stages of one row, in order, for one thread of its block.

    ``deferred`` are the maps over the row, which have no value but where they are read.
    """

    frame: Frame
    group: Group
    row: Position
    warps: int
    warp: Expr
    lane: Expr
    deferred: dict[str, Map] = field(default_factory=dict)

    def reduce(self, stage: Reduce) -> None:
        if self.group.inner(stage):
            raise CompileError(f"there is no GPU schedule for {stage.name}: it has rows in a row")
        emit, combiner = self.frame.emit, stage.combiner
        indexed = combine.COMBINERS[combiner].indexed
        dtype = stage.value.dtype if indexed else stage.dtype
        with self.elements(stage.over, combine.start(combiner, dtype)) as loop:
            value, _ = self.element(stage, stage.over, loop.index)
            found = (value, loop.index) if indexed else (emit.let(build.cast(value, dtype)),)
            loop.carry(*combine.step(emit, combiner, loop.values, found))
        whole = across_block(emit, combiner, loop.results, self.warps, self.warp, self.lane)
        self.keep(stage, combine.result(combiner, whole))

    def map(self, stage: Map) -> None:
        axes = self.group.inner(stage)
        if not axes:
            self.keep(stage, self.frame.lowering.value(stage.value, self.row))
            return
        if stage.name in self.frame.kernel.results:
            with self.elements(axes) as loop:
                value, at = self.element(stage, axes, loop.index)
                self.frame.store(self.frame.work(stage), value, at)
        self.deferred[stage.name] = stage

    def keep(self, stage: Stage, value: Expr) -> None:
        """``value`` is the stage's for the whole row; the first thread writes it."""
        self.frame.lowering.values[stage.name] = value
        if stage.name in self.frame.kernel.results:
            with self.frame.emit.when(self.frame.emit.op("eq", self.first(), build.const(0))):
                self.frame.store(self.frame.work(stage), value, self.row)

    def first(self) -> Expr:
        """The number of this thread, which is the first element that it takes."""
        emit = self.frame.emit
        return emit.add(emit.mul(self.warp, WARP), self.lane)

    def elements(self, axes: Sequence[Axis], carry: combine.State = ()) -> LoopContext:
        """This thread's elements of the row, by number."""
        count = self.frame.lowering.dim(extent(axes))
        return self.frame.emit.loop(self.first(), count, self.warps * WARP, carry=carry)

    def element(self, stage: Stage, axes: Sequence[Axis], number: Expr) -> tuple[Expr, Position]:
        """The value of ``stage`` at an element of the row, and its position."""
        shared = self.frame.lowering
        lowering = replace(shared, values=dict(shared.values))
        for needed in self.needed(stage):
            there = self.position(self.group.inner(needed), number)
            lowering.values[needed.name] = lowering.value(needed.value, there)
        at = self.position(axes, number)
        return lowering.value(stage.value, at), at

    def position(self, axes: Sequence[Axis], number: Expr) -> Position:
        return Position({**self.row.axes, **unflatten(self.frame.lowering, axes, number)})

    def needed(self, stage: Stage) -> list[Map]:
        """The deferred maps that ``stage`` reads, those first that others read."""
        found = {load.buffer for load in loads_of(stage)}
        for name in reversed(self.deferred):
            if name in found:
                found |= {load.buffer for load in loads_of(self.deferred[name])}
        return [stage for name, stage in self.deferred.items() if name in found]


def _warps(group: Group) -> int:
    """Enough threads for the longest row, up to 8 warps; a power of two."""
    rows = [
        stage.over if isinstance(stage, Reduce) else group.inner(stage) for stage in group.stages
    ]
    lengths = [extent(axes) for axes in rows]
    warps = 1
    while warps < MAX_WARPS and any(not isinstance(n, int) or n > warps * WARP for n in lengths):
        warps *= 2
    return warps


_RULES: dict[type[Stage], Callable[[_Writer, Any], None]] = {
    Reduce: _Writer.reduce,
    Map: _Writer.map,
}
