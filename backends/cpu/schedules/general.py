"""The schedule of a kernel: one group of stages after the other.

Matrix products have a schedule of their own; all else is nests over rows, one for each group.

Where lanes go is decided for each group: across rows if its stages are elementwise, or if
neighbouring rows are neighbours in memory (a sum over columns); within the row otherwise (a sum
over rows, a softmax).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from graphc.backends.cpu.schedules import cost
from graphc.backends.cpu.schedules.gemm import emit_product
from graphc.backends.cpu.schedules.inplace import in_place_pairs, is_elementwise
from graphc.backends.cpu.schedules.nest import lanes_for, pooled, serial, vectors
from graphc.backends.cpu.schedules.scatter import emit_scatter
from graphc.backends.cpu.schedules.split import emit_scalar
from graphc.backends.cpu.schedules.stages import REDUCTION_VECTORS, StageEmitter
from graphc.backends.cpu.schedules.transposed import Tiles, emit_tiles, turned_axis
from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Buffer, Expr, Function, Var
from graphc.backends.loops.lower import Lowering, Position, View, size_expr
from graphc.backends.loops.merge import Work, merge_axes
from graphc.backends.loops.plan import Group, Plan, is_contraction, plan
from graphc.ir.compute.compose import loads_of
from graphc.ir.compute.expr import Axis, Index, postorder
from graphc.ir.compute.kernel import Kernel, Reduce, Scatter, Stage
from graphc.ir.compute.symbols import symbols
from graphc.ir.dims import Dim, product
from graphc.ir.dtypes import DType
from graphc.ir.target import Target

SCRATCH_BYTES = 32 * 1024
"""Up to this size, what one row hands from stage to stage is kept on the stack."""
LONG_BODY = 200
"""Of more values than these, a nest's body is written once (see ``nest.vectors``)."""
UNKNOWN_EXTENT = 64
"""What a symbolic extent counts for when the cost of a task is estimated."""


def schedule(kernel: Kernel, target: Target) -> Function:
    """Loops for ``kernel`` on a CPU; correct for all shapes, symbolic and empty ones included."""
    planned = plan(kernel)
    writer = _KernelWriter(planned, target)
    for group in planned.groups:
        writer.emit(group)
    return Function(
        name="kernel",
        buffers=(*writer.params, *writer.results),
        sizes=tuple(writer.lowering.sizes.values()),
        body=writer.lowering.emit.block,
        workspace=tuple(writer.workspace),
        in_place=in_place_pairs(planned),
        guards=len(kernel.guards),
    )


