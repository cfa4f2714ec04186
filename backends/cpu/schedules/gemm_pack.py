"""Copies factors of a matrix product to where the innermost loop reads them in order.

``b`` goes into panels as wide as a tile: for each k, the panel's columns side by side, padded to
whole vectors (the padding is never stored from, whatever it holds). Panels follow each other, so
that the one that begins at column j begins at element j * depth. ``a`` is only packed where it
has to be computed first, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.backends.cpu.schedules.gemm_match import Contraction, Factor
from graphc.backends.cpu.schedules.nest import serial, vectors, whole_vectors
from graphc.backends.cpu.schedules.transposed import transpose
from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import Buffer, Expr
from graphc.backends.loops.lower import Lowering, Position
from graphc.ir.dims import Dim


@dataclass(frozen=True)
class Strip:
    """One panel of columns: ``vectors`` of ``lanes`` from column ``begin`` on.

    The last vector is partial if it has a ``mask``; ``end`` is the number of columns.
    """

    begin: Expr
    end: Expr
    vectors: int
    lanes: int
    mask: Expr | None

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def masks(self) -> tuple[Expr | None, ...]:
        return (None,) * (self.vectors - 1) + (self.mask,)


@dataclass(frozen=True)
class Packer:
    """Packs factors of ``contraction`` through ``lowering``."""

    lowering: Lowering
    contraction: Contraction

    @property
    def emit(self) -> Emitter:
        return self.lowering.emit

    def origin(self, factor: Factor, at: Position, one: Dim) -> Expr:
        """Where the elements of the batch that ``at`` lies in begin; ``one`` has that many."""
        axes = [axis for axis in self.contraction.batch if factor.varies(axis)]
        return self.emit.mul(self.lowering.flat(axes, at), self.lowering.dim(one))

    def columns(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """A panel of ``b``, into ``target`` from ``offset`` on."""
        over, b = self.contraction.over, self.contraction.b
        if strip.lanes > 1 and over and b.in_place(over) and b.stride(over[-1]) == 1:
            self._transposed(target, offset, strip, at)
            return
        serial(self.lowering, over, at, lambda place: self._row(target, offset, strip, place))

    def rows(self, target: Buffer, offset: Expr, at: Position, lanes: int) -> None:
        """The row of ``a`` at ``at``, into ``target`` from ``offset`` on."""
        over, value = self.contraction.over, self.contraction.a.value

        def element(place: Position) -> None:
            to = self.emit.add(offset, self._step(place))
            found = self.emit.wide(self.lowering.value(value, place), place.lanes)
            self.emit.store(target, to, found, place.mask)

        def along(place: Position) -> None:
            span = build.const(0), self.lowering.dim(over[-1].extent)
            vectors(self.lowering, over[-1], span, place, lanes, element)

        if over:
            serial(self.lowering, over[:-1], at, along)
        else:
            element(at)

    def _step(self, at: Position) -> Expr:
        """The number of the product at ``at`` within its sum."""
        over = self.contraction.over
        strides = affine.row_major(tuple(axis.extent for axis in over))
        return self.lowering.offset([at.axes[axis] for axis in over], strides)

    def _row(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """One k of a panel, computed vector by vector."""
        cols = self.contraction.cols
        to = self.emit.add(offset, self.emit.mul(self._step(at), strip.width))
        for v, mask in enumerate(strip.masks):
            begin = self.emit.add(strip.begin, v * strip.lanes)
            place = Position({**at.axes, cols: begin}, cols, strip.lanes, mask)
            found = self.lowering.vector(self.contraction.b.value, place)
            self.emit.store(target, self.emit.add(to, v * strip.lanes), found)

    def _transposed(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """A panel whose columns lie along k in memory: squares of vectors, turned by shuffles.

        A known rest of k is a masked square; an unknown one is packed row by row.
        """
        *outer, inner = self.contraction.over
        emit, end = self.emit, self.lowering.dim(inner.extent)

        def square(here: Position) -> None:
            self._square(target, offset, strip, here)

        def along(place: Position) -> None:
            start = build.const(0)
            if isinstance(inner.extent, int):
                vectors(self.lowering, inner, (start, end), place, strip.lanes, square)
                return
            whole = whole_vectors(emit, start, end, strip.lanes)
            with emit.loop(start, whole, strip.lanes, hint="k") as loop:
                square(Position({**place.axes, inner: loop.index}, inner, strip.lanes))
            with emit.loop(whole, end, hint="k") as loop:
                here = Position({**place.axes, inner: loop.index})
                self._row(target, offset, strip, here)

        serial(self.lowering, outer, at, along)

    def _square(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """``lanes`` values of k, or those that the position's mask leaves, for a whole panel."""
        lanes, cols = strip.lanes, self.contraction.cols
        depth = self.contraction.over[-1].extent
        known = lanes if at.mask is None or not isinstance(depth, int) else depth % lanes
        to = self.emit.add(offset, self.emit.mul(self._step(at), strip.width))
        for v, mask in enumerate(strip.masks):
            begin = self.emit.add(strip.begin, v * lanes)
            lines = []
            for n in range(lanes):
                column = self.emit.add(begin, n)
                if mask is not None:
                    column = self.emit.minimum(column, self.emit.sub(strip.end, 1))
                place = replace(at, axes={**at.axes, cols: column})
                lines.append(self.lowering.vector(self.contraction.b.value, place))
            for n, line in enumerate(transpose(self.lowering, lines)[:known]):
                self.emit.store(target, self.emit.add(to, n * strip.width + v * lanes), line)
