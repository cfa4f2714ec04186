"""What reductions work on: NumPy arrays, or nothing but sizes where only the cost is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.compiler.collectives import SCRATCH, Combine, Copy, Plan
from graphc.ir.dtypes import DType, as_dtype, float32, float64

Array = npt.NDArray[Any]

_NUMERIC = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
_LOGICAL = {"any": np.logical_or, "all": np.logical_and}


def combiner_of(name: str, dtype: DType) -> np.ufunc:
    """What combines two operands of ``dtype``: sum, prod, max or min; of bools any or all.

    It works in ``dtype``: integers wrap, and float16 and bfloat16 are rounded after each
    combination. A NaN in either operand is the result of max and of min.

    Raises:
        ValueError: there is no such combiner of this dtype.
    """
    found = (_LOGICAL if dtype.is_bool else _NUMERIC).get(name)
    if found is None:
        raise ValueError(f"there is no reduction {name!r} of {dtype.name}")
    return found


def is_predefined(name: str, dtype: DType) -> bool:
    """Whether MPI has this combiner of ``dtype`` with the same meaning.

    It knows neither float16 nor bfloat16, and says nothing of NaN in max and min.
    """
    if dtype.is_bool:
        return name in _LOGICAL
    if dtype.is_float:
        return dtype in (float32, float64) and name in ("sum", "prod")
    return name in _NUMERIC


class Arrays:
    """Rows that are contiguous arrays of one dtype and length, combined by ``combiner``.

    The plan overwrites them; the first becomes the result. One reduction after another may use
    them, with the same scratch memory.

    Raises:
        ValueError: rows that differ or are not contiguous, or no such combiner.
    """

    def __init__(self, rows: Sequence[Array], combiner: str) -> None:
        for row in rows:
            alike = row.dtype == rows[0].dtype and row.shape == rows[0].shape
            if not alike or row.ndim != 1 or not row.flags.c_contiguous:
                raise ValueError(
                    f"the rows of a reduction are contiguous and alike, not {row.dtype} "
                    f"{row.shape} beside {rows[0].dtype} {rows[0].shape}"
                )
        self._combiner = combiner_of(combiner, as_dtype(rows[0].dtype))
        self._rows, self._itemsize = len(rows), rows[0].itemsize
        self._scratch = np.empty(0, rows[0].dtype)
        self._places = {**dict(enumerate(rows)), SCRATCH: self._scratch}
        self._bytes = {place: memory.view(np.uint8) for place, memory in self._places.items()}

    def reserve(self, plan: Plan) -> None:
        """Allocate the scratch memory of ``plan``, if there is not enough from another.

        Raises:
            ValueError: a plan for other rows.
        """
        rows, (elements,) = self._rows, self._places[0].shape
        if (rows, elements) != (plan.rows, plan.elements):
            raise ValueError(
                f"the plan is for {plan.rows} rows of {plan.elements} elements, not for {rows} "
                f"of {elements}"
            )
        if len(self._scratch) < plan.scratch:
            self._scratch = np.empty(plan.scratch, self._scratch.dtype)
            self._bytes[SCRATCH] = self._scratch.view(np.uint8)
            self._places[SCRATCH] = self._scratch

    def part(self, place: int, first: int, count: int) -> Array:
        """The bytes of the elements: not every dtype of ours is one of buffers."""
        return self._bytes[place][first * self._itemsize : (first + count) * self._itemsize]

    def row(self) -> Array:
        """The first row; its dtype tells MPI what it is made of."""
        return self._places[0]

    def combine(self, move: Combine) -> None:
        into, source = self._operands(move)
        with np.errstate(all="ignore"):  # infinities and NaN follow IEEE
            self._combiner(into, source, out=into)

    def copy(self, move: Copy) -> None:
        into, source = self._operands(move)
        into[:] = source

    def seconds(self, count: int) -> float:
        """None: what combining takes is what it takes."""
        return 0.0

    def _operands(self, move: Combine | Copy) -> tuple[Array, Array]:
        into = self._places[move.into][move.into_first : move.into_first + move.count]
        source = self._places[move.source][move.source_first : move.source_first + move.count]
        return into, source


class Sizes:
    """No memory: a transfer takes its number of bytes, an int; combining takes only time.

    ``combine`` is in seconds for each byte.
    """

    def __init__(self, itemsize: int, combine: float) -> None:
        self._itemsize, self._byte = itemsize, combine

    def reserve(self, plan: Plan) -> None:
        """Nothing is needed."""

    def part(self, place: int, first: int, count: int) -> int:
        return count * self._itemsize

    def row(self) -> int:
        """Nothing says what reductions in one call would take.

        Raises:
            ValueError: always.
        """
        raise ValueError("what a reduction in one call takes is not predicted")

    def combine(self, move: Combine) -> None:
        """There is nothing to combine."""

    def copy(self, move: Copy) -> None:
        """There is nothing to copy."""

    def seconds(self, count: int) -> float:
        return count * self._itemsize * self._byte
