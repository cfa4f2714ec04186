"""Maps of one shape: a thread for each element."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.gpu.schedules.frame import Frame, extent, unflatten
from graphc.backends.loops import build
from graphc.backends.loops.ir import Expr
from graphc.backends.loops.lower import Position
from graphc.backends.loops.merge import Work, merge_axes
from graphc.backends.loops.plan import Group
from graphc.ir.compute.expr import Axis

THREADS = 256


def write_elements(frame: Frame, group: Group) -> None:
    """Blocks of 256 neighbouring elements; all stages of one element in its thread."""
    emit, lowering = frame.emit, frame.lowering
    works = [frame.work(stage) for stage in group.stages]
    rows, merged = merge_axes(group.rows, works, frame.views)
    total = extent(rows)
    count = lowering.dim(total)
    blocks = emit.let(build.ceildiv(count, THREADS))
    with (
        emit.loop(0, blocks, kind="block", hint="block") as block,
        emit.loop(0, THREADS, kind="thread", hint="thread") as thread,
    ):
        number = emit.add(emit.mul(block.index, THREADS), thread.index)
        if isinstance(total, int) and total % THREADS == 0:
            _write_element(frame, rows, merged, number)
            return
        with emit.when(emit.op("lt", number, count)):
            _write_element(frame, rows, merged, number)


def _write_element(frame: Frame, rows: Sequence[Axis], works: Sequence[Work], number: Expr) -> None:
    at = Position(unflatten(frame.lowering, rows, number))
    values = frame.lowering.values
    for work in works:
        values[work.stage.name] = frame.lowering.value(work.stage.value, at)
    for work in works:
        frame.store(work, values[work.stage.name], at)
