"""Loop nests: over rows, over blocks for the thread pool, over vectors with a masked tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.backends.cpu.schedules import cost
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Expr, Lanes
from graphc.backends.loops.ir import Const as Number
from graphc.backends.loops.lower import Lowering, Position
from graphc.ir.compute.expr import Axis

Advance = Callable[[Position], None]


def serial(lowering: Lowering, axes: Sequence[Axis], at: Position, body: Advance) -> None:
    """``body`` at every index of ``axes``."""
    if not axes:
        body(at)
        return
    first, *rest = axes
    with lowering.emit.loop(0, lowering.dim(first.extent)) as loop:
        serial(lowering, rest, replace(at, axes={**at.axes, first: loop.index}), body)


def pooled(
    lowering: Lowering, axis: Axis, cycles: float, grain: int, body: Callable[[Expr, Expr], None]
) -> None:
    """Blocks of ``axis`` as tasks: ``body(begin, end)``; one block if the work is small.

    ``cycles`` is what one index of the axis costs; blocks are multiples of ``grain``.
    """
    emit, extent = lowering.emit, lowering.dim(axis.extent)
    size = max(1, int(cost.TASK_CYCLES / max(cycles, 1e-3)))
    block = -(-size // grain) * grain
    if isinstance(axis.extent, int) and axis.extent <= 2 * block:
        body(build.const(0), extent)
        return
    with emit.loop(0, extent, block, "pooled", hint="b") as loop:
        body(loop.index, emit.minimum(emit.add(loop.index, block), extent))


def vectors(
    lowering: Lowering,
    axis: Axis,
    span: tuple[Expr, Expr],
    at: Position,
    lanes: int,
    body: Advance,
    *,
    once: bool = False,
) -> None:
    """``body`` at ``lanes`` elements of ``axis`` at a time, the last ones of ``span`` masked.

    ``once`` writes the body once, masked throughout, instead of a second time for the last ones:
    for bodies so long that compiling them takes longer than masks do.
    """
    emit, (begin, end) = lowering.emit, span
    if once:
        with emit.loop(begin, end, lanes) as loop:
            body(_vector(at, axis, loop.index, lanes, tail_mask(emit, loop.index, end, lanes)))
        return
    stop = whole_vectors(emit, begin, end, lanes)
    if not same(begin, stop):
        with emit.loop(begin, stop, lanes) as loop:
            body(_vector(at, axis, loop.index, lanes, None))
    if same(stop, end):
        return
    with emit.when(emit.op("lt", stop, end)):
        body(_vector(at, axis, stop, lanes, tail_mask(emit, stop, end, lanes)))


def whole_vectors(emit: Emitter, begin: Expr, end: Expr, lanes: int) -> Expr:
    """Where the last whole vector of ``lanes`` (a power of two) from ``begin`` on ends."""
    return emit.add(begin, emit.op("and", emit.sub(end, begin), build.const(-lanes)))


def same(a: Expr, b: Expr) -> bool:
    """Whether two scalars are known to be equal."""
    return a is b or (isinstance(a, Number) and isinstance(b, Number) and a.value == b.value)


def tail_mask(emit: Emitter, begin: Expr, end: Expr, lanes: int) -> Expr:
    """Which of the lanes from ``begin`` on are before ``end``."""
    steps = emit.let(Lanes(I64.with_lanes(lanes)))
    return emit.op("lt", steps, emit.sub(end, begin))


def lanes_for(axis: Axis, wanted: int) -> int:
    """``wanted`` lanes, or fewer if the axis is known to be shorter; a power of two."""
    if isinstance(axis.extent, int):
        while wanted > 1 and wanted // 2 >= axis.extent:
            wanted //= 2
    return wanted


def _vector(at: Position, axis: Axis, base: Expr, lanes: int, mask: Expr | None) -> Position:
    return Position({**at.axes, axis: base}, axis, lanes, mask)
