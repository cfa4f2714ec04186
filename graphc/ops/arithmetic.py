"""Elementwise arithmetic whose results are exactly rounded, and so the same on every target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphc.ir.compute.expr import Expr, apply, const, select
from graphc.ir.dtypes import float64
from graphc.ir.errors import DataError
from graphc.ir.graph import Tensor
from graphc.ir.op import register
from graphc.ir.operators import TensorLike
from graphc.ops.coercion import convert, convert_all
from graphc.ops.emit import emit
from graphc.ops.pointwise import FLOATS, INTEGERS, Binary, Unary, binary, unary

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = [
    "abs",
    "add",
    "floordiv",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "reciprocal",
    "relu",
    "rsqrt",
    "sign",
    "sqrt",
    "square",
    "subtract",
    "truediv",
]

DIVISION_BY_ZERO = "integer division by zero"


@register
class Add(Binary):
    """``a + b``; integers wrap."""

    name = "add"
    scalar = "add"
    ufunc = np.add
    commutative = True
    exact = True

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad


@register
class Subtract(Binary):
    """``a - b``; integers wrap."""

    name = "subtract"
    scalar = "sub"
    ufunc = np.subtract
    exact = True

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, -grad


@register
class Multiply(Binary):
    """``a * b``; integers wrap."""

    name = "multiply"
    scalar = "mul"
    ufunc = np.multiply
    commutative = True
    exact = True

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad * b, grad * a


@register
class Divide(Binary):
    """``a / b`` of floats."""

    name = "divide"
    dtypes = FLOATS
    scalar = "div"
    ufunc = np.divide
    exact = True

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        quotient = grad / b
        return quotient, -(quotient * y)


class _IntegerDivision(Binary):
    """Division that rounds down; by zero, it is an error in the data."""

    dtypes = INTEGERS
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        a, b = values
        return apply(self.scalar, a, build.guard(apply("ne", b, 0), b, DIVISION_BY_ZERO))

    def evaluate(self, *arrays: Any) -> Any:
        a, b = np.broadcast_arrays(*arrays)
        if not b.all():
            raise DataError(DIVISION_BY_ZERO)
        return self.ufunc(a, b)


@register
class FloorDiv(_IntegerDivision):
    """The largest integer at most ``a / b``; the smallest integer by -1 is itself."""

    name = "floordiv"
    scalar = "floordiv"
    ufunc = np.floor_divide


@register
class Mod(_IntegerDivision):
    """``a - floordiv(a, b) * b``, of the sign of ``b``."""

    name = "mod"
    scalar = "mod"
    ufunc = np.mod


class _Extremum(Binary):
    """NaN if either operand is. Where both are equal the gradient goes to ``a``."""

    commutative = True
    exact = True
    wins: ClassVar[str]
    """The comparison that holds where ``a`` is taken."""

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        first, zero = emit(self.wins, a, b), convert(0, like=grad)
        return emit("where", first, grad, zero), emit("where", first, zero, grad)


@register
class Maximum(_Extremum):
    """The larger of ``a`` and ``b``."""

    name = "maximum"
    scalar = "max"
    ufunc = np.maximum
    wins = "greater_equal"


@register
class Minimum(_Extremum):
    """The smaller of ``a`` and ``b``."""

    name = "minimum"
    scalar = "min"
    ufunc = np.minimum
    wins = "less_equal"


@register
class Negative(Unary):
    """``-x``; the smallest integer is its own negative."""

    name = "negative"
    scalar = "neg"
    ufunc = np.negative
    exact = True

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return -grad


@register
class Abs(Unary):
    """``|x|``; the gradient at 0 is 0."""

    name = "abs"
    scalar = "abs"
    ufunc = np.abs
    exact = True

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * emit("sign", x)


@register
class Sign(Unary):
    """-1, 0 or 1; NaN of NaN."""

    name = "sign"
    ufunc = np.sign
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        (x,) = values
        one, zero = const(1, x.dtype), const(0, x.dtype)
        equal_or_nan = select(apply("eq", x, zero), zero, x)
        return select(x > zero, one, select(x < zero, -one, equal_or_nan))


@register
class Square(Unary):
    """``x * x``."""

    name = "square"
    ufunc = np.square
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return values[0] * values[0]

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * (x * 2)


@register
class Reciprocal(Unary):
    """``1 / x`` of floats."""

    name = "reciprocal"
    dtypes = FLOATS
    ufunc = np.reciprocal
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return 1 / values[0]

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return -(grad * emit("square", y))


@register
class Sqrt(Unary):
    """The square root of floats, correctly rounded; NaN of negative ones."""

    name = "sqrt"
    dtypes = FLOATS
    scalar = "sqrt"
    ufunc = np.sqrt
    exact = True

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * 0.5 / y


@register
class Rsqrt(Unary):
    """``1 / sqrt(x)`` of floats, rounded twice."""

    name = "rsqrt"
    dtypes = FLOATS
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return 1 / apply("sqrt", values[0])

    def evaluate(self, *arrays: Any) -> Any:
        return np.reciprocal(np.sqrt(arrays[0]))

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * -0.5 * (y * emit("square", y))


@register
class Relu(Unary):
    """``max(x, 0)``; the gradient at 0 is 0."""

    name = "relu"
    exact = True

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return apply("max", values[0], 0)

    def evaluate(self, *arrays: Any) -> Any:
        return np.maximum(arrays[0], 0)

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return emit("where", emit("greater", y, convert(0, like=y)), grad, convert(0, like=grad))


def add(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a + b``, broadcast; integers wrap."""
    return binary("add", a, b, name)


