"""Reductions over axes: sums, means, products, extremes and where these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphc.ir.compute.expr import Expr
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import float64, int64
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert, to_axes
from graphc.ops.emit import emit, emit_size, reshaped
from graphc.ops.pointwise import BOOLS, NUMBERS, dtype_names

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = [
    "argmax",
    "argmin",
    "reduce_all",
    "reduce_any",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
]

Axes = int | Sequence[int] | None
"""One axis, several, or all of them."""


class Reduction(Op):
    """All elements along ``axes`` (ascending, from 0) combined into one; none give ``start``.

    Accumulates in the dtype of its operand.
    """

    operands = ("x",)
    attributes = {"axes": (tuple,), "keepdims": (bool,)}
    dtypes = NUMBERS
    combiner: ClassVar[str]
    ufunc: ClassVar[np.ufunc]

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        dtype = typing.dtype_in(self.dtypes, dtype_names(self.dtypes))
        (x,) = typing.inputs
        axes = [typing.axis(axis, x.rank) for axis in typing.attrs["axes"]]
        if axes != sorted(set(typing.attrs["axes"])):
            raise ShapeError(f"axes {axes} must differ, count from 0 and ascend")
        return [TensorType(dtype, _reduced_shape(x.shape, axes, typing.attrs["keepdims"]))]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        """The gradient for ``x``; ``grad`` has the shape of ``x`` with sizes 1 at the axes."""
        raise NotImplementedError

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        return [None if grad is None else self.derive(node, _kept(node, grad))]

    def initial(self, dtype: np.dtype[Any]) -> Any:
        """What the reduction of no elements is."""
        return self.ufunc.identity

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        """Floats are combined in float64."""
        (x,), dtype = inputs, types[0].dtype
        wide = float64 if dtype.is_float else dtype
        with np.errstate(all="ignore"):
            found = self.ufunc.reduce(
                x.astype(wide.numpy),
                axis=node.attrs["axes"],
                keepdims=node.attrs["keepdims"],
                initial=self.initial(wide.numpy),
            )
            return [np.asarray(found).astype(dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        (x,), shape = build.inputs, build.outputs[0].shape
        axes, kept = build.attrs["axes"], build.attrs["keepdims"]
        over = tuple(x.shape[axis] for axis in axes)

        def body(*index: Expr) -> Expr:
            outer, inner = list(index[: len(shape)]), iter(index[len(shape) :])
            if kept:
                outer = [i for axis, i in enumerate(outer) if axis not in axes]
            rest = iter(outer)
            return x[[next(inner if axis in axes else rest) for axis in range(len(x.shape))]]

        build.result(build.reduce(self.combiner, shape, over, body))


@register
class ReduceSum(Reduction):
    """The sum; integers wrap."""

    name = "reduce_sum"
    combiner = "sum"
    ufunc = np.add

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        return emit("broadcast_to", grad, shape=node.inputs[0].shape)


@register
class ReduceProd(Reduction):
    """The product; integers wrap.

    Its gradient, and the gradient of that, are right for operands with zeros as well.
    """

    name = "reduce_prod"
    combiner = "prod"
    ufunc = np.multiply

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        """The product of all others: by division, but for the zeros.

        With ``p`` the product of what is not 0 and ``s`` that of the zeros, the others of an
        element that is not 0 multiply to ``p / x * s``. Those of a zero multiply to ``p * t``,
        where ``t`` is 1 for a single zero, and for two of them the other one: 0, but its gradient
        counts.
        """
        x, axes = node.inputs[0], node.attrs["axes"]
        zero, one = convert(0, like=x), convert(1, like=x)
        is_zero = emit("equal", x, zero)

        def over_axes(op: str, value: Tensor) -> Tensor:
            return emit(op, value, axes=axes, keepdims=True)

        numbers, zeros = emit("where", is_zero, one, x), emit("where", is_zero, x, one)
        p, s = over_axes("reduce_prod", numbers), over_axes("reduce_prod", zeros)
        count = over_axes("reduce_sum", emit("cast", is_zero, dtype=x.dtype))
        other = over_axes("reduce_sum", emit("where", is_zero, x, zero)) - x
        t = emit("where", emit("equal", count, one), one, other)
        t = emit("where", emit("less_equal", count, convert(2, like=x)), t, zero)
        return grad * emit("where", is_zero, p * t, p / numbers * s)


class _Extreme(Reduction):
    """Where several elements tie, they share the gradient equally."""

    exact = True

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        (x,), y = node.inputs, _kept(node, node.outputs[0])
        chosen = emit("cast", emit("equal", x, y), dtype=x.dtype)
        count = emit("reduce_sum", chosen, axes=node.attrs["axes"], keepdims=True)
        return grad / count * chosen


@register
class ReduceMax(_Extreme):
    """The largest element, NaN if there is one; of none -inf, or the smallest integer."""

    name = "reduce_max"
    combiner = "max"
    ufunc = np.maximum

    def initial(self, dtype: np.dtype[Any]) -> Any:
        return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


@register
class ReduceMin(_Extreme):
    """The smallest element, NaN if there is one; of none inf, or the largest integer."""

    name = "reduce_min"
    combiner = "min"
    ufunc = np.minimum

    def initial(self, dtype: np.dtype[Any]) -> Any:
        return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


class _Logical(Reduction):
    dtypes = BOOLS
    exact = True

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None]


@register
class ReduceAny(_Logical):
    """Whether one element is true; of none, false."""

    name = "reduce_any"
    combiner = "any"
    ufunc = np.logical_or


@register
class ReduceAll(_Logical):
    """Whether all elements are true; of none, true."""

    name = "reduce_all"
    combiner = "all"
    ufunc = np.logical_and


class _Where(Op):
    """The first index of the extreme along ``axis``, int64; a NaN is the most extreme."""

    operands = ("x",)
    attributes = {"axis": (int,)}
    dtypes = NUMBERS
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        typing.dtype_in(self.dtypes, dtype_names(self.dtypes))
        (x,) = typing.inputs
        axis = typing.axis(typing.attrs["axis"], x.rank)
        typing.at_least(x.shape[axis], 1, f"axis {axis} must have an element to choose")
        return [TensorType(int64, _reduced_shape(x.shape, [axis], kept=False))]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        find = getattr(np, self.name)
        return [np.asarray(find(inputs[0], axis=node.attrs["axis"]), np.int64)]

    def compute(self, build: KernelBuilder) -> None:
        (x,), axis = build.inputs, build.attrs["axis"] % len(build.inputs[0].shape)

        def body(*index: Expr) -> Expr:
            *outer, inner = index
            return x[[*outer[:axis], inner, *outer[axis:]]]

        shape = build.outputs[0].shape
        build.result(build.reduce(self.name, shape, (x.shape[axis],), body))


@register
class ArgMax(_Where):
    """The first index of the largest element."""

    name = "argmax"


@register
class ArgMin(_Where):
    """The first index of the smallest element."""

    name = "argmin"


def reduce_sum(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The sum over ``axis`` (None: all), which ``keepdims`` keeps as axes of size 1."""
    return _reduce("reduce_sum", x, axis, keepdims, name)


