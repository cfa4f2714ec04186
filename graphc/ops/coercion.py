"""What a user writes where a tensor is wanted: tensors, variables, literals, NumPy arrays.

There is no promotion between tensors. A Python number or (nested) list takes the dtype of the
other operand, and alone that of TensorFlow 1: int32 for integers, float32 for floats. A NumPy
array keeps its dtype; a NumPy scalar keeps it when alone and else is a number like any other.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.dims import Dim, Expression
from graphc.ir.dtypes import DType, as_dtype, bool_, float32, float64, int32, int64
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Tensor
from graphc.ir.operators import TensorLike
from graphc.ir.source import located, user_source
from graphc.ops.emit import emit

__all__ = ["convert"]

_ALONE = {"bool": bool_, "int": int32, "uint": int32, "float": float32}
"""The dtype of a literal alone, by kind."""
_HOLDS = {
    "bool": ("bool",),
    "int": ("int", "uint"),
    "uint": ("int", "uint"),
    "float": ("int", "uint", "float"),
}
"""For each kind of dtype, the kinds of values that it takes without a cast."""


def convert(value: TensorLike, dtype: Any = None, like: Tensor | None = None) -> Tensor:
    """``value`` as a tensor of the default graph.

    ``dtype`` demands a dtype; ``like`` is the other operand, whose dtype literals take.

    Raises:
        DTypeError: a tensor that is not of ``dtype``, a float where an integer is wanted, a value
            that the dtype cannot hold, or no number at all.
        ShapeError: a ragged list.
    """
    if hasattr(value, "__graphc_tensor__"):
        value = value.__graphc_tensor__()
    if isinstance(value, Tensor):
        tensor = emit("read_variable", value) if value.type.resource else value
        if dtype is not None and tensor.dtype is not as_dtype(dtype):
            raise _dtype_error(f"{tensor!r} is wanted as {as_dtype(dtype).name}: use cast")
        return tensor
    if dtype is None and like is not None and _is_literal(value):
        dtype = like.dtype
    return emit("constant", value=to_array(value, dtype))


def convert_all(values: Sequence[TensorLike]) -> list[Tensor]:
    """Operands of one op: literals take the dtype of the first that is none."""
    lead = next((i for i, value in enumerate(values) if not _is_literal(value)), 0)
    like = convert(values[lead])
    return [like if i == lead else convert(v, like=like) for i, v in enumerate(values)]


def to_array(value: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """``value`` as a NumPy array of ``dtype``, or of the dtype that it has alone.

    Raises:
        DTypeError, ShapeError: as ``convert``.
    """
    array, own = _numpy(value)
    literal = isinstance(value, bool | int | float | list | tuple)
    alone = _ALONE[own.kind] if literal and not isinstance(value, np.generic) else own
    wanted = alone if dtype is None else as_dtype(dtype)
    if array.size and own.kind not in _HOLDS[wanted.kind]:
        raise _dtype_error(f"{_text(value)} is no value of {wanted.name}: use cast")
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(wanted.numpy)
    beyond = own.is_integer and array.dtype.kind == "f"
    if wanted.is_integer and (beyond or not np.array_equal(result, array)):
        raise _dtype_error(f"{_text(value)} does not fit into {wanted.name}")
    return result


def to_shape(shape: Any, lowest: int = 0) -> tuple[Dim, ...]:
    """A shape that a user wrote: integers and dimensions of other tensors' shapes.

    ``lowest`` is -1 where that stands for a size to be found.

    Raises:
        ShapeError: anything else, such as a tensor: shapes are known while the graph is built.
    """
    sizes = shape if _is_list(shape) else (shape,)
    return tuple(s if isinstance(s, Expression) else _size(s, lowest) for s in sizes)


def to_int(value: Any, what: str) -> int:
    """An integer that a user wrote, Python's or NumPy's; ``what`` says in errors what it is.

    Raises:
        ShapeError: it is none.
    """
    if hasattr(value, "__index__") and not isinstance(value, bool | np.bool_ | Expression):
        try:
            return operator.index(value)
        except TypeError:  # an array of several elements
            pass
    raise ShapeError(located(f"{value!r} is no {what}: it must be an integer", user_source()))


def to_ints(values: Any, what: str) -> tuple[int, ...]:
    """A list of integers that a user wrote; ``what`` says in errors what each of them is.

    Raises:
        ShapeError: it is none.
    """
    if not _is_list(values):
        message = f"{values!r} is no list of numbers, of which each is the {what} of an axis"
        raise ShapeError(located(message, user_source()))
    return tuple(to_int(value, what) for value in values)


def to_axis(axis: Any, rank: int, x: Tensor) -> int:
    """``axis`` of the ``rank`` axes made from those of ``x``, counted from the left.

    Raises:
        ShapeError: there is no such axis.
    """
    at = to_int(axis, "axis")
    if not -rank <= at < rank:
        message = f"axis {at} is none of the {rank} axes made from those of {x!r}"
        raise ShapeError(located(message, user_source()))
    return at % rank


def to_axes(axis: Any, x: Tensor) -> tuple[int, ...]:
    """One axis of ``x``, several, or (None) all, ascending and counted from the left.

    Axes that ``x`` does not have stay as they are, for the op to refuse. Raises:
        ShapeError: something that is no axis, or one that is named twice.
    """
    rank = len(x.shape)
    if axis is None:
        return tuple(range(rank))
    named = [to_int(a, "axis") for a in (axis if _is_list(axis) else (axis,))]
    found = sorted(a % rank if -rank <= a < rank else a for a in named)
    twice = next((a for a, b in itertools.pairwise(found) if a == b), None)
    if twice is not None:
        message = f"axis {twice} of {x!r} is named twice in {axis!r}"
        raise ShapeError(located(message, user_source()))
    return tuple(found)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | range) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def _size(value: Any, lowest: int) -> int:
    try:
        size = to_int(value, "size")
    except ShapeError:
        message = f"{value!r} is no size: write an integer, or a size out of a tensor's shape"
        raise ShapeError(located(message, user_source())) from None
    if size < lowest:
        raise ShapeError(located(f"{size} is no size: it is negative", user_source()))
    return size


def _is_literal(value: Any) -> bool:
    return not isinstance(value, Tensor | np.ndarray) and not hasattr(value, "__graphc_tensor__")


def _numpy(value: Any) -> tuple[np.ndarray[Any, Any], DType]:
    """``value`` as NumPy sees it, and the dtype of that."""
    if isinstance(value, Expression):
        message = f"{value} is a size that only a run knows: as a tensor it is gx.shape(x)[axis]"
        raise _dtype_error(message)
    try:
        array = np.asarray(value)
    except GraphError:
        raise _dtype_error(f"{_text(value)} holds tensors: make one of them with stack") from None
    except ValueError as error:
        raise ShapeError(located(f"{_text(value)} is no array: {error}", user_source())) from None
    try:
        if array.dtype == object and not isinstance(value, np.ndarray):
            return _beyond_int64(array)
        return array, as_dtype(array.dtype)
    except (DTypeError, OverflowError):
        message = f"{_text(value)} is no number, list of numbers or array of them"
        raise _dtype_error(message) from None


def _beyond_int64(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], DType]:
    """Literals that only floats hold, as such, and their dtype: among integers, int64.

    Raises:
        DTypeError, OverflowError: there is something else, or what not even floats hold.
    """
    if not all(isinstance(value, int | float) for value in array.flat):
        return array, as_dtype(array.dtype)
    integers = all(isinstance(value, int) for value in array.flat)
    return array.astype(np.float64), int64 if integers else float64


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dtype_error(message: str) -> DTypeError:
    return DTypeError(located(message, user_source()))
