"""How ops make nodes of other ops: by name, so that modules of ops need not import each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir import dims
from graphc.ir.dtypes import DType
from graphc.ir.graph import Tensor
from graphc.ir.scope import create
from graphc.ir.types import TensorType


def emit(op: str, *inputs: Tensor, name: str | None = None, **attrs: Any) -> Tensor:
    """The first output of a new node in the default graph."""
    return create(op, inputs, attrs, name).outputs[0]


def reshaped(x: Tensor, shape: Any) -> Tensor:
    """``x`` with ``shape``, or ``x`` itself if it has that shape already."""
    return x if x.shape == tuple(shape) else emit("reshape", x, shape=tuple(shape))


def unbroadcast(grad: Tensor, like: Tensor) -> Tensor:
    """``grad`` summed over the axes along which ``like`` was broadcast, in ``like``'s shape.

    Which axes these are never depends on a run: a symbolic size is not a 1 that broadcasts.
    """
    lead = len(grad.shape) - len(like.shape)
    axes = tuple(range(lead)) + tuple(
        lead + axis
        for axis, size in enumerate(like.shape)
        if size == 1 and grad.shape[lead + axis] != 1
    )
    if axes:
        grad = emit("reduce_sum", grad, axes=axes, keepdims=False)
    return reshaped(grad, like.shape)


def emit_size(x: Tensor, axes: Sequence[int], dtype: DType, name: str | None = None) -> Tensor:
    """How many elements ``x`` has along ``axes``: a constant, if that is known already."""
    count = dims.product(tuple(x.shape[axis] for axis in axes))
    if isinstance(count, int):
        return emit("constant", value=np.asarray(count, dtype.numpy), name=name)
    return emit("size", x, axes=tuple(axes), dtype=dtype, name=name)


def zeros_of(type_: TensorType) -> Tensor:
    """0 at every place of the shape of ``type_``."""
    zero = emit("constant", value=np.zeros((), type_.dtype.numpy))
    return emit("broadcast_to", zero, shape=type_.shape)
