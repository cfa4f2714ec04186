"""What a user feeds: any array-like, made to fit its tensor or refused with the reason.

Floats are rounded to a narrower float; integers, and floats for an integer tensor, are converted
if every value survives; Python's own numbers and lists always are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.loops.program import Check
from graphc.ir.dims import evaluate, solved, symbols_of
from graphc.ir.dtypes import DType
from graphc.ir.errors import FeedError
from graphc.ir.graph import Tensor
from graphc.ir.source import located
from graphc.ir.types import user_shape_text
from graphc.runtime.memory import kept

Array = npt.NDArray[Any]

_OUTSIDE = "there are numbers outside of its range"


def prepare(tensor: Tensor, value: Any) -> Array:
    """``value`` as a dense, aligned array of the tensor's dtype, not copied if it is one already.

    Raises:
        FeedError: values that the dtype cannot hold, or a shape that does not fit.
    """
    dtype = tensor.type.dtype
    if isinstance(value, Tensor) or hasattr(value, "__graphc_tensor__"):
        raise _error(tensor, "a tensor cannot be fed: feed a value")
    array = _array(tensor, value, dtype)
    if array.dtype != dtype.numpy:
        array = _converted(tensor, array, dtype)
    shape = tensor.type.shape
    if len(array.shape) != len(shape) or any(
        isinstance(dim, int) and dim != size for dim, size in zip(shape, array.shape, strict=True)
    ):
        raise _error(tensor, f"shape {list(array.shape)} does not fit")
    if not (array.flags.c_contiguous and array.flags.aligned):
        return np.array(array, order="C", copy=True)
    return array


class Feeding:
    """What a program is fed: values become arrays that fit, and tell sizes.

    What the sizes are, and that they keep the rules, is found out once for each set of shapes.
    """

    def __init__(self, feeds: Sequence[Tensor], checks: Sequence[Check]) -> None:
        self._feeds, self._checks = tuple(feeds), tuple(checks)
        self._dtypes = tuple(t.type.dtype.numpy for t in self._feeds)
        self._sizes: dict[tuple[tuple[int, ...], ...], Mapping[str, int]] = {}

    def take(self, values: Sequence[Any]) -> tuple[list[Array], Mapping[str, int]]:
        """The arrays, and the values of the symbols.

        Raises:
            FeedError: as ``prepare`` and ``sizes_of``.
        """
        arrays = [
            value if type(value) is np.ndarray and value.dtype is dtype
            and value.flags.carray else prepare(tensor, value)
            for tensor, dtype, value in zip(self._feeds, self._dtypes, values, strict=True)
        ]  # fmt: skip
        shapes = tuple([array.shape for array in arrays])
        return arrays, kept(self._sizes, shapes, lambda _: self._found(arrays))

    def _found(self, arrays: Sequence[Array]) -> Mapping[str, int]:
        for tensor, array in zip(self._feeds, arrays, strict=True):
            prepare(tensor, array)
        return sizes_of(self._checks, self._feeds, arrays)


def sizes_of(
    checks: Sequence[Check], feeds: Sequence[Tensor], arrays: Sequence[Array]
) -> dict[str, int]:
    """The values of the symbols that feeds name, held against every feed and ``checks``.

    Raises:
        FeedError: feeds that disagree about a size, or that break a rule of the graph.
    """
    pairs = zip(feeds, arrays, strict=True)
    named = solved(p for t, array in pairs for p in zip(t.type.shape, array.shape, strict=True))
    for tensor, array in zip(feeds, arrays, strict=True):
        for axis, (dim, size) in enumerate(zip(tensor.type.shape, array.shape, strict=True)):
            if not symbols_of(dim) <= named.keys():
                continue
            expected = evaluate(dim, named)
            if expected != size:
                raise _error(tensor, f"axis {axis} is {size}, but {dim} is {expected} here")
    for check in checks:
        if not check.constraint.holds(named):
            raise FeedError(check.message)
    return named


def _array(tensor: Tensor, value: Any, dtype: DType) -> Array:
    if isinstance(value, np.ndarray):
        return value
    try:
        if isinstance(value, bool | int | float | list | tuple):
            return _literal(value, dtype)
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _error(tensor, f"{type(value).__name__} is no {dtype.name} array: {error}") from None


def _literal(value: Any, dtype: DType) -> Array:
    """Numbers and lists of them convert: fractions are cut off where integers are wanted.

    Raises:
        OverflowError: a number that lies outside of an integer dtype, or NaN.
        TypeError: something that is no number.
    """
    array = np.asarray(value)
    if array.dtype.kind == "O" and all(isinstance(value, int | float) for value in array.flat):
        if dtype.is_integer:  # NumPy has no dtype for one of them
            raise OverflowError(_OUTSIDE)
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"its elements are {array.dtype}")
    if dtype.is_integer and not _within(array, dtype):
        raise OverflowError(_OUTSIDE)
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy)


def _within(array: Array, dtype: DType) -> bool:
    """Whether numbers, cut to integers, are numbers of ``dtype``; both ends are exact as floats."""
    info = np.iinfo(dtype.numpy)
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind not in "iu":
        wide = array.astype(np.float64)
        end = float(info.max // 2 + 1) * 2
        return bool(np.all((wide > float(info.min) - 1) & (wide < end) | (wide == info.min)))
    return not array.size or (info.min <= int(array.min()) and int(array.max()) <= info.max)


def _converted(tensor: Tensor, array: Array, dtype: DType) -> Array:
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise _error(tensor, f"dtype {array.dtype} cannot be converted")
    with np.errstate(all="ignore"):
        converted = array.astype(dtype.numpy)
        kept = dtype.is_float or (
            (not dtype.is_integer or _within(array, dtype))
            and np.array_equal(converted.astype(array.dtype), array)
        )
        if not kept:
            raise _error(tensor, f"values of dtype {array.dtype} would change")
    return converted


def _error(tensor: Tensor, message: str) -> FeedError:
    shape = user_shape_text(tensor.type.shape)
    what = f"feed for {tensor.name} ({tensor.type.dtype.name} {shape})"
    return FeedError(located(f"{what}: {message}", tensor.node.source))
