"""The schedule of matrix products: tiles in registers, panels where packing pays, pooled tasks.

What the parts decide: ``gemm_match`` what is a matrix product, ``gemm_blocking`` sizes,
``gemm_pack`` copies, ``gemm_micro`` the innermost loops. Here is what lies between: the tasks, the
tiles of a task, the edges of the result, and what is done with finished sums before they leave
their registers.

Every element is one chain of additions over increasing k, whatever its place: bits depend on
shapes and target, never on tasks, threads or neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from graphc.backends.cpu.schedules import gemm_blocking as blocking
from graphc.backends.cpu.schedules.gemm_blocking import Grid, Packing, Tile
from graphc.backends.cpu.schedules.gemm_match import Contraction, Factor, count, match
from graphc.backends.cpu.schedules.gemm_micro import Panel, Sums, Walk, sums
from graphc.backends.cpu.schedules.gemm_pack import Packer, Strip
from graphc.backends.cpu.schedules.nest import tail_mask
from graphc.backends.cpu.schedules.stages import StageEmitter
from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter, Loop
from graphc.backends.loops.ir import Buffer, Const, Expr
from graphc.backends.loops.lower import Lowering, Position
from graphc.backends.loops.merge import Work
from graphc.ir.compute.expr import Axis, Load
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType
from graphc.ir.target import Target

Reserve = Callable[[DType, Dim], Buffer]
"""Makes workspace for so many elements."""

PACK_ROWS = 64
"""Rows of ``a`` that one packing task computes."""


def emit_product(
    lowering: Lowering, works: Sequence[Work], target: Target, reserve: Reserve
) -> bool:
    """Write the loops of ``works`` if they are a matrix product; say whether they were."""
    found = match(works, lowering.views)
    if found is None:
        return False
    _Product(lowering, found, target, reserve).emit_loops()
    return True


@dataclass(frozen=True)
class _Place:
    """Part of the result: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    top: Expr
    bottom: Expr
    left: Expr
    right: Expr
    at: Position
    """Where in the batch."""


