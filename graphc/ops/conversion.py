"""Rounding, and conversion between dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.compute import expr, scalar
from graphc.ir.compute.builder import KernelBuilder
from graphc.ir.compute.expr import Expr
from graphc.ir.dtypes import DType, as_dtype
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert
from graphc.ops.emit import emit
from graphc.ops.pointwise import ALL, FLOATS, Unary, unary

__all__ = ["cast", "ceil", "floor", "round"]


class _Rounding(Unary):
    dtypes = FLOATS
    exact = True


@register
class Floor(_Rounding):
    """The largest integer at most ``x``, as a float."""

    name = "floor"
    scalar = "floor"
    ufunc = np.floor


@register
class Ceil(_Rounding):
    """The smallest integer at least ``x``, as a float."""

    name = "ceil"
    scalar = "ceil"
    ufunc = np.ceil


@register
class Round(_Rounding):
    """The nearest integer, the even one of two, as a float."""

    name = "round"
    scalar = "rint"
    ufunc = np.rint


@register
class Cast(Unary):
    """``x`` as ``dtype``: floats saturate to integers, NaN becomes 0, integers wrap."""

    name = "cast"
    attributes = {"dtype": (DType,)}
    dtypes = ALL
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (given,) = super().infer(typing)
        return [TensorType(typing.attrs["dtype"], given.shape)]

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor | None:
        if not (x.dtype.is_float and y.dtype.is_float):
            return None
        return emit("cast", grad, dtype=x.dtype)

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [np.asarray(scalar.cast(inputs[0], types[0].dtype))]

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        return expr.cast(values[0], build.attrs["dtype"])


def floor(x: TensorLike, name: str | None = None) -> Tensor:
    """The largest integers at most ``x``, as floats."""
    return unary("floor", x, name)


def ceil(x: TensorLike, name: str | None = None) -> Tensor:
    """The smallest integers at least ``x``, as floats."""
    return unary("ceil", x, name)


def round(x: TensorLike, name: str | None = None) -> Tensor:
    """The nearest integers, the even ones of two, as floats."""
    return unary("round", x, name)


def cast(x: TensorLike, dtype: Any, name: str | None = None) -> Tensor:
    """``x`` as ``dtype``.

    Floats saturate at the ends of an integer dtype and NaN becomes 0; integers wrap; whatever
    is not 0 is true.
    """
    x, wanted = convert(x), as_dtype(dtype)
    return x if x.dtype is wanted else emit("cast", x, dtype=wanted, name=name)
