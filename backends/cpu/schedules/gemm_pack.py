"""Copies factors of a matrix product to where the innermost loop reads them in order.

``b`` goes into panels as wide as a tile: for each k, the panel's columns side by side, padded to
whole vectors (the padding is never stored from, whatever it holds). Panels follow each other, so
that the one that begins at column j begins at element j * depth. ``a`` is only packed where it
has to be computed first, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.backends.cpu.schedules.gemm_match import Contraction, Factor
from graphc.backends.cpu.schedules.nest import serial, vectors
from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import Buffer, Const, Expr, Shuffle
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
        strides = affine.row_major(tuple(axis.extent for axis in over))
        if strip.lanes > 1 and over and b.in_place(over) and b.stride(over[-1]) == 1:
            self._transposed(target, offset, strip, at)
            return

        def element(place: Position) -> None:
            index = [place.axes[axis] for axis in over]
            step = self.emit.mul(self.lowering.offset(index, strides), strip.width)
            self._row(target, self.emit.add(offset, step), strip, place)

        serial(self.lowering, over, at, element)

    def rows(self, target: Buffer, offset: Expr, at: Position, lanes: int) -> None:
        """The row of ``a`` at ``at``, into ``target`` from ``offset`` on."""
        over, value = self.contraction.over, self.contraction.a.value
        strides = affine.row_major(tuple(axis.extent for axis in over))

        def element(place: Position) -> None:
            index = [place.axes[axis] for axis in over]
            step = self.lowering.offset(index, strides)
            found = self.emit.wide(self.lowering.value(value, place), place.lanes)
            self.emit.store(target, self.emit.add(offset, step), found, place.mask)

        def along(place: Position) -> None:
            end = self.lowering.dim(over[-1].extent)
            vectors(self.lowering, over[-1], (build.const(0), end), place, lanes, element)

        if over:
            serial(self.lowering, over[:-1], at, along)
        else:
            element(at)

    def _row(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """One k of a panel, computed vector by vector."""
        cols = self.contraction.cols
        for v, mask in enumerate(strip.masks):
            begin = self.emit.add(strip.begin, v * strip.lanes)
            place = Position({**at.axes, cols: begin}, cols, strip.lanes, mask)
            found = self.lowering.vector(self.contraction.b.value, place)
            self.emit.store(target, self.emit.add(offset, v * strip.lanes), found)

    def _transposed(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """A panel whose columns lie along k in memory: squares of vectors, turned by shuffles."""
        *outer, inner = self.contraction.over
        strides = affine.row_major(tuple(axis.extent for axis in self.contraction.over))

        def along(place: Position) -> None:
            index = [place.axes[axis] for axis in outer]
            start = self.lowering.offset(index, strides[:-1])

            def square(here: Position) -> None:
                k = self.emit.add(start, here.axes[inner])
                to = self.emit.add(offset, self.emit.mul(k, strip.width))
                self._square(target, to, strip, here)

            end = self.lowering.dim(inner.extent)
            vectors(self.lowering, inner, (build.const(0), end), place, strip.lanes, square)

        serial(self.lowering, outer, at, along)

    def _square(self, target: Buffer, offset: Expr, strip: Strip, at: Position) -> None:
        """``lanes`` values of k (those in the position's mask) for each vector of the panel."""
        lanes, cols = strip.lanes, self.contraction.cols
        for v, mask in enumerate(strip.masks):
            begin = self.emit.add(strip.begin, v * lanes)
            lines = []
            for n in range(lanes):
                column = self.emit.add(begin, n)
                if mask is not None:
                    column = self.emit.minimum(column, self.emit.sub(strip.end, 1))
                place = replace(at, axes={**at.axes, cols: column})
                lines.append(self.lowering.vector(self.contraction.b.value, place))
            self._store_lines(target, offset, strip, v, transposed(self.emit, lines), at)

    def _store_lines(
        self,
        target: Buffer,
        offset: Expr,
        strip: Strip,
        v: int,
        lines: Sequence[Expr],
        at: Position,
    ) -> None:
        """Each line at its k; a line beyond the last k would lie in the next panel."""
        assert at.vector is not None
        left = self.emit.sub(self.lowering.dim(at.vector.extent), at.axes[at.vector])
        for n, line in enumerate(lines):
            to = self.emit.add(offset, n * strip.width + v * strip.lanes)
            if at.mask is None or (isinstance(left, Const) and n < left.value):
                self.emit.store(target, to, line)
            elif not isinstance(left, Const):
                with self.emit.when(self.emit.op("lt", build.const(n), left)):
                    self.emit.store(target, to, line)


def transposed(emit: Emitter, lines: Sequence[Expr]) -> list[Expr]:
    """A square of vectors with rows and columns exchanged, in log2(lanes) rounds of shuffles.

    Round d exchanges the off-diagonal blocks of size d of each pair of lines d apart.
    """
    found, size = list(lines), len(lines)
    distance = 1
    while distance < size:
        low = [i if not i & distance else size + i - distance for i in range(size)]
        high = [i + distance if not i & distance else size + i for i in range(size)]
        for i in range(size):
            if i & distance:
                continue
            a, b = found[i], found[i + distance]
            found[i] = emit.let(Shuffle(a, b, tuple(low), a.type))
            found[i + distance] = emit.let(Shuffle(a, b, tuple(high), a.type))
        distance *= 2
    return found
