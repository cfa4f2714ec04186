"""Chooses tiles, packing and tasks for a matrix product, from its shape and the target alone.

Every element is one chain of additions over increasing k, held in a register from first to last:
nothing chosen here changes a bit of the result. Blocking k would spill that register; measured on
cores with 1 MB of L2 it never pays, since both panels stream from L2 as fast as they are used.

A tile of ``rows`` x ``vectors`` accumulators reaches the peak as soon as it has more multiply-adds
than loads and enough of them in flight. More than eight rows lose: rows whose distance is a power
of two compete for the ways of one L1 set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType
from graphc.ir.target import Target

MAX_ROWS = 8
IN_FLIGHT = 8
"""Multiply-adds that must be independent: latency (4 cycles) times throughput (2 a cycle)."""
TYPICAL = 64
"""What a size is taken for that is only known when the kernel runs: batches are that large."""
PACKING_PAYS = 256
"""Rows from which copying a ``b`` beyond half of L2 costs less than its wide stride."""
FAR = 8
"""How many times L2 a ``b`` is that comes from so far that it is read in order, once."""
TASK_OPERATIONS = 1 << 21
"""Floating-point operations that are worth a task: about 20 us of one core."""
MAX_TASKS = 256


@dataclass(frozen=True)
class Tile:
    """Accumulators of the innermost loop: ``rows`` x ``vectors`` vectors of ``lanes``."""

    rows: int
    vectors: int
    lanes: int

    @property
    def cols(self) -> int:
        return self.vectors * self.lanes

    @property
    def cycles(self) -> float:
        """Issue slots of one step in k: multiply-adds, or loads, or waiting for the chain.

        Loads beside multiply-adds are not quite free.
        """
        loads = self.rows + self.vectors
        return max(self.rows * self.vectors, loads, IN_FLIGHT) + loads / 8

    def narrowed(self, rows: int, vectors: int) -> Tile:
        return Tile(rows, vectors, self.lanes)


@dataclass(frozen=True)
class Shape:
    """The sizes of a matrix product; ``dtype`` is that of its elements."""

    rows: Dim
    cols: Dim
    depth: Dim
    batch: Dim
    dtype: DType


@dataclass(frozen=True)
class Grid:
    """How the result is cut into tasks: whole tiles, except at its edges."""

    rows: int
    """Rows of one task, a multiple of the tile's."""
    panels: int
    """Tile columns of one task."""


def choose_tile(shape: Shape, target: Target) -> Tile:
    """The tile with the fewest modelled cycles over the whole result."""
    lanes = target.lanes(shape.dtype.size)
    rows = shape.rows if isinstance(shape.rows, int) else TYPICAL
    cols = shape.cols if isinstance(shape.cols, int) else TYPICAL * lanes

    def cost(tile: Tile) -> float:
        return sum(
            high * across * tile.narrowed(r, v).cycles
            for r, high in _pieces(rows, tile.rows)
            for v, across in _pieces(wide, tile.vectors)
        )

    wide = max(1, -(-cols // lanes))
    return min(_candidates(max(1, rows), wide, lanes, target), key=cost)


def choose_unroll(depth: Dim) -> int:
    """Steps in k of one iteration: never a remainder loop, which costs short sums a third."""
    if not isinstance(depth, int):
        return 1
    return next(n for n in (4, 2, 1) if depth % n == 0)


class Packing(Enum):
    """When a ``b`` with contiguous columns is copied into panels all the same."""

    NEVER = auto()
    MANY_ROWS = auto()
    """Decided in each run: with more than ``MAX_ROWS`` rows, so that it is read more than once."""
    ALWAYS = auto()


def packing_of_contiguous(shape: Shape, target: Target) -> Packing:
    """Whether a ``b`` with contiguous columns is worth copying into panels all the same.

    Every tile down a panel reads it again, a page or more between its rows.
    """
    if not isinstance(shape.cols, int):
        return Packing.NEVER
    depth = shape.depth if isinstance(shape.depth, int) else TYPICAL
    bytes_ = shape.cols * depth * shape.dtype.size
    far = bytes_ >= FAR * target.l2_bytes and depth is shape.depth
    if not isinstance(shape.rows, int):
        return Packing.MANY_ROWS if far else Packing.NEVER
    if shape.rows >= PACKING_PAYS:
        return Packing.ALWAYS if bytes_ > target.l2_bytes // 2 else Packing.NEVER
    return Packing.ALWAYS if far and shape.rows > MAX_ROWS else Packing.NEVER


def choose_grid(shape: Shape, tile: Tile, whole_rows: bool) -> Grid:
    """Tasks of about ``TASK_OPERATIONS``, shaped to read as little as possible.

    ``whole_rows``: each task takes all rows, so that it alone reads its panels of ``b``.
    """
    rows = shape.rows if isinstance(shape.rows, int) else 4 * TYPICAL
    cols = shape.cols if isinstance(shape.cols, int) else TYPICAL * tile.lanes
    depth = shape.depth if isinstance(shape.depth, int) else TYPICAL
    batch = shape.batch if isinstance(shape.batch, int) else 1
    high, wide = -(-rows // tile.rows), -(-cols // tile.cols)
    work = 2 * batch * rows * cols * depth
    wanted = min(work // TASK_OPERATIONS, MAX_TASKS) // max(1, batch)
    best = min(
        _cuts(high, wide, max(1, wanted), whole_rows),
        key=lambda cut: cut[0] * cols + cut[1] * rows,
    )
    return Grid(tile.rows * -(-high // best[0]), -(-wide // best[1]))


def _cuts(high: int, wide: int, wanted: int, whole_rows: bool) -> Iterator[tuple[int, int]]:
    """Ways to cut ``high`` x ``wide`` tiles into ``wanted`` parts, or as many as there are."""
    for across in range(1, max(1, min(wide, wanted)) + 1):
        down = 1 if whole_rows else max(1, min(high, -(-wanted // across)))
        if down * across >= min(wanted, wide if whole_rows else high * wide):
            yield down, across


def _candidates(rows: int, wide: int, lanes: int, target: Target) -> Iterator[Tile]:
    """Tiles whose accumulators, one row of ``b`` and one element of ``a`` fit the registers."""
    spare = 1 if target.has_fma else 2
    most = 4 if rows >= 4 else 8
    for vectors in range(1, min(most, wide) + 1):
        fitting = (target.vector_registers - spare - vectors) // vectors
        if fitting >= 1:
            yield Tile(min(MAX_ROWS, fitting, rows), vectors, lanes)


def _pieces(total: int, step: int) -> tuple[tuple[int, int], ...]:
    """Sizes and how many of each: whole steps, and what is left."""
    return ((step, total // step), (total % step, 1 if total % step else 0))