def subtract(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a - b``, broadcast; integers wrap."""
    return binary("subtract", a, b, name)


def multiply(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a * b``, broadcast; integers wrap."""
    return binary("multiply", a, b, name)


def truediv(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a / b``, broadcast; integers are cast to float64 first, as in TensorFlow."""
    a, b = convert_all((a, b))
    if a.dtype is b.dtype and a.dtype.is_integer:
        a, b = emit("cast", a, dtype=float64), emit("cast", b, dtype=float64)
    return emit("divide", a, b, name=name)


def floordiv(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """The floor of ``a / b``, broadcast; division by the integer 0 fails the step."""
    a, b = convert_all((a, b))
    if a.dtype.is_float and b.dtype.is_float:
        return emit("floor", emit("divide", a, b), name=name)
    return emit("floordiv", a, b, name=name)


def mod(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a % b`` of integers, of the sign of ``b``, broadcast; by 0 fails the step."""
    return binary("mod", a, b, name)


def maximum(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """The larger element of ``a`` and ``b``, broadcast; NaN if either is."""
    return binary("maximum", a, b, name)


def minimum(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """The smaller element of ``a`` and ``b``, broadcast; NaN if either is."""
    return binary("minimum", a, b, name)


def negative(x: TensorLike, name: str | None = None) -> Tensor:
    """``-x``."""
    return unary("negative", x, name)


def abs(x: TensorLike, name: str | None = None) -> Tensor:
    """``|x|``."""
    return unary("abs", x, name)


def sign(x: TensorLike, name: str | None = None) -> Tensor:
    """-1, 0 or 1 in the dtype of ``x``; NaN of NaN."""
    return unary("sign", x, name)


def square(x: TensorLike, name: str | None = None) -> Tensor:
    """``x * x``."""
    return unary("square", x, name)


def reciprocal(x: TensorLike, name: str | None = None) -> Tensor:
    """``1 / x`` of floats."""
    return unary("reciprocal", x, name)


def sqrt(x: TensorLike, name: str | None = None) -> Tensor:
    """The square root of floats."""
    return unary("sqrt", x, name)


def rsqrt(x: TensorLike, name: str | None = None) -> Tensor:
    """``1 / sqrt(x)`` of floats."""
    return unary("rsqrt", x, name)


def relu(x: TensorLike, name: str | None = None) -> Tensor:
    """``max(x, 0)``."""
    return unary("relu", x, name)
