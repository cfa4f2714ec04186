"""Reductions of everything to one number, in blocks that the shape alone decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphc.backends.cpu.schedules import cost
from graphc.backends.cpu.schedules.stages import StageEmitter
from graphc.backends.loops import combine
from graphc.backends.loops.combine import State
from graphc.backends.loops.ir import Buffer, Expr
from graphc.backends.loops.lower import Position
from graphc.backends.loops.merge import Work, merge_axes
from graphc.ir.compute.kernel import Reduce
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType

AddWorkspace = Callable[[DType, Dim], Buffer]


def emit_scalar(emitter: StageEmitter, work: Work, add_workspace: AddWorkspace) -> None:
    """A stage without axes: a number, or the reduction of all elements to one.

    Large reductions give one partial result for each block of the first axis, in parallel, which
    are then combined in order.
    """
    if not isinstance(work.stage, Reduce):
        emitter.emit(work, (), Position({}))
        return
    over, (merged,) = merge_axes(work.stage.over, [work], emitter.lowering.views)
    stage = replace(work.stage, over=over, value=merged.stage.value)
    block = _block(stage, emitter.lanes)
    if block is None:
        emitter.emit(work, (), Position({}))
        return
    state = _combined(emitter, stage, _partials(emitter, stage, block, add_workspace))
    value = combine.result(stage.combiner, state)
    emitter.lowering.values[stage.name] = value
    emitter.store(merged, value, Position({}))


def _block(stage: Reduce, lanes: int) -> int | None:
    """How many indices of the first axis are one block; None if all of them are."""
    if not stage.over:
        return None
    first, *rest = stage.over
    inner = cost.known(axis.extent for axis in rest) or 1
    block = max(1, int(cost.TASK_CYCLES / (cost.cycles(stage, lanes) * inner)))
    if not rest:
        block = -(-block // lanes) * lanes
    if isinstance(first.extent, int) and first.extent <= 2 * block:
        return None
    return block


def _partials(
    emitter: StageEmitter, stage: Reduce, block: int, add_workspace: AddWorkspace
) -> list[tuple[Buffer, Expr]]:
    """One buffer of partial results for each part of the state, and how many there are."""
    lowering, emit = emitter.lowering, emitter.lowering.emit
    extent = lowering.dim(stage.over[0].extent)
    blocks: Dim = (stage.over[0].extent + (block - 1)) // block
    types = [s.type.dtype for s in combine.start(stage.combiner, stage.value.dtype)]
    buffers = [add_workspace(dtype, blocks) for dtype in types]
    count = lowering.dim(blocks)
    with emit.loop(0, count, kind="pooled", hint="b") as loop:
        begin = emit.mul(loop.index, block)
        span = (begin, emit.minimum(emit.add(begin, block), extent))
        state = emitter.reduction(stage, Position({}), span)
        for buffer, value in zip(buffers, state, strict=True):
            emit.store(buffer, loop.index, value)
    return [(buffer, count) for buffer in buffers]


def _combined(emitter: StageEmitter, stage: Reduce, partials: list[tuple[Buffer, Expr]]) -> State:
    emit = emitter.lowering.emit
    start = combine.start(stage.combiner, stage.value.dtype)
    with emit.loop(0, partials[0][1], carry=start) as loop:
        state = tuple(emit.load(buffer, loop.index) for buffer, _ in partials)
        loop.carry(*combine.step(emit, stage.combiner, loop.values, state))
    return loop.results
