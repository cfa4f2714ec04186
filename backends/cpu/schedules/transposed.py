"""Elementwise nests that read something across the grain: square tiles, turned in registers.

Where the last axis of the result is not the last axis of an operand, loading along the result's
last axis would touch a cache line for each element. A tile of as many rows as lanes is loaded
along the operand's own last axis instead and transposed by shuffles, so that every access is a
whole vector. What does not fill a tile is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphc.backends.cpu.schedules.nest import whole_vectors
from graphc.backends.loops import affine, build
from graphc.backends.loops.ir import Expr, Shuffle
from graphc.backends.loops.lower import Lowering, Position
from graphc.backends.loops.merge import Work
from graphc.ir.compute.expr import Axis, Load, postorder, rewrite
from graphc.ir.compute.expr import Expr as Value

Strip = Callable[[Position, tuple[Expr, Expr]], None]
"""Emits one row for a range of its last axis."""


def turned_axis(
    lowering: Lowering, works: Sequence[Work], rows: Sequence[Axis], lanes: int
) -> Axis | None:
    """The row axis along which an operand is dense, though it is not along the last; if any."""
    if lanes < 2 or len(rows) < 2:
        return None
    for axis in rows[:-1]:
        big = not isinstance(axis.extent, int) or axis.extent >= lanes
        if big and _turned(lowering, works, axis, rows[-1]):
            return axis
    return None


@dataclass(frozen=True)
class Tiles:
    """A nest over ``turned`` and ``last``: ``body`` emits works at a position, ``strip`` a row."""

    lowering: Lowering
    works: Sequence[Work]
    turned: Axis
    last: Axis
    lanes: int
    body: Callable[[Sequence[Work], Position], None]
    strip: Strip


def emit_tiles(nest: Tiles, at: Position, span: tuple[Expr, Expr]) -> None:
    """``span`` of the turned axis by all of the last: tiles, and strips around them."""
    lowering, works, lanes = nest.lowering, nest.works, nest.lanes
    turned, last = nest.turned, nest.last
    emit, (begin, end) = lowering.emit, span
    loads = _turned(lowering, works, turned, last)
    names = {id(load): f"{load.buffer}.turned{i}" for i, load in enumerate(loads)}
    inside = [_with_names(work, names) for work in works]
    stop = whole_vectors(emit, begin, end, lanes)
    width = lowering.dim(last.extent)
    edge = whole_vectors(emit, build.const(0), width, lanes)
    with emit.loop(begin, stop, lanes, hint="r") as rows:
        with emit.loop(0, edge, lanes) as columns:
            corner = replace(at, axes={**at.axes, turned: rows.index, last: columns.index})
            tiles = {names[id(x)]: _tile(nest, x, corner) for x in loads}
            for i in range(lanes):
                lowering.values |= {name: tile[i] for name, tile in tiles.items()}
                index = {**corner.axes, turned: emit.add(rows.index, i)}
                nest.body(inside, Position(index, last, lanes))
        with emit.loop(0, lanes) as row:
            place = replace(at, axes={**at.axes, turned: emit.add(rows.index, row.index)})
            nest.strip(place, (edge, width))
    with emit.loop(stop, end) as row:
        nest.strip(replace(at, axes={**at.axes, turned: row.index}), (build.const(0), width))


def transpose(lowering: Lowering, tile: Sequence[Expr]) -> list[Expr]:
    """A square of vectors, turned: blocks are swapped across the diagonal, halving."""
    rows, size = list(tile), len(tile)
    step = size // 2
    while step:
        for i in (i for i in range(size) if not i & step):
            a, b = rows[i], rows[i + step]
            low = tuple(n if not n & step else size + n - step for n in range(size))
            high = tuple(n + step if not n & step else size + n for n in range(size))
            rows[i] = lowering.emit.let(Shuffle(a, b, low, a.type))
            rows[i + step] = lowering.emit.let(Shuffle(a, b, high, a.type))
        step //= 2
    return rows


def _tile(nest: Tiles, load: Load, corner: Position) -> list[Expr]:
    """Item ``i``: the load at the corner's turned index + i, along the last axis."""
    lowering, first = nest.lowering, corner.axes[nest.last]
    rows: list[Expr] = []
    for i in range(nest.lanes):
        place = {**corner.axes, nest.last: lowering.emit.add(first, i)}
        rows.append(lowering.value(load, Position(place, nest.turned, nest.lanes)))
    return transpose(lowering, rows)


def _turned(lowering: Lowering, works: Sequence[Work], axis: Axis, last: Axis) -> list[Load]:
    found: dict[int, Load] = {}
    for work in works:
        for expr in postorder(work.values):
            if not isinstance(expr, Load) or expr.buffer not in lowering.views:
                continue
            strides = lowering.views[expr.buffer].strides
            along = affine.stride(expr.index, strides, axis)
            across = affine.stride(expr.index, strides, last)
            if expr.where is None and along == 1 and across not in (None, 0, 1):
                found[id(expr)] = expr
    return list(found.values())


def _with_names(work: Work, names: dict[int, str]) -> Work:
    """``work`` with the turned loads read from values at hand."""

    def change(expr: Value) -> Value:
        name = names.get(id(expr))
        return expr if name is None else Load(name, (), expr.dtype)

    return work.with_values(rewrite(work.values, change))
