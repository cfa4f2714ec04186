"""The innermost loops of a matrix product: one tile of sums, all of them in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cpu.schedules.gemm_blocking import Tile
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import Buffer, Expr, ValueType

Sums = tuple[Expr, ...]
"""The sums of a tile, row by row, a vector each."""


@dataclass(frozen=True)
class Walk:
    """How a factor is read: from ``offset`` on, ``across`` apart between rows or vectors.

    ``over`` are the distances along the axes of the sum. All are in elements.
    """

    buffer: Buffer
    offset: Expr
    across: Expr
    over: tuple[Expr, ...]


@dataclass(frozen=True)
class Panel:
    """The inside of a tile: ``a`` is read element by element, ``b`` in vectors under ``masks``."""

    tile: Tile
    a: Walk
    b: Walk
    masks: tuple[Expr | None, ...]
    extents: tuple[Expr, ...]
    """How many steps each axis of the sum has; the last is a multiple of ``unroll``."""
    unroll: int
    fused: bool
    """Whether the target has a multiply-add with one rounding."""


def sums(emit: Emitter, panel: Panel) -> Sums:
    """The tile's sums, each one chain over increasing k from zero."""
    type_ = ValueType(panel.a.buffer.dtype, panel.tile.lanes)
    zero = build.const(0, type_)
    start = (zero,) * (panel.tile.rows * panel.tile.vectors)
    return _along(emit, panel, 0, panel.a.offset, panel.b.offset, start)


def _along(
    emit: Emitter, panel: Panel, level: int, a: Expr, b: Expr, start: Sequence[Expr]
) -> Sums:
    """The sums after the axes from ``level`` on, with ``a`` and ``b`` where these axes begin."""
    if level == len(panel.extents):
        return _step(emit, panel, a, b, start)
    step = panel.unroll if level + 1 == len(panel.extents) else 1
    far_a, far_b = panel.a.over[level], panel.b.over[level]
    with emit.loop(0, panel.extents[level], step, carry=start, hint="k") as loop:
        here_a = emit.add(a, emit.mul(loop.index, far_a))
        here_b = emit.add(b, emit.mul(loop.index, far_b))
        values: Sums = loop.values
        for n in range(step):
            next_a = emit.add(here_a, build.mul(far_a, n))
            next_b = emit.add(here_b, build.mul(far_b, n))
            values = _along(emit, panel, level + 1, next_a, next_b, values)
        loop.carry(*values)
    return loop.results


def _step(emit: Emitter, panel: Panel, a: Expr, b: Expr, values: Sequence[Expr]) -> Sums:
    """One product added to every sum: a column of ``a`` times a row of ``b``."""
    tile = panel.tile
    row = [
        emit.load(panel.b.buffer, emit.add(b, build.mul(panel.b.across, v)), tile.lanes, mask)
        for v, mask in enumerate(panel.masks)
    ]
    found: list[Expr] = []
    for r in range(tile.rows):
        offset = emit.add(a, build.mul(panel.a.across, r))
        factor = emit.wide(emit.load(panel.a.buffer, offset), tile.lanes)
        found += [
            multiply_add(emit, factor, row[v], values[r * tile.vectors + v], panel.fused)
            for v in range(tile.vectors)
        ]
    return tuple(found)


def multiply_add(emit: Emitter, a: Expr, b: Expr, total: Expr, fused: bool) -> Expr:
    """``total + a * b``, rounded once if the target can and the values are floats."""
    if fused and total.type.dtype.is_float:
        return emit.op("fma", a, b, total)
    return emit.op("add", total, emit.op("mul", a, b))
