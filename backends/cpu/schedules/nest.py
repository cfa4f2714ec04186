"""Loop nests: over rows, over blocks for the thread pool, over vectors with a masked tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.backends.cpu.schedules import cost
from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Expr, Lanes
from graphc.backends.loops.ir import Const as Number
from graphc.backends.loops.lower import Lowering, Position, View
from graphc.ir.compute.compose import values_of, with_values
from graphc.ir.compute.expr import Axis, Const, Index, Load, postorder, substitute
from graphc.ir.compute.expr import Expr as Value
from graphc.ir.compute.kernel import Stage
from graphc.ir.dims import Dim
from graphc.ir.dtypes import int64

Advance = Callable[[Position], None]


@dataclass(frozen=True)
class Work:
    """A stage to be emitted, and where its elements go: an index into its view (None: nowhere)."""

    stage: Stage
    index: tuple[Value, ...] | None

    @property
    def values(self) -> tuple[Value, ...]:
        return values_of(self.stage)

    def with_values(self, values: Sequence[Value]) -> Work:
        """This work with the stage's expressions replaced."""
        return Work(with_values(self.stage, values), self.index)

    def substituted(self, axes: Mapping[Axis, Value]) -> Work:
        """This work with the indices of some axes replaced in its expressions."""
        stage = with_values(self.stage, substitute(self.values, axes))
        return Work(stage, None if self.index is None else tuple(substitute(self.index, axes)))


def merge_axes(
    axes: Sequence[Axis], works: Sequence[Work], views: Mapping[str, View]
) -> tuple[tuple[Axis, ...], tuple[Work, ...]]:
    """Neighbouring axes that memory does not tell apart become one.

    ``a`` and ``b`` merge if along ``a`` every access moves exactly as far as along all of ``b``,
    and no value depends on them but through these accesses.
    """
    used = _axes_used_directly([value for work in works for value in work.values])
    kept: list[Axis] = []
    for axis in axes:
        last = kept[-1] if kept else None
        if last is None or {last, axis} & used or not _move_as_one(last, axis, works, views):
            kept.append(axis)
            continue
        merged = Axis(f"{last.name}{axis.name}", last.extent * axis.extent)
        replaced: dict[Axis, Value] = {last: Const(0, int64), axis: Index(merged)}
        works = [work.substituted(replaced) for work in works]
        kept[-1] = merged
    return tuple(kept), tuple(works)


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
) -> None:
    """``body`` at ``lanes`` elements of ``axis`` at a time, the last ones of ``span`` masked."""
    emit, (begin, end) = lowering.emit, span
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


def _axes_used_directly(values: Sequence[Value]) -> set[Axis]:
    """Axes whose index is used other than linearly within a load's index."""
    found: set[Axis] = set()
    stack: list[Value] = list(values)
    seen: set[int] = set()
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        if isinstance(expr, Index):
            found.add(expr.axis)
        elif isinstance(expr, Load):
            stack.extend([] if expr.where is None else [expr.where])
            stack.extend(e for e in expr.index if any(isinstance(x, Load) for x in postorder([e])))
        else:
            stack.extend(expr.operands)
    return found


def _move_as_one(a: Axis, b: Axis, works: Sequence[Work], views: Mapping[str, View]) -> bool:
    for index, strides in _accesses(works, views):
        along_a, along_b = (affine.stride(index, strides, axis) for axis in (a, b))
        if along_a is None or along_b is None or along_a != along_b * b.extent:
            return False
    return True


def _accesses(
    works: Sequence[Work], views: Mapping[str, View]
) -> Iterator[tuple[tuple[Value, ...], tuple[Dim, ...]]]:
    for work in works:
        if work.index is not None:
            yield work.index, views[work.stage.name].strides
        for expr in postorder(work.values):
            if isinstance(expr, Load) and expr.buffer in views:
                yield expr.index, views[expr.buffer].strides
