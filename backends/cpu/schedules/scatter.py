"""Scatters: contributions are combined in the order of the axes, whatever the threads."""

from __future__ import annotations

from dataclasses import replace

from graphc.backends.cpu.schedules.nest import lanes_for, serial, vectors
from graphc.backends.loops import affine, build, combine
from graphc.backends.loops.ir import Expr
from graphc.backends.loops.lower import Lowering, Position, View
from graphc.backends.loops.merge import Work
from graphc.ir.compute.expr import Axis, Index
from graphc.ir.compute.kernel import Scatter
from graphc.ir.dims import product


def emit_scatter(lowering: Lowering, work: Work, lanes: int) -> None:
    """Fill with the identity, then combine; by vectors where neighbours go to neighbours."""
    stage = work.stage
    assert isinstance(stage, Scatter)
    view = lowering.views[stage.name]
    _fill(lowering, stage, view, lanes)

    def element(at: Position) -> None:
        place = at if at.vector is None else replace(at, vector=None, lanes=1, mask=None)
        offset = lowering.offset([lowering.value(i, place) for i in stage.index], view.strides)
        value = lowering.vector(stage.value, at)
        emit = lowering.emit
        emit.forget_loads()
        old = emit.load(view.buffer, offset, at.lanes, at.mask)
        (new,) = combine.step(emit, stage.combiner, (old,), (value,))
        emit.store(view.buffer, offset, new, at.mask)

    if not stage.axes or affine.stride(stage.index, view.strides, stage.axes[-1]) != 1:
        serial(lowering, stage.axes, Position({}), element)
        return

    def along(at: Position) -> None:
        axis = stage.axes[-1]
        span = build.const(0), lowering.dim(axis.extent)
        vectors(lowering, axis, span, at, lanes_for(axis, lanes), element)

    serial(lowering, stage.axes[:-1], Position({}), along)


def _fill(lowering: Lowering, stage: Scatter, view: View, lanes: int) -> None:
    axis = Axis("z", product(stage.shape))
    (identity,) = combine.start(stage.combiner, stage.dtype)

    def element(at: Position) -> None:
        offset = lowering.value(Index(axis), replace(at, vector=None, lanes=1))
        value: Expr = lowering.emit.wide(identity, at.lanes)
        lowering.emit.store(view.buffer, offset, value, at.mask)

    span = build.const(0), lowering.dim(axis.extent)
    vectors(lowering, axis, span, Position({}), lanes_for(axis, lanes), element)