@dataclass
class _KernelWriter:
    """What the groups of one kernel share: buffers, views, workspace."""

    plan: Plan
    target: Target
    workspace: list[Buffer] = field(default_factory=list)

    def __post_init__(self) -> None:
        kernel = self.plan.kernel
        self.lowering = Lowering(Emitter(), {name: Var(name, I64) for name in symbols(kernel)})
        self.params = tuple(Buffer(p.name, p.type.dtype) for p in kernel.params)
        for param, buffer in zip(kernel.params, self.params, strict=True):
            self.lowering.views[param.name] = View.dense(buffer, param.type.shape)
        results = [kernel.stage(name) for name in kernel.results]
        self.results = tuple(Buffer(f"out{i}", s.dtype) for i, s in enumerate(results))
        for stage, buffer in zip(results, self.results, strict=True):
            self.lowering.views[stage.name] = _dense_view(stage, buffer)

    def emit(self, group: Group) -> None:
        """The loops of one group."""
        self.lowering.values.clear()
        lanes = cost.lanes(group.stages, self.target)
        self._keep_for_later_groups(group)
        if isinstance(group.stages[0], Scatter):
            emit_scatter(self.lowering, Work(group.stages[0], ()), lanes)
        elif not any(stage.axes for stage in group.stages):
            self._emit_numbers(group, StageEmitter(self.lowering, lanes))
        elif not self._emit_product(group):
            _GroupWriter(self, group, lanes).emit()

    def _emit_numbers(self, group: Group, emitter: StageEmitter) -> None:
        """Stages without axes."""
        works = [self.work(stage) for stage in group.stages]
        if is_elementwise(group):
            _emit_elementwise(emitter, works, Position({}))
            return
        for work in works:
            emit_scalar(emitter, work, self.add_workspace)

    def _emit_product(self, group: Group) -> bool:
        """Write the loops of ``group`` if it is a matrix product."""
        if not is_contraction(group.stages[0]):
            return False
        works = [self.work(stage) for stage in group.stages]
        return emit_product(self.lowering, works, self.target, self.add_workspace)

    def work(self, stage: Stage) -> Work:
        """A stage whose axes are all rows, stored if it has a view."""
        stored = stage.name in self.lowering.views
        return Work(stage, tuple(map(Index, stage.axes)) if stored else None)

    def add_workspace(self, dtype: DType, elements: Dim) -> Buffer:
        """Memory for ``elements`` intermediate values, handed to the kernel by its caller."""
        size = size_expr(elements, self.lowering.sizes)
        buffer = Buffer(f"w{len(self.workspace)}", dtype, "packed", size, alignment=64)
        self.workspace.append(buffer)
        return buffer

    def keep(self, stage: Stage) -> None:
        """Store all of ``stage`` in workspace."""
        extents = stage.shape if isinstance(stage, Scatter) else _extents(stage)
        buffer = self.add_workspace(stage.dtype, product(extents))
        self.lowering.views[stage.name] = _dense_view(stage, buffer)

    def _keep_for_later_groups(self, group: Group) -> None:
        members = {stage.name for stage in group.stages}
        others = (s for s in self.plan.kernel.stages if s.name not in members)
        read = {load.buffer for stage in others for load in loads_of(stage)}
        for stage in group.stages:
            if stage.name in read and stage.name not in self.lowering.views:
                self.keep(stage)


