"""Ops whose positions are data: rows looked up, added up, and marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.compute.expr import Expr, apply, cast, const, select, size
from graphc.ir.dims import Expression, provably_at_least
from graphc.ir.dtypes import COMPUTED, DType, as_dtype, float32, int64
from graphc.ir.errors import DataError, DTypeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert, to_array, to_shape
from graphc.ops.emit import emit, reshaped
from graphc.ops.pointwise import INTEGERS, NUMBERS, static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["gather", "one_hot"]

OUT_OF_RANGE = "index out of range"


@register
class Gather(Op):
    """Slices of ``params`` along ``axis``, chosen by ``indices`` and arranged as these are."""

    name = "gather"
    operands = ("params", "indices")
    attributes = {"axis": (int,)}
    dtypes = COMPUTED
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        params, indices = typing.inputs
        _check_indices(indices)
        axis = typing.axis(typing.attrs["axis"], params.rank)
        shape = (*params.shape[:axis], *indices.shape, *params.shape[axis + 1 :])
        return [TensorType(params.dtype, shape)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,), (params, indices) = grads, node.inputs
        if grad is None:
            return [None, None]
        axis = node.attrs["axis"] % len(params.shape)
        return [emit("scatter_add", indices, grad, axis=axis, shape=params.shape), None]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        params, indices = inputs
        axis, shape = node.attrs["axis"], static_shape(types[0])
        if 0 in shape:
            return [np.zeros(shape, params.dtype)]
        _check_range(indices, params.shape[axis])
        return [np.asarray(np.take(params, indices, axis=axis))]

    def compute(self, build: KernelBuilder) -> None:
        params, indices = build.inputs
        axis, rank = build.attrs["axis"] % len(params.shape), len(indices.shape)

        def body(*index: Expr) -> Expr:
            found = indices[index[axis : axis + rank]]
            row = build.in_range(found, params.shape[axis], OUT_OF_RANGE)
            # An index that failed is taken for 0, which an empty axis does not have.
            filled = provably_at_least(params.shape[axis], 1)
            where = None if filled else apply("gt", size(params.shape[axis]), 0)
            return params.load([*index[:axis], row, *index[axis + rank :]], where)

        build.result(build.map(build.outputs[0].shape, body))


@register
class ScatterAdd(Op):
    """Zeros of ``shape``, to which ``updates`` are added where ``gather`` would look them up."""

    name = "scatter_add"
    operands = ("indices", "updates")
    attributes = {"axis": (int,), "shape": (tuple,)}
    dtypes = NUMBERS

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        indices, updates = typing.inputs
        _check_indices(indices)
        shape = typing.attrs["shape"]
        axis = typing.axis(typing.attrs["axis"], len(shape))
        wanted = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
        rule = "updates must have the shape of shape, with that of indices at axis"
        typing.equal(len(wanted), updates.rank, rule)
        for given, extent in zip(updates.shape, wanted, strict=True):
            typing.equal(given, extent, rule)
        return [TensorType(updates.dtype, shape)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        if grad is None:
            return [None, None]
        indices, updates = node.inputs
        found = emit("gather", grad, indices, axis=node.attrs["axis"])
        return [None, reshaped(found, updates.shape)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        indices, updates = inputs
        axis, shape = node.attrs["axis"] % types[0].rank, static_shape(types[0])
        found = np.zeros(shape, updates.dtype)
        if updates.size:
            _check_range(indices, shape[axis])
            with np.errstate(all="ignore"):
                np.add.at(found, (slice(None),) * axis + (indices,), updates)
        return [found]

    def compute(self, build: KernelBuilder) -> None:
        indices, updates = build.inputs
        shape, rank = build.attrs["shape"], len(indices.shape)
        axis = build.attrs["axis"] % len(shape)

        def at(*index: Expr) -> list[Expr]:
            found = indices[index[axis : axis + rank]]
            row = build.in_range(found, shape[axis], OUT_OF_RANGE)
            return [*index[:axis], row, *index[axis + rank :]]

        build.result(build.scatter("sum", shape, updates.shape, at, lambda *i: updates[i]))


@register
class OneHot(Op):
    """A new axis of size ``depth``: ``on`` at the index, else ``off``; all ``off`` if out of range.

    ``axis`` is the place of the new axis; -1 is the last.
    """

    name = "one_hot"
    operands = ("indices",)
    attributes = {
        "depth": (int, Expression),
        "on": (bool, int, float),
        "off": (bool, int, float),
        "axis": (int,),
        "dtype": (DType,),
    }
    dtypes = INTEGERS
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (indices,), depth = typing.inputs, typing.attrs["depth"]
        _check_indices(indices)
        typing.at_least(depth, 0, "depth must not be negative")
        axis = typing.axis(typing.attrs["axis"], indices.rank + 1)
        shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
        return [TensorType(typing.attrs["dtype"], shape)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        axis, dtype = node.attrs["axis"] % types[0].rank, types[0].dtype.numpy
        depth = static_shape(types[0])[axis]
        chosen = np.moveaxis(np.equal.outer(inputs[0], np.arange(depth)), -1, axis)
        return [np.where(chosen, node.attrs["on"], node.attrs["off"]).astype(dtype)]

    def compute(self, build: KernelBuilder) -> None:
        (indices,), (output,) = build.inputs, build.outputs
        axis = build.attrs["axis"] % output.rank
        on, off = (const(build.attrs[key], output.dtype) for key in ("on", "off"))

        def body(*index: Expr) -> Expr:
            found = cast(indices[[*index[:axis], *index[axis + 1 :]]], int64)
            return select(apply("eq", found, index[axis]), on, off)

        build.result(build.map(output.shape, body))


def gather(
    params: TensorLike, indices: TensorLike, axis: int = 0, name: str | None = None
) -> Tensor:
    """Slices of ``params`` along ``axis`` at ``indices``, int32 or int64 of any shape.

    The result has the shape of ``params`` with that of ``indices`` in place of ``axis``. An index
    that is negative or too large fails the step.
    """
    return emit("gather", convert(params), convert(indices), axis=axis, name=name)


def one_hot(
    indices: TensorLike,
    depth: Any,
    on_value: float = 1,
    off_value: float = 0,
    axis: int = -1,
    dtype: Any = float32,
    name: str | None = None,
) -> Tensor:
    """``on_value`` at the places that ``indices`` name along a new axis of size ``depth``.

    All else is ``off_value``, also everywhere along the axis of an index out of range.
    """
    wanted = as_dtype(dtype)
    on, off = (to_array(value, wanted).item() for value in (on_value, off_value))
    (size,) = to_shape(depth)
    return emit(
        "one_hot", convert(indices), depth=size, on=on, off=off, axis=axis, dtype=wanted, name=name
    )


def _check_indices(indices: TensorType) -> None:
    if indices.dtype not in INTEGERS:
        raise DTypeError(f"indices must be int32 or int64, not {indices.dtype.name}")


def _check_range(indices: Any, extent: int) -> None:
    if ((indices < 0) | (indices >= extent)).any():
        raise DataError(OUT_OF_RANGE)
