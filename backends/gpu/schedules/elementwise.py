"""Maps of one shape: a thread for each element."""

from __future__ import annotations

from graphc.backends.gpu.schedules.frame import Frame, extent, unflatten
from graphc.backends.loops import build
from graphc.backends.loops.ir import Expr
from graphc.backends.loops.lower import Position
from graphc.backends.loops.plan import Group

THREADS = 256


def write_elements(frame: Frame, group: Group) -> None:
    """Blocks of 256 neighbouring elements; all stages of one element in its thread."""
    emit, lowering = frame.emit, frame.lowering
    total = extent(group.rows)
    count = lowering.dim(total)
    blocks = emit.let(build.ceildiv(count, THREADS))
    with (
        emit.loop(0, blocks, kind="block", hint="block") as block,
        emit.loop(0, THREADS, kind="thread", hint="thread") as thread,
    ):
        number = emit.add(emit.mul(block.index, THREADS), thread.index)
        if isinstance(total, int) and total % THREADS == 0:
            _write_element(frame, group, number)
            return
        with emit.when(emit.op("lt", number, count)):
            _write_element(frame, group, number)


def _write_element(frame: Frame, group: Group, number: Expr) -> None:
    at = Position(unflatten(frame.lowering, group.rows, number))
    for stage in group.stages:
        frame.lowering.values[stage.name] = frame.lowering.value(stage.value, at)
    for stage in group.stages:
        frame.store(stage, frame.lowering.values[stage.name], at)