class _GroupWriter:
    """The nest of one group with rows."""

    def __init__(self, kernel: _KernelWriter, group: Group, lanes: int) -> None:
        self.kernel, self.group, self.lanes = kernel, group, lanes
        self.lowering = kernel.lowering
        self.across = self._lanes_across_rows()
        self.scratch = self._scratch()
        self.inner = {stage.name: group.inner(stage) for stage in group.stages}

    def emit(self) -> None:
        staged = [self.kernel.work(stage) for stage in self.group.stages]
        rows, works = merge_axes(self.group.rows, staged, self.lowering.views)
        if self.across:
            self._across(rows, works)
        else:
            self._within(rows, works)

    def _across(self, rows: Sequence[Axis], works: Sequence[Work]) -> None:
        *outer, last = rows
        elementwise = is_elementwise(self.group)
        wanted = self.lanes if elementwise else self.lanes * REDUCTION_VECTORS
        lanes = lanes_for(last, wanted)
        body = self._elementwise if elementwise else self._in_order

        once = sum(len(postorder(work.values)) for work in works) > LONG_BODY

        def row(at: Position, span: tuple[Expr, Expr]) -> None:
            here = partial(body, works)
            vectors(self.lowering, last, span, at, lanes, here, once=once)

        turned = turned_axis(self.lowering, works, rows, lanes) if elementwise else None
        if turned is not None:
            nest = Tiles(self.lowering, works, turned, last, lanes, self._elementwise, row)
            self._turned(nest, [axis for axis in outer if axis is not turned])
            return
        if not outer:
            cycles = self._cycles(())
            pooled(self.lowering, last, cycles, lanes, lambda b, e: row(Position({}), (b, e)))
            return
        whole = build.const(0), self.lowering.dim(last.extent)
        self._over_rows(outer, self._cycles(rows[1:]), lambda at: row(at, whole))

    def _turned(self, nest: Tiles, outer: Sequence[Axis]) -> None:
        if outer:
            whole = build.const(0), self.lowering.dim(nest.turned.extent)
            cycles = self._cycles((*outer[1:], nest.turned, nest.last))
            self._over_rows(outer, cycles, lambda at: emit_tiles(nest, at, whole))
            return
        cycles = self._cycles((nest.last,))

        def block(begin: Expr, end: Expr) -> None:
            emit_tiles(nest, Position({}), (begin, end))

        pooled(self.lowering, nest.turned, cycles, nest.lanes, block)

    def _within(self, rows: Sequence[Axis], works: Sequence[Work]) -> None:
        def row(at: Position) -> None:
            for buffer in self.scratch:
                self.lowering.emit.declare(buffer)
            self._in_order(works, at)

        self._over_rows(rows, self._cycles(rows[1:]), row)

    def _over_rows(
        self, rows: Sequence[Axis], cycles: float, body: Callable[[Position], None]
    ) -> None:
        first, *rest = rows

        def block(begin: Expr, end: Expr) -> None:
            with self.lowering.emit.loop(begin, end, hint="r") as loop:
                serial(self.lowering, rest, Position({first: loop.index}), body)

        pooled(self.lowering, first, cycles, 1, block)

    def _elementwise(self, works: Sequence[Work], at: Position) -> None:
        _emit_elementwise(StageEmitter(self.lowering, self.lanes), works, at)

    def _in_order(self, works: Sequence[Work], at: Position) -> None:
        emitter = StageEmitter(self.lowering, self.lanes)
        for work in works:
            emitter.emit(work, self.inner[work.stage.name], at)

    def _scratch(self) -> list[Buffer]:
        """Memory for what a row hands on beyond single values."""
        found: list[Buffer] = []
        views = self.lowering.views
        read = {load.buffer for stage in self.group.stages for load in loads_of(stage)}
        for stage in self.group.stages:
            inner = self.group.inner(stage)
            if not inner or stage.name not in read or stage.name in views:
                continue
            size = cost.known(axis.extent for axis in inner)
            if self.across or size is None or size * stage.dtype.size > SCRATCH_BYTES:
                self.kernel.keep(stage)
                continue
            buffer = Buffer(f"t{stage.name}", stage.dtype, "thread", build.const(size), 64)
            strides = affine.row_major(tuple(axis.extent for axis in inner))
            views[stage.name] = View(buffer, (0,) * len(self.group.rows) + strides)
            found.append(buffer)
        return found

    def _lanes_across_rows(self) -> bool:
        if is_elementwise(self.group):
            return True
        if not self.group.rows:
            return False
        across = within = 0
        for stage in self.group.stages:
            own = self.group.inner(stage) + (stage.over if isinstance(stage, Reduce) else ())
            for load in loads_of(stage):
                view = self.lowering.views.get(load.buffer)
                if view is None or not own:
                    continue
                across += affine.stride(load.index, view.strides, self.group.rows[-1]) == 1
                within += affine.stride(load.index, view.strides, own[-1]) == 1
        return across > within

    def _cycles(self, rows: Sequence[Axis]) -> float:
        """What one index of the first of the rows costs, ``rows`` being the others."""
        total = 0.0
        for stage in self.group.stages:
            over = stage.over if isinstance(stage, Reduce) else ()
            count = 1
            for axis in (*rows, *self.group.inner(stage), *over):
                count *= axis.extent if isinstance(axis.extent, int) else UNKNOWN_EXTENT
            total += count * cost.cycles(stage, self.lanes)
        return total


def _emit_elementwise(emitter: StageEmitter, works: Sequence[Work], at: Position) -> None:
    """All values, then all stores: a result may lie over a parameter."""
    lowering = emitter.lowering
    for work in works:
        lowering.values[work.stage.name] = lowering.vector(work.stage.value, at)
    for work in works:
        emitter.store(work, lowering.values[work.stage.name], at)


def _extents(stage: Stage) -> tuple[Dim, ...]:
    return tuple(axis.extent for axis in stage.axes)


def _dense_view(stage: Stage, buffer: Buffer) -> View:
    return View.dense(buffer, stage.shape if isinstance(stage, Scatter) else _extents(stage))
