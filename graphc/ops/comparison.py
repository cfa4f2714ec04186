"""Comparisons, logic, and the choice between two values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.ir.compute.builder import KernelBuilder
from graphc.ir.compute.expr import Expr, apply, const, select
from graphc.ir.dtypes import DType, bool_
from graphc.ir.errors import DTypeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert, convert_all
from graphc.ops.emit import emit, unbroadcast
from graphc.ops.pointwise import ALL, BOOLS, FLOATS, Binary, Pointwise, Unary, binary, unary

__all__ = [
    "equal",
    "greater",
    "greater_equal",
    "is_finite",
    "is_nan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "where",
]


class _Comparison(Binary):
    result: ClassVar[DType] = bool_
    exact = True


@register
class Less(_Comparison):
    """``a < b``; false if either is NaN."""

    name = "less"
    scalar = "lt"
    ufunc = np.less


@register
class LessEqual(_Comparison):
    """``a <= b``; false if either is NaN."""

    name = "less_equal"
    scalar = "le"
    ufunc = np.less_equal


@register
class Greater(_Comparison):
    """``a > b``; false if either is NaN."""

    name = "greater"
    scalar = "gt"
    ufunc = np.greater


@register
class GreaterEqual(_Comparison):
    """``a >= b``; false if either is NaN."""

    name = "greater_equal"
    scalar = "ge"
    ufunc = np.greater_equal


@register
class Equal(_Comparison):
    """``a == b``; false if either is NaN."""

    name = "equal"
    dtypes = ALL
    scalar = "eq"
    ufunc = np.equal
    commutative = True


@register
class NotEqual(_Comparison):
    """``a != b``; true if either is NaN."""

    name = "not_equal"
    dtypes = ALL
    scalar = "ne"
    ufunc = np.not_equal
    commutative = True


class _Connective(Binary):
    dtypes = BOOLS
    commutative = True
    exact = True


@register
class LogicalAnd(_Connective):
    """Whether ``a`` and ``b`` are true."""

    name = "logical_and"
    scalar = "and"
    ufunc = np.logical_and


@register
class LogicalOr(_Connective):
    """Whether ``a`` or ``b`` is true."""

    name = "logical_or"
    scalar = "or"
    ufunc = np.logical_or


@register
class LogicalXor(_Connective):
    """Whether one of ``a`` and ``b`` is true."""

    name = "logical_xor"
    scalar = "xor"
    ufunc = np.logical_xor


@register
class LogicalNot(Unary):
    """Whether ``x`` is false."""

    name = "logical_not"
    dtypes = BOOLS
    scalar = "not"
    ufunc = np.logical_not
    exact = True


@register
class IsNan(Unary):
    """Whether ``x`` is NaN."""

    name = "is_nan"
    dtypes = FLOATS
    result = bool_
    ufunc = np.isnan
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return apply("ne", values[0], values[0])


@register
class IsFinite(Unary):
    """Whether ``x`` is neither infinite nor NaN."""

    name = "is_finite"
    dtypes = FLOATS
    result = bool_
    ufunc = np.isfinite
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        (x,) = values
        return apply("abs", x) <= const(x.dtype.max, x.dtype)


@register
class Where(Pointwise):
    """``x`` where ``condition``, else ``y``; all three broadcast."""

    name = "where"
    operands = ("condition", "x", "y")
    dtypes = ALL
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        condition, x, y = typing.inputs
        if condition.dtype is not bool_:
            raise DTypeError(f"condition must be bool, not {condition.dtype.name}")
        if x.dtype is not y.dtype:
            raise DTypeError("x and y must have one dtype; convert with cast")
        return [TensorType(x.dtype, typing.broadcast(condition.shape, x.shape, y.shape))]

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return select(*values)

    def evaluate(self, *arrays: Any) -> Any:
        return np.where(*arrays)

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,), (condition, x, y) = grads, node.inputs
        if grad is None:
            return [None, None, None]
        zero = convert(0, like=grad)
        taken, left = emit("where", condition, grad, zero), emit("where", condition, zero, grad)
        return [None, unbroadcast(taken, x), unbroadcast(left, y)]


def less(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a < b``, broadcast, as bools."""
    return binary("less", a, b, name)


def less_equal(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a <= b``, broadcast, as bools."""
    return binary("less_equal", a, b, name)


def greater(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a > b``, broadcast, as bools."""
    return binary("greater", a, b, name)


def greater_equal(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a >= b``, broadcast, as bools."""
    return binary("greater_equal", a, b, name)


def equal(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a == b``, broadcast, as bools."""
    return binary("equal", a, b, name)


def not_equal(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a != b``, broadcast, as bools."""
    return binary("not_equal", a, b, name)


def logical_and(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """Whether both bools are true, broadcast."""
    return binary("logical_and", a, b, name)


def logical_or(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """Whether one of the bools is true or both are, broadcast."""
    return binary("logical_or", a, b, name)


def logical_xor(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """Whether exactly one of the bools is true, broadcast."""
    return binary("logical_xor", a, b, name)


def logical_not(x: TensorLike, name: str | None = None) -> Tensor:
    """Whether the bools are false."""
    return unary("logical_not", x, name)


def is_nan(x: TensorLike, name: str | None = None) -> Tensor:
    """Which floats are NaN."""
    return unary("is_nan", x, name)


def is_finite(x: TensorLike, name: str | None = None) -> Tensor:
    """Which floats are neither infinite nor NaN."""
    return unary("is_finite", x, name)


def where(condition: TensorLike, x: TensorLike, y: TensorLike, name: str | None = None) -> Tensor:
    """``x`` where the bools ``condition`` are true, else ``y``; all three broadcast."""
    return emit("where", convert(condition), *convert_all((x, y)), name=name)