def reduce_prod(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The product over ``axis`` (None: all)."""
    return _reduce("reduce_prod", x, axis, keepdims, name)


def reduce_max(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The largest element over ``axis`` (None: all)."""
    return _reduce("reduce_max", x, axis, keepdims, name)


def reduce_min(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The smallest element over ``axis`` (None: all)."""
    return _reduce("reduce_min", x, axis, keepdims, name)


def reduce_any(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """Whether one of the bools over ``axis`` (None: all) is true."""
    return _reduce("reduce_any", x, axis, keepdims, name)


def reduce_all(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """Whether all of the bools over ``axis`` (None: all) are true."""
    return _reduce("reduce_all", x, axis, keepdims, name)


def reduce_mean(
    x: TensorLike, axis: Axes = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The sum over ``axis`` (None: all) divided once by the count; integers round down."""
    x = convert(x)
    axes = to_axes(axis, x)
    total = emit("reduce_sum", x, axes=axes, keepdims=keepdims)
    count = emit_size(x, axes, x.dtype)
    return emit("divide" if x.dtype.is_float else "floordiv", total, count, name=name)


def argmax(x: TensorLike, axis: int = 0, name: str | None = None) -> Tensor:
    """The first index of the largest element along ``axis``, int64; a NaN is the largest."""
    return emit("argmax", convert(x), axis=axis, name=name)


def argmin(x: TensorLike, axis: int = 0, name: str | None = None) -> Tensor:
    """The first index of the smallest element along ``axis``, int64; a NaN is the smallest."""
    return emit("argmin", convert(x), axis=axis, name=name)


def _reduce(op: str, x: TensorLike, axis: Axes, keepdims: bool, name: str | None) -> Tensor:
    x = convert(x)
    return emit(op, x, axes=to_axes(axis, x), keepdims=keepdims, name=name)


def _reduced_shape(shape: Shape, axes: Sequence[int], kept: bool) -> tuple[Dim, ...]:
    if kept:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _kept(node: Node, value: Tensor) -> Tensor:
    """``value``, of the shape of the output, with sizes 1 at the reduced axes."""
    return reshaped(value, _reduced_shape(node.inputs[0].shape, node.attrs["axes"], kept=True))