class _Product:
    """One matrix product while it is written."""

    def __init__(
        self, lowering: Lowering, found: Contraction, target: Target, reserve: Reserve
    ) -> None:
        self.lowering = lowering
        self.emit: Emitter = lowering.emit
        self.found = found
        self.target = target
        self.packer = Packer(lowering, found)
        shape = blocking.Shape(
            found.row_count, found.cols.extent, found.depth, count(found.batch), found.dtype
        )
        self.tile = blocking.choose_tile(shape, target)
        self.packing = Packing.ALWAYS
        self.packed_a = self._reserve_a(reserve)
        self.packed_b = self._reserve_b(reserve, shape)
        self.shape = shape
        self.packs_in_task = self.packed_b is not None and self._is_small()
        self.grid = blocking.choose_grid(shape, self.tile, self.packs_in_task)
        self.height = lowering.dim(found.row_count)
        self.width = lowering.dim(found.cols.extent)
        self.extents = tuple(lowering.dim(axis.extent) for axis in found.over)
        self.unroll = blocking.choose_unroll(found.over[-1].extent if found.over else 1)

    def emit_loops(self) -> None:
        """Packing, where needed, as parallel loops of their own; then the tasks."""
        if count((*self.found.batch, self.found.cols)) * self.found.row_count == 0:
            return
        if self.packed_a is not None:
            self._pack_rows(self.packed_a)
        if self.packing is Packing.MANY_ROWS:
            self._packed_if_it_pays()
        else:
            self._packed_tasks()

    def _packed_tasks(self) -> None:
        if self.packed_b is not None and not self.packs_in_task:
            self._pack_columns(self.packed_b)
        self._tasks()

    def _packed_if_it_pays(self) -> None:
        """Tasks that pack ``b``, and others that read it where it is, for few rows."""
        most = build.const(blocking.MAX_ROWS)
        with self.emit.when(self.emit.op("lt", most, self.height)):
            self._packed_tasks()
        self.packed_b, self.packs_in_task = None, False
        self.grid = blocking.choose_grid(self.shape, self.tile, whole_rows=True)
        with self.emit.when(self.emit.op("le", self.height, most)):
            self._tasks()

    # -- Packing ---------------------------------------------------------------------------------

    def _reserve_a(self, reserve: Reserve) -> Buffer | None:
        found = self.found
        if found.a.in_place((found.rows, *found.over)):
            return None
        size = self._batch_of(found.a) * found.row_count * found.depth
        return reserve(found.dtype, size)

    def _reserve_b(self, reserve: Reserve, shape: blocking.Shape) -> Buffer | None:
        found = self.found
        if found.b.in_place(found.over) and found.b.stride(found.cols) == 1:
            self.packing = blocking.packing_of_contiguous(shape, self.target)
        if self.packing is Packing.NEVER:
            return None
        return reserve(found.dtype, self._batch_of(found.b) * self._one_b)

    def _is_small(self) -> bool:
        """Whether tasks may take all rows, so that each packs the panels that it alone reads.

        Where rows are known in a run alone, they count as few: ``b`` is large, so tasks are many.
        """
        alone = all(self.found.b.varies(axis) for axis in self.found.batch)
        rows = self.shape.rows
        few = (
            self.packing is Packing.MANY_ROWS
            if not isinstance(rows, int)
            else (rows < blocking.PACKING_PAYS)
        )
        return alone and few

    def _batch_of(self, factor: Factor) -> Dim:
        return count(axis for axis in self.found.batch if factor.varies(axis))

    @property
    def _one_b(self) -> Dim:
        lanes = self.tile.lanes
        return (self.found.cols.extent + (lanes - 1)) // lanes * lanes * self.found.depth

    def _pack_rows(self, target: Buffer) -> None:
        """Compute ``a`` row by row, each batch it varies along once."""
        found, emit = self.found, self.emit
        axes = [axis for axis in found.batch if found.a.varies(axis)]
        blocks = build.ceildiv(self.height, PACK_ROWS)
        tasks = emit.mul(self.lowering.dim(count(axes)), emit.let(blocks))
        with self._pooled(tasks) as loop:
            at = self._batch_at(axes, emit.op("floordiv", loop.index, blocks))
            top = emit.mul(emit.op("mod", loop.index, blocks), PACK_ROWS)
            bottom = emit.minimum(emit.add(top, PACK_ROWS), self.height)
            with emit.loop(top, bottom, hint="i") as row:
                place = self._with_row(at, row.index)
                number = emit.add(emit.mul(self.lowering.flat(axes, at), self.height), row.index)
                offset = emit.mul(number, self.lowering.dim(found.depth))
                self.packer.rows(target, offset, place, self.tile.lanes)

    def _pack_columns(self, target: Buffer) -> None:
        """Copy all panels of ``b``, each batch it varies along once."""
        emit = self.emit
        axes = [axis for axis in self.found.batch if self.found.b.varies(axis)]
        panels = emit.let(build.ceildiv(self.width, self.tile.cols))
        tasks = emit.mul(self.lowering.dim(count(axes)), panels)
        with self._pooled(tasks) as loop:
            at = self._batch_at(axes, emit.op("floordiv", loop.index, panels))
            left = emit.mul(emit.op("mod", loop.index, panels), self.tile.cols)
            right = emit.minimum(emit.add(left, self.tile.cols), self.width)
            self._strips(left, right, lambda strip: self._pack_strip(target, strip, at))

    def _pack_strip(self, target: Buffer, strip: Strip, at: Position) -> None:
        self.packer.columns(target, self._panel(strip, at), strip, at)

    def _panel(self, strip: Strip, at: Position) -> Expr:
        """Where the panel of a strip begins."""
        origin = self.packer.origin(self.found.b, at, self._one_b)
        depth = self.lowering.dim(self.found.depth)
        return self.emit.add(origin, self.emit.mul(strip.begin, depth))

    # -- Tasks and tiles -------------------------------------------------------------------------

    def _tasks(self) -> None:
        """The result in blocks of the grid, as tasks for the thread pool."""
        emit, grid = self.emit, self.grid
        panels = emit.let(build.ceildiv(self.width, self.tile.cols))
        across = self._panels_of_task(grid, panels)
        wide = emit.op("floordiv", emit.add(panels, emit.sub(across, 1)), across)
        high = emit.let(build.ceildiv(self.height, grid.rows))
        tasks = emit.mul(emit.mul(self.lowering.dim(count(self.found.batch)), high), wide)
        with self._pooled(tasks) as loop:
            rest = emit.op("floordiv", loop.index, wide)
            at = self._batch_at(self.found.batch, emit.op("floordiv", rest, high))
            top = emit.mul(emit.op("mod", rest, high), grid.rows)
            cols = emit.mul(across, self.tile.cols)
            left = emit.mul(emit.op("mod", loop.index, wide), cols)
            bottom = emit.minimum(emit.add(top, grid.rows), self.height)
            right = emit.minimum(emit.add(left, cols), self.width)
            place = _Place(top, bottom, left, right, at)
            self._strips(left, right, lambda strip: self._strip(strip, place))

    def _pooled(self, tasks: Expr) -> AbstractContextManager[Loop]:
        """Tasks for the thread pool; what is known to be one task is none for the pool."""
        alone = isinstance(tasks, Const) and tasks.value <= 1
        return self.emit.loop(0, tasks, kind="serial" if alone else "pooled", hint="task")

    def _panels_of_task(self, grid: Grid, panels: Expr) -> Expr:
        """Panels of one task: all of them where, at run time, there is too little to share."""
        shared = build.const(grid.panels)
        if isinstance(self.found.row_count * self.found.cols.extent * self.found.depth, int):
            return shared
        emit, depth = self.emit, self.lowering.dim(self.found.depth)
        products = emit.mul(emit.mul(self.height, self.width), depth)
        little = emit.op("lt", products, build.const(blocking.TASK_OPERATIONS // 2))
        return emit.op("select", little, emit.op("max", panels, build.const(1)), shared)

    def _batch_at(self, axes: Sequence[Axis], number: Expr) -> Position:
        """The position of element ``number`` among ``axes``; 0 along the others of the batch."""
        found: dict[Axis, Expr] = dict.fromkeys(self.found.batch, build.const(0))
        for axis in reversed(axes):
            extent = self.lowering.dim(axis.extent)
            found[axis] = number if axis is axes[0] else self.emit.op("mod", number, extent)
            number = self.emit.op("floordiv", number, extent)
        return Position(found)

    def _strips(self, left: Expr, right: Expr, body: Callable[[Strip], None]) -> None:
        """Columns ``left`` to ``right``, as wide as the tile, then what the last panel has left.

        A known rest is one narrower strip; an unknown one is taken a masked vector at a time.
        """
        emit, tile, width = self.emit, self.tile, self.found.cols.extent
        whole = self._whole_tiles()
        if not isinstance(width, int) or width >= tile.cols:
            with emit.loop(left, emit.minimum(right, whole), tile.cols, hint="j") as loop:
                body(Strip(loop.index, self.width, tile.vectors, tile.lanes, None))
        step = width % tile.cols if isinstance(width, int) else tile.lanes
        if step == 0:
            return
        assert isinstance(step, int)
        count_ = -(-step // tile.lanes)
        with emit.loop(emit.op("max", left, whole), right, step, hint="j") as loop:
            last = emit.add(loop.index, (count_ - 1) * tile.lanes)
            mask = None
            if not isinstance(width, int) or step % tile.lanes:
                mask = tail_mask(emit, last, self.width, tile.lanes)
            body(Strip(loop.index, self.width, count_, tile.lanes, mask))

    def _whole_tiles(self) -> Expr:
        """The columns that whole tiles cover."""
        if isinstance(self.found.cols.extent, int):
            return build.const(self.found.cols.extent // self.tile.cols * self.tile.cols)
        count_ = self.emit.op("floordiv", self.width, build.const(self.tile.cols))
        return self.emit.mul(count_, self.tile.cols)

    def _strip(self, strip: Strip, place: _Place) -> None:
        """All tiles of a task in one strip: whole ones, then the rows that are left."""
        emit = self.emit
        if self.packed_b is not None and self.packs_in_task:
            self._pack_strip(self.packed_b, strip, place.at)
        start = place.top
        for rows in self._row_steps():
            length = emit.sub(place.bottom, start)
            whole = emit.mul(emit.op("floordiv", length, build.const(rows)), rows)
            stop = emit.add(start, whole)
            with emit.loop(start, stop, rows, hint="i") as loop:
                tile = Tile(rows, strip.vectors, strip.lanes)
                self._tile(tile, loop.index, strip, place.at)
            start = stop

    def _row_steps(self) -> tuple[int, ...]:
        """Heights of tiles, which together cover any task: known rests have a tile of their own."""
        rows, most = self.found.row_count, self.tile.rows
        if isinstance(rows, int):
            rest = rows % most
            whole = (most,) if rows >= most else ()
            return (*whole, rest) if rest else whole
        powers = (1 << n for n in reversed(range(most.bit_length())))
        return (most, *(power for power in powers if power < most))

    def _tile(self, tile: Tile, row: Expr, strip: Strip, at: Position) -> None:
        """One tile: its sums, and what becomes of them."""
        masks = strip.masks if self.packed_b is None else (None,) * strip.vectors
        origin = self._with_row(at, row)
        origin = Position({**origin.axes, self.found.cols: strip.begin})
        panel = Panel(
            tile=tile,
            a=self._walk_a(origin, row),
            b=self._walk_b(origin, strip),
            masks=masks,
            extents=self.extents,
            unroll=self.unroll,
            fused=self.target.has_fma,
        )
        self._finish(tile, sums(self.emit, panel), row, strip, at)

    def _walk_a(self, at: Position, row: Expr) -> Walk:
        found = self.found
        if self.packed_a is None:
            return self._walk(found.a, found.rows, at)
        depth = self.lowering.dim(found.depth)
        origin = self.packer.origin(found.a, at, found.row_count * found.depth)
        offset = self.emit.add(origin, self.emit.mul(row, depth))
        return Walk(self.packed_a, offset, depth, self._dense_steps(1))

    def _walk_b(self, at: Position, strip: Strip) -> Walk:
        lanes = build.const(strip.lanes)
        if self.packed_b is None:
            there = self._walk(self.found.b, self.found.cols, at)
            return Walk(there.buffer, there.offset, lanes, there.over)
        steps = self._dense_steps(strip.width)
        return Walk(self.packed_b, self._panel(strip, at), lanes, steps)

    def _walk(self, factor: Factor, axis: Axis | None, at: Position) -> Walk:
        """A factor read where it is, from ``at`` and the first element of the sum on."""
        assert factor.view is not None
        assert isinstance(factor.value, Load)
        first = Position({**at.axes, **dict.fromkeys(self.found.over, build.const(0))})
        index = [self.lowering.value(i, first) for i in factor.value.index]
        offset = self.lowering.offset(index, factor.view.strides)
        across, *over = (self._step(factor, x) for x in (axis, *self.found.over))
        return Walk(factor.view.buffer, offset, across, tuple(over))

    def _step(self, factor: Factor, axis: Axis | None) -> Expr:
        stride = factor.stride(axis)
        assert stride is not None
        return self.lowering.dim(stride)

    def _dense_steps(self, unit: int) -> tuple[Expr, ...]:
        """Distances along the axes of the sum where ``unit`` elements are kept for each k."""
        strides = affine.row_major(tuple(axis.extent for axis in self.found.over))
        return tuple(self.emit.mul(self.lowering.dim(stride), unit) for stride in strides)

    def _finish(self, tile: Tile, found: Sums, row: Expr, strip: Strip, at: Position) -> None:
        """Compute the outputs from the sums, vector by vector, and store what leaves."""
        stages = StageEmitter(self.lowering, tile.lanes)
        for r in range(tile.rows):
            line = self._with_row(at, self.emit.add(row, r))
            for v, mask in enumerate(strip.masks):
                begin = self.emit.add(strip.begin, v * tile.lanes)
                axes = {**line.axes, self.found.cols: begin}
                place = Position(axes, self.found.cols, tile.lanes, mask)
                values = self._outputs(found[r * tile.vectors + v], place)
                for work, value in zip(self._works, values, strict=True):
                    stages.store(work, value, place)

    @property
    def _works(self) -> tuple[Work, ...]:
        return (self.found.product, *self.found.outputs)

    def _outputs(self, total: Expr, at: Position) -> list[Expr]:
        """The value of every stage at ``at``, where the sums are ``total``."""
        self.lowering.values[self.found.product.stage.name] = total
        values = [total]
        for work in self.found.outputs:
            value = self.lowering.vector(work.stage.value, at)
            self.lowering.values[work.stage.name] = value
            values.append(value)
        return values

    def _with_row(self, at: Position, row: Expr) -> Position:
        rows = self.found.rows
        return at if rows is None else Position({**at.axes, rows: row})
