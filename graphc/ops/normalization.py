"""Softmax and its logarithm, along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.compute.builder import Buffer
from graphc.ir.compute.expr import Expr, apply
from graphc.ir.dims import Shape
from graphc.ir.graph import Node, Tensor, TensorLike
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert
from graphc.ops.emit import emit
from graphc.ops.pointwise import FLOATS, dtype_names

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["log_softmax", "softmax"]


class _Softmax(Op):
    operands = ("logits",)
    attributes = {"axis": (int,)}
    dtypes = FLOATS

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        dtype = typing.dtype_in(FLOATS, dtype_names(FLOATS))
        (logits,) = typing.inputs
        typing.axis(typing.attrs["axis"], logits.rank)
        return [TensorType(dtype, logits.shape)]


@register
class Softmax(_Softmax):
    """exp(x) along ``axis``, divided by its sum."""

    name = "softmax"

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,), (y,) = grads, node.outputs
        return [None if grad is None else through_softmax(grad, y, node.attrs["axis"])]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        exact = np.exp(log_softmax_numpy(inputs[0], node.attrs["axis"]))
        return [exact.astype(types[0].dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        along = Along(build, x, build.attrs["axis"])
        powers = build.map(x.shape, along.power)
        total = along.sum(powers)
        build.result(build.map(x.shape, lambda *i: powers[i] / total[along.outer(i)]))


@register
class LogSoftmax(_Softmax):
    """x minus the logarithm of the sum of exp(x) along ``axis``."""

    name = "log_softmax"

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,), (y,), axis = grads, node.outputs, node.attrs["axis"]
        if grad is None:
            return [None]
        return [grad - emit("exp", y) * sum_along(grad, axis)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        exact = log_softmax_numpy(inputs[0], node.attrs["axis"])
        with np.errstate(over="ignore"):
            return [exact.astype(types[0].dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        along = Along(build, x, build.attrs["axis"])
        logs = along.log_of_sum()
        build.result(build.map(x.shape, lambda *i: along.shifted(*i) - logs[along.outer(i)]))


class Along:
    """Kernel stages along one axis of ``x``: its largest element and what is relative to it."""

    def __init__(self, build: KernelBuilder, x: Buffer, axis: int) -> None:
        self._build, self._x = build, x
        self._axis = axis % len(x.shape)
        self._largest = self._reduce("max", x)

    def outer(self, index: Sequence[Expr]) -> list[Expr]:
        """``index`` without the axis."""
        return [*index[: self._axis], *index[self._axis + 1 :]]

    def shifted(self, *index: Expr) -> Expr:
        """The element less the largest of its row: never above 0."""
        return self._x[index] - self._largest[self.outer(index)]

    def power(self, *index: Expr) -> Expr:
        """exp of the shifted element: it cannot overflow, and one of a row is 1."""
        return apply("exp", self.shifted(*index))

    def sum(self, x: Buffer) -> Buffer:
        """The sum of ``x`` along the axis."""
        return self._reduce("sum", x)

    def log_of_sum(self) -> Buffer:
        """The logarithm of the sum of the powers, which are not kept."""
        total = self._build.reduce(
            "sum", self._outer_shape(), self._extent(), lambda *i: self.power(*self._inner(i))
        )
        return self._build.map(total.shape, lambda *i: apply("log", total[i]))

    def _reduce(self, combiner: str, x: Buffer) -> Buffer:
        return self._build.reduce(
            combiner, self._outer_shape(), self._extent(), lambda *i: x[self._inner(i)]
        )

    def _outer_shape(self) -> Shape:
        return (*self._x.shape[: self._axis], *self._x.shape[self._axis + 1 :])

    def _extent(self) -> Shape:
        return (self._x.shape[self._axis],)

    def _inner(self, index: Sequence[Expr]) -> list[Expr]:
        """An index whose last part runs along the axis, in the order of the axes."""
        *outer, own = index
        return [*outer[: self._axis], own, *outer[self._axis :]]


def softmax(logits: TensorLike, axis: int = -1, name: str | None = None) -> Tensor:
    """exp(logits) along ``axis``, divided by its sum: positive, and 1 together."""
    return emit("softmax", convert(logits), axis=axis, name=name)


def log_softmax(logits: TensorLike, axis: int = -1, name: str | None = None) -> Tensor:
    """The logarithm of ``softmax``, without its underflow."""
    return emit("log_softmax", convert(logits), axis=axis, name=name)


def log_softmax_numpy(logits: Any, axis: int) -> Any:
    """In float64, whatever the dtype of ``logits``."""
    wide = np.asarray(logits, np.float64)
    with np.errstate(all="ignore"):
        shifted = wide - wide.max(axis=axis, keepdims=True, initial=-np.inf)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def through_softmax(grad: Tensor, y: Tensor, axis: int) -> Tensor:
    """``grad`` of y = softmax(x) taken back to x; the Jacobian is symmetric."""
    return (grad - sum_along(grad * y, axis)) * y


def sum_along(x: Tensor, axis: int) -> Tensor:
    return emit("reduce_sum", x, axes=(axis % len(x.shape),), keepdims=True)
