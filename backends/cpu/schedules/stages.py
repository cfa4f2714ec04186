"""One stage at one row: the loops over its own axes.

At a scalar position the stage is vectorised within the row (along its last axis); at a position
that holds a vector of rows, its own loops are serial and every value is a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.backends.cpu.schedules.nest import (
    lanes_for,
    same,
    serial,
    tail_mask,
    vectors,
    whole_vectors,
)
from graphc.backends.loops import affine, build, combine
from graphc.backends.loops.combine import State
from graphc.backends.loops.ir import Expr
from graphc.backends.loops.lower import Lowering, Position
from graphc.backends.loops.merge import Work, merge_axes
from graphc.ir.compute.expr import Axis
from graphc.ir.compute.kernel import Reduce

Span = tuple[Expr, Expr]
REDUCTION_VECTORS = 4
"""Independent accumulators of a reduction, to hide the latency of an addition."""


@dataclass(frozen=True)
class StageEmitter:
    """Emits stages through ``lowering``; ``lanes`` is the vector width for their dtypes."""

    lowering: Lowering
    lanes: int

    def emit(self, work: Work, inner: Sequence[Axis], at: Position) -> None:
        """``work`` at ``at``, where ``inner`` are its axes beyond the rows."""
        if isinstance(work.stage, Reduce):
            self._reduce(work, inner, at)
        else:
            self._map(work, inner, at)

    def store(self, work: Work, value: Expr, at: Position) -> None:
        """Write an element (or a vector of them) to the stage's view, if it has one."""
        if work.index is None:
            return
        lowering, view = self.lowering, self.lowering.views[work.stage.name]
        stride = 0 if at.vector is None else affine.stride(work.index, view.strides, at.vector)
        place = at if stride not in (0, 1) else replace(at, vector=None, lanes=1, mask=None)
        index = [lowering.value(i, place) for i in work.index]
        offset = lowering.offset(index, view.strides)
        if at.vector is not None:
            value = lowering.emit.wide(value, at.lanes)
        lowering.emit.store(view.buffer, offset, value, at.mask)

    def _map(self, work: Work, inner: Sequence[Axis], at: Position) -> None:
        lowering = self.lowering
        if not inner:
            value = lowering.value(work.stage.value, at)
            lowering.values[work.stage.name] = value
            self.store(work, value, at)
            return
        inner, (merged,) = merge_axes(inner, [work], lowering.views)

        def element(place: Position) -> None:
            self.store(merged, lowering.value(merged.stage.value, place), place)

        def along(place: Position) -> None:
            axis = inner[-1]
            ends = build.const(0), lowering.dim(axis.extent)
            vectors(lowering, axis, ends, place, lanes_for(axis, self.lanes), element)

        if at.vector is not None:
            serial(lowering, inner, at, element)
        else:
            serial(lowering, inner[:-1], at, along)

    def _reduce(self, work: Work, inner: Sequence[Axis], at: Position) -> None:
        stage = work.stage
        assert isinstance(stage, Reduce)
        over, (merged,) = merge_axes(stage.over, [work], self.lowering.views)
        stage = replace(stage, over=over, value=merged.stage.value)

        def element(place: Position) -> None:
            value = combine.result(stage.combiner, self.reduction(stage, place))
            if not inner:
                self.lowering.values[stage.name] = value
            self.store(merged, value, place)

        serial(self.lowering, inner, at, element)

    def reduction(self, stage: Reduce, at: Position, span: Span | None = None) -> State:
        """The state of ``stage`` at ``at``; ``span`` narrows its first axis to (begin, end)."""
        lanes = at.lanes
        if at.vector is None and stage.over:
            lanes = lanes_for(stage.over[-1], self.lanes * REDUCTION_VECTORS)
        state = combine.start(stage.combiner, stage.value.dtype, lanes)
        state = self._over(stage, stage.over, at, state, span)
        if at.vector is not None:
            return state
        return combine.across(self.lowering.emit, stage.combiner, state)

    def _over(
        self, stage: Reduce, axes: Sequence[Axis], at: Position, state: State, span: Span | None
    ) -> State:
        """Loops over ``axes`` that carry ``state``, the last one by vectors if there is room."""
        if not axes:
            return self._combined(stage, at, state)
        axis, *rest = axes
        begin, end = span or (build.const(0), self.lowering.dim(axis.extent))
        lanes = state[0].type.lanes
        if lanes > 1 and at.vector is None and not rest:
            return self._by_vectors(stage, axis, at, state, (begin, end))
        with self.lowering.emit.loop(begin, end, carry=state) as loop:
            place = replace(at, axes={**at.axes, axis: loop.index})
            loop.carry(*self._over(stage, rest, place, loop.values, None))
        return loop.results

    def _by_vectors(
        self, stage: Reduce, axis: Axis, at: Position, state: State, span: Span
    ) -> State:
        """Whole vectors, then at most one masked vector, as a loop so that it carries on."""
        emit, lanes = self.lowering.emit, state[0].type.lanes
        begin, end = span
        stop = whole_vectors(emit, begin, end, lanes)
        for first, last, masked in ((begin, stop, False), (stop, end, True)):
            if same(first, last):
                continue
            with emit.loop(first, last, lanes, carry=state) as loop:
                mask = tail_mask(emit, loop.index, last, lanes) if masked else None
                place = Position({**at.axes, axis: loop.index}, axis, lanes, mask)
                loop.carry(*self._combined(stage, place, loop.values))
            state = loop.results
        return state

    def _combined(self, stage: Reduce, at: Position, state: State) -> State:
        emit, lanes = self.lowering.emit, state[0].type.lanes
        new: State = (emit.wide(self.lowering.value(stage.value, at), lanes),)
        if combine.COMBINERS[stage.combiner].indexed:
            new = (*new, emit.wide(self.lowering.flat(stage.over, at), lanes))
        if at.vector in stage.over:
            new = combine.masked(emit, stage.combiner, new, at.mask)
        return combine.step(emit, stage.combiner, state, new)
