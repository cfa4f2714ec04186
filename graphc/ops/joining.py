"""Ops that join tensors along an axis, take them apart, and put a margin around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.compute.expr import Expr, all_of, const, select, size
from graphc.ir.dims import Dim, Expression
from graphc.ir.dtypes import COMPUTED
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.scope import create
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType
from graphc.ops.arrangement import Arrangement
from graphc.ops.coercion import (
    convert,
    convert_all,
    to_array,
    to_axis,
    to_int,
    to_ints,
    to_shape,
)
from graphc.ops.emit import emit, reshaped, zeros_of
from graphc.ops.pointwise import static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["concat", "pad", "split", "stack", "unstack"]


@register
class Concat(Op):
    """The operands one behind the other along ``axis``."""

    name = "concat"
    operands = ("*values",)
    attributes = {"axis": (int,)}
    dtypes = COMPUTED
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        if not typing.inputs:
            raise ShapeError("needs at least one operand")
        dtype = typing.same_dtype()
        first, *others = typing.inputs
        axis = typing.axis(typing.attrs["axis"], first.rank)
        shape = list(first.shape)
        for x in others:
            if x.rank != first.rank:
                raise ShapeError("operands must have one rank")
            for n, extent in enumerate(x.shape):
                rule = f"operands must have one size along every axis but {axis}"
                joined = n == axis
                shape[n] = shape[n] + extent if joined else typing.equal(shape[n], extent, rule)
        return [TensorType(dtype, tuple(shape))]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        if grad is None:
            return [None] * len(node.inputs)
        axis = node.attrs["axis"]
        sizes = tuple(x.shape[axis] for x in node.inputs)
        pieces = create("split", [grad], {"axis": axis, "sizes": sizes}).outputs
        return [reshaped(g, x.shape) for g, x in zip(pieces, node.inputs, strict=True)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [np.concatenate(inputs, axis=node.attrs["axis"])]

    def compute(self, build: KernelBuilder) -> None:
        shape = build.outputs[0].shape
        axis = build.attrs["axis"] % len(shape)

        def body(*index: Expr) -> Expr:
            found: Expr | None = None
            start: Dim = 0
            for x in build.inputs:
                offset = index[axis] - size(start)
                inside = all_of((offset >= 0, offset < size(x.shape[axis])))
                piece = x.load([*index[:axis], offset, *index[axis + 1 :]], inside)
                found = piece if found is None else select(offset < 0, found, piece)
                start = start + x.shape[axis]
            assert found is not None
            return found

        build.result(build.map(shape, body))


@register
class Split(Op):
    """Pieces of ``sizes`` along ``axis``, one output each."""

    name = "split"
    operands = ("x",)
    attributes = {"axis": (int,), "sizes": (tuple,)}
    dtypes = COMPUTED
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,), sizes = typing.inputs, typing.attrs["sizes"]
        axis = typing.axis(typing.attrs["axis"], x.rank)
        total: Dim = 0
        for extent in sizes:
            typing.at_least(extent, 0, "sizes must not be negative")
            total = total + extent
        typing.equal(x.shape[axis], total, f"sizes must add up to that of axis {axis}")
        return [TensorType(x.dtype, (*x.shape[:axis], s, *x.shape[axis + 1 :])) for s in sizes]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        if all(grad is None for grad in grads):
            return [None]
        pieces = [
            zeros_of(output.type) if grad is None else grad
            for output, grad in zip(node.outputs, grads, strict=True)
        ]
        joined = emit("concat", *pieces, axis=node.attrs["axis"])
        return [reshaped(joined, node.inputs[0].shape)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        axis = node.attrs["axis"]
        ends = np.cumsum([int(t.shape[axis]) for t in types])[:-1]
        return [piece.copy() for piece in np.split(inputs[0], ends, axis=axis)]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        axis = build.attrs["axis"] % len(x.shape)
        start: Dim = 0
        for output in build.outputs:
            offset = size(start)

            def body(*index: Expr, offset: Expr = offset) -> Expr:
                return x[[*index[:axis], index[axis] + offset, *index[axis + 1 :]]]

            build.result(build.map(output.shape, body))
            start = start + output.shape[axis]


@register
class Pad(Arrangement):
    """``low[i]`` times ``value`` before and ``high[i]`` times behind ``x`` along axis ``i``."""

    name = "pad"
    attributes = {"low": (tuple,), "high": (tuple,), "value": (bool, int, float)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,), low, high = typing.inputs, typing.attrs["low"], typing.attrs["high"]
        if not len(low) == len(high) == x.rank or min(*low, *high, 0, 0) < 0:
            raise ShapeError("paddings must be two numbers, not negative, for each axis")
        sizes = zip(low, x.shape, high, strict=True)
        return [TensorType(x.dtype, tuple(a + extent + b for a, extent, b in sizes))]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        starts, (x,) = node.attrs["low"], node.inputs
        return emit("strided_slice", grad, starts=starts, sizes=x.shape, strides=(1,) * len(starts))

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        (x,) = inputs
        found = np.full(static_shape(types[0]), node.attrs["value"], x.dtype)
        ends = zip(node.attrs["low"], x.shape, strict=True)
        found[tuple(slice(low, low + extent) for low, extent in ends)] = x
        return [found]

    def compute(self, build: KernelBuilder) -> None:
        (x,), low = build.inputs, build.attrs["low"]
        value = const(build.attrs["value"], x.dtype)

        def body(*index: Expr) -> Expr:
            at = [i - n if n else i for i, n in zip(index, low, strict=True)]
            padded = zip(at, x.shape, low, build.attrs["high"], strict=True)
            inside = all_of(
                test
                for i, extent, before, behind in padded
                for test, needed in ((i >= 0, before), (i < size(extent), behind))
                if needed
            )
            return select(inside, x.load(at, inside), value) if value.value else x.load(at, inside)

        build.result(build.map(build.outputs[0].shape, body))


def concat(values: Sequence[TensorLike], axis: int, name: str | None = None) -> Tensor:
    """``values`` one behind the other along ``axis``; their other sizes are equal.

    Raises:
        ShapeError: no values, or sizes that differ.
    """
    return emit("concat", *_some(values), axis=axis, name=name)


def stack(values: Sequence[TensorLike], axis: int = 0, name: str | None = None) -> Tensor:
    """``values``, all of one shape, along a new axis before ``axis``; -1 is behind the last.

    Raises:
        ShapeError: no values, or shapes that differ.
    """
    tensors = _some(values)
    at = to_axis(axis, len(tensors[0].shape) + 1, tensors[0])
    apart = [emit("reshape", x, shape=(*x.shape[:at], 1, *x.shape[at:])) for x in tensors]
    return emit("concat", *apart, axis=at, name=name)


def split(
    x: TensorLike, num_or_size_splits: int | Sequence[Any], axis: int = 0, name: str | None = None
) -> list[Tensor]:
    """``x`` in so many equal pieces along ``axis``, or in pieces of the sizes given.

    One of the sizes may be -1: what is left.

    Raises:
        ShapeError: pieces that do not make up the axis.
    """
    x = convert(x)
    at = to_axis(axis, len(x.shape), x)
    extent = x.shape[at]
    if isinstance(num_or_size_splits, list | tuple | np.ndarray):
        sizes = to_shape(num_or_size_splits, lowest=-1)
        if sizes.count(-1) == 1:
            rest = extent - sum(size for size in sizes if size != -1)
            sizes = tuple(rest if size == -1 else size for size in sizes)
    else:
        count = to_int(num_or_size_splits, "number of pieces")
        if count < 1:
            message = f"{x!r} cannot be split into {count} pieces"
            raise ShapeError(located(message, user_source()))
        sizes = (extent // count,) * count
    return list(create("split", [x], {"axis": at, "sizes": sizes}, name).outputs)


def unstack(
    x: TensorLike, num: int | None = None, axis: int = 0, name: str | None = None
) -> list[Tensor]:
    """The ``num`` slices of ``x`` along ``axis``, without that axis.

    Raises:
        ShapeError: ``num`` is neither given nor known, or wrong.
    """
    x = convert(x)
    at = to_axis(axis, len(x.shape), x)
    count = x.shape[at] if num is None else to_int(num, "number of pieces")
    if isinstance(count, Expression):
        message = f"unstack needs num: the size of axis {axis} of {x!r} is not known"
        raise ShapeError(located(message, user_source()))
    pieces = split(x, (1,) * count, at, name)
    shape = (*x.shape[:at], *x.shape[at + 1 :])
    return [reshaped(piece, shape) for piece in pieces]


def pad(
    x: TensorLike,
    paddings: Sequence[Sequence[int]],
    mode: str = "CONSTANT",
    constant_values: float = 0,
    name: str | None = None,
) -> Tensor:
    """``x`` with ``paddings[i]``, two numbers, of ``constant_values`` around axis ``i``."""
    if mode.upper() != "CONSTANT":
        raise ShapeError(located(f"pad knows the mode CONSTANT, not {mode}", user_source()))
    x = convert(x)
    if not isinstance(paddings, list | tuple | np.ndarray):
        message = f"{paddings!r} is no list of paddings, of which each is two numbers"
        raise ShapeError(located(message, user_source()))
    pairs = [to_ints(pair, "padding") for pair in paddings]
    low, high = (tuple(pair[side] for pair in pairs if len(pair) == 2) for side in (0, 1))
    value = to_array(constant_values, x.dtype).item()
    return emit("pad", x, low=low, high=high, value=value, name=name)


def _some(values: Sequence[TensorLike]) -> list[Tensor]:
    """``values`` as tensors, of which there is one at least."""
    if not isinstance(values, list | tuple | np.ndarray) or not len(values):
        message = f"there is nothing to join: give a list of tensors, not {values!r}"
        raise ShapeError(located(message, user_source()))
    return convert_all(values)
