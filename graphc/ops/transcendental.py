"""Elementwise functions that no machine rounds exactly: kernels state their ulp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.graph import Tensor
from graphc.ir.op import register
from graphc.ir.operators import TensorLike
from graphc.ops.coercion import convert, convert_all
from graphc.ops.emit import emit
from graphc.ops.pointwise import FLOATS, Binary, Pointwise, Unary, unary

__all__ = ["cos", "erf", "exp", "expm1", "log", "log1p", "pow", "sigmoid", "sin", "tanh"]


class _Accurate(Pointwise):
    """The reference computes in float64 and rounds."""

    dtypes = FLOATS

    def evaluate(self, *arrays: Any) -> Any:
        return self.in_float64(*(np.asarray(a, np.float64) for a in arrays)).astype(arrays[0].dtype)

    def in_float64(self, *arrays: Any) -> Any:
        """The result in NumPy, in float64."""
        return np.asarray(self.ufunc(*arrays))


@register
class Exp(_Accurate, Unary):
    """``e ** x``."""

    name = "exp"
    scalar = "exp"
    ufunc = np.exp

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * y


@register
class Expm1(_Accurate, Unary):
    """``e ** x - 1``, accurate near 0."""

    name = "expm1"
    scalar = "expm1"
    ufunc = np.expm1

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * (y + 1)


@register
class Log(_Accurate, Unary):
    """The natural logarithm: -inf of 0, NaN of negative numbers."""

    name = "log"
    scalar = "log"
    ufunc = np.log

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad / x


@register
class Log1p(_Accurate, Unary):
    """``log(1 + x)``, accurate near 0."""

    name = "log1p"
    scalar = "log1p"
    ufunc = np.log1p

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad / (x + 1)


@register
class Sin(_Accurate, Unary):
    """The sine of radians."""

    name = "sin"
    scalar = "sin"
    ufunc = np.sin

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * emit("cos", x)


@register
class Cos(_Accurate, Unary):
    """The cosine of radians."""

    name = "cos"
    scalar = "cos"
    ufunc = np.cos

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return -(grad * emit("sin", x))


@register
class Tanh(_Accurate, Unary):
    """The hyperbolic tangent."""

    name = "tanh"
    scalar = "tanh"
    ufunc = np.tanh

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * (1 - y * y)


@register
class Sigmoid(_Accurate, Unary):
    """``1 / (1 + e ** -x)``."""

    name = "sigmoid"
    scalar = "sigmoid"

    def in_float64(self, *arrays: Any) -> Any:
        (x,) = arrays
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1.0, e) / (1.0 + e)

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * (y * (1 - y))


@register
class Erf(_Accurate, Unary):
    """The error function."""

    name = "erf"
    scalar = "erf"

    def in_float64(self, *arrays: Any) -> Any:
        return np.vectorize(math.erf, otypes=[np.float64])(arrays[0])

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
        return grad * (2 / math.sqrt(math.pi) * emit("exp", -(x * x)))


@register
class Pow(_Accurate, Binary):
    """``a ** b``, as C's ``pow``: NaN of a negative base with a fractional exponent."""

    name = "pow"
    scalar = "pow"
    ufunc = np.float_power  # np.power takes a square root for the exponent 0.5, also of -inf

    def derive(self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Finite at 0: ``0 ** 0`` is flat in ``a``, and logarithms are of positive bases only."""
        zero, one = convert(0, like=a), convert(1, like=a)
        corner = emit("logical_and", emit("equal", a, zero), emit("equal", b, zero))
        slope = b * emit("pow", a, emit("where", corner, zero, b - 1))
        positive = emit("greater", a, zero)
        log = emit("log", emit("where", positive, a, one))
        return grad * slope, grad * (y * emit("where", positive, log, zero))


def exp(x: TensorLike, name: str | None = None) -> Tensor:
    """``e ** x``."""
    return unary("exp", x, name)


def expm1(x: TensorLike, name: str | None = None) -> Tensor:
    """``e ** x - 1``, accurate near 0."""
    return unary("expm1", x, name)


def log(x: TensorLike, name: str | None = None) -> Tensor:
    """The natural logarithm: -inf of 0, NaN of negative numbers."""
    return unary("log", x, name)


def log1p(x: TensorLike, name: str | None = None) -> Tensor:
    """``log(1 + x)``, accurate near 0."""
    return unary("log1p", x, name)


def sin(x: TensorLike, name: str | None = None) -> Tensor:
    """The sine of radians."""
    return unary("sin", x, name)


def cos(x: TensorLike, name: str | None = None) -> Tensor:
    """The cosine of radians."""
    return unary("cos", x, name)


def tanh(x: TensorLike, name: str | None = None) -> Tensor:
    """The hyperbolic tangent."""
    return unary("tanh", x, name)


def sigmoid(x: TensorLike, name: str | None = None) -> Tensor:
    """``1 / (1 + e ** -x)``."""
    return unary("sigmoid", x, name)


def erf(x: TensorLike, name: str | None = None) -> Tensor:
    """The error function."""
    return unary("erf", x, name)


def pow(a: TensorLike, b: TensorLike, name: str | None = None) -> Tensor:
    """``a ** b`` of floats, broadcast; the literal exponent 2 squares integers as well."""
    if isinstance(b, int | float) and b == 2:
        return unary("square", a, name)
    a, b = convert_all((a, b))
    return emit("pow", a, b, name=name)
