"""Into how many parts to cut a variable, so that several parameter servers share it.

A partitioner is a function of a variable's ``shape`` and ``dtype`` that gives the number of parts
along each axis; only one axis may be cut. The names and meanings are TensorFlow 1's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.ir.dtypes import as_dtype
from graphc.ir.errors import GraphError
from graphc.ir.scope import Partitioner
from graphc.ir.source import located, user_source

__all__ = [
    "fixed_size_partitioner",
    "min_max_variable_partitioner",
    "variable_axis_size_partitioner",
]


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """``num_shards`` parts along ``axis``, or as many as the axis is long.

    Raises:
        GraphError: the number is not positive; later, a variable has no such axis.
    """
    _check_positive(num_shards=num_shards)

    def partitioner(shape: Sequence[int], dtype: Any) -> list[int]:  # noqa: ARG001
        return _along(axis, shape, num_shards)

    return partitioner


def variable_axis_size_partitioner(
    max_shard_bytes: int, axis: int = 0, max_shards: int | None = None
) -> Partitioner:
    """So many parts along ``axis`` that none has more than ``max_shard_bytes``, if that can be.

    ``max_shards`` bounds their number.

    Raises:
        GraphError: a number is not positive; later, a variable has no such axis.
    """
    _check_positive(max_shard_bytes=max_shard_bytes, max_shards=max_shards or 1)

    def partitioner(shape: Sequence[int], dtype: Any) -> list[int]:
        extent = shape[_checked_axis(axis, shape)]
        slice_bytes = _bytes(shape, dtype) / max(1, extent)
        slices = max(1, math.floor(max_shard_bytes / max(1.0, slice_bytes)))
        return _along(axis, shape, min(math.ceil(extent / slices), max_shards or extent))

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1, axis: int = 0, min_slice_size: int = 256 << 10
) -> Partitioner:
    """Up to ``max_partitions`` parts along ``axis``, each of ``min_slice_size`` bytes or more.

    Raises:
        GraphError: a number is not positive; later, a variable has no such axis.
    """
    _check_positive(max_partitions=max_partitions, min_slice_size=min_slice_size)

    def partitioner(shape: Sequence[int], dtype: Any) -> list[int]:
        wanted = math.ceil(_bytes(shape, dtype) / min_slice_size)
        return _along(axis, shape, min(wanted, max_partitions))

    return partitioner


def _along(axis: int, shape: Sequence[int], count: int) -> list[int]:
    """``count`` parts along ``axis``, at least one and at most as many as there are slices."""
    counts = [1] * len(shape)
    axis = _checked_axis(axis, shape)
    counts[axis] = max(1, min(count, shape[axis]))
    return counts


def _bytes(shape: Sequence[int], dtype: Any) -> int:
    return math.prod(shape) * as_dtype(dtype).size


def _checked_axis(axis: int, shape: Sequence[int]) -> int:
    if not -len(shape) <= axis < len(shape):
        message = f"a variable of shape {list(shape)} cannot be cut along axis {axis}"
        raise GraphError(located(message, user_source()))
    return axis


def _check_positive(**numbers: Any) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            message = f"{name} must be an integer of 1 or more, not {number!r}"
            raise GraphError(located(message, user_source()))
