"""The scalar operations: one table with arity, result type and NumPy meaning.

Both levels of kernels use these names (``graphc.ir.compute`` and ``graphc.backends.loops``), and
every interpreter, printer and schedule reads this table. Semantics that differ between machines
are fixed here: floor division and modulo are Python's, ``min`` and ``max`` give NaN if either
operand is NaN, casts from float to integer saturate and send NaN to 0, shifts by the width or
more give 0 (-1 for an arithmetic shift of a negative value).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.dtypes import DType, bool_

Result = str
"""``same``: the dtype of the operands; ``bool``; ``given``: named by the expression (casts)."""


@dataclass(frozen=True)
class ScalarOp:
    """``kinds`` are the dtype kinds its operands may have; ``exact`` means correctly rounded."""

    arity: int
    result: Result
    kinds: frozenset[str]
    evaluate: Callable[..., Any] | None
    exact: bool = True


NUMBERS = frozenset({"int", "uint", "float"})
INTEGERS = frozenset({"int", "uint"})
FLOATS = frozenset({"float"})
BITS = frozenset({"bool", "int", "uint"})
ALL = frozenset({"bool", "int", "uint", "float"})


def cast(value: Any, dtype: DType) -> Any:
    """``value`` converted: floats saturate to integers and NaN becomes 0, integers wrap."""
    array = np.asarray(value)
    if dtype.is_integer and array.dtype.kind not in "iub":
        wide = array.astype(np.float64)
        low, high = float(dtype.min), float(dtype.max)
        inside = (wide > low) & (wide < high)
        with np.errstate(invalid="ignore"):
            result = np.where(inside, wide, 0.0).astype(dtype.numpy)
        result = np.where(wide <= low, np.array(dtype.min, dtype.numpy), result)
        return np.where(wide >= high, np.array(dtype.max, dtype.numpy), result)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype.numpy)


def _fma(a: Any, b: Any, c: Any) -> Any:
    """Exact for float32 (a double holds the product); float64 goes through exact fractions."""
    if np.asarray(a).dtype == np.float64:
        from graphc.ir.compute.exact import fma64

        return fma64(a, b, c)
    from graphc.ir.compute.exact import fma32

    return fma32(a, b, c)


def _mulhi(a: Any, b: Any) -> Any:
    """The upper 32 bits of a 32-bit unsigned product."""
    return ((a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)


def _shift_left(a: Any, b: Any) -> Any:
    bits = np.asarray(a).dtype.itemsize * 8
    return np.where(b < bits, np.left_shift(a, np.minimum(b, bits - 1)), 0).astype(a.dtype)


def _shift_right(a: Any, b: Any) -> Any:
    array = np.asarray(a)
    bits = array.dtype.itemsize * 8
    if array.dtype.kind == "i":
        return np.right_shift(a, np.minimum(b, bits - 1))
    return np.where(b < bits, np.right_shift(a, np.minimum(b, bits - 1)), 0).astype(array.dtype)


def _erf(x: Any) -> Any:
    from graphc.ir.compute.exact import erf

    return erf(x)


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.asarray(x).dtype)


def _sinpi(x: Any, quadrants: int = 0) -> Any:
    """sin(pi x), ``quadrants`` further on; x is reduced exactly, before the product with pi."""
    turn = x - 2 * np.rint(x / 2)
    quadrant = np.rint(2 * turn)
    angle = np.pi * (turn - quadrant / 2).astype(np.float64)
    sine, cosine = np.sin(angle), np.cos(angle)
    waves = [sine, cosine, -sine, -cosine]
    index = np.where(np.isfinite(quadrant), quadrant, 0).astype(np.int64) + quadrants
    result = np.choose(index % 4, waves).astype(np.asarray(x).dtype)
    return np.where((x == 0) & (quadrants == 0), x, result)


def _cospi(x: Any) -> Any:
    return _sinpi(x, 1)


SCALAR_OPS: dict[str, ScalarOp] = {
    "add": ScalarOp(2, "same", NUMBERS, np.add),
    "sub": ScalarOp(2, "same", NUMBERS, np.subtract),
    "mul": ScalarOp(2, "same", NUMBERS, np.multiply),
    "div": ScalarOp(2, "same", FLOATS, np.divide),
    "floordiv": ScalarOp(2, "same", INTEGERS, np.floor_divide),
    "mod": ScalarOp(2, "same", INTEGERS, np.mod),
    "mulhi": ScalarOp(2, "same", INTEGERS, _mulhi),
    "fma": ScalarOp(3, "same", FLOATS, _fma),
    "min": ScalarOp(2, "same", ALL, np.minimum),
    "max": ScalarOp(2, "same", ALL, np.maximum),
    "neg": ScalarOp(1, "same", NUMBERS, np.negative),
    "abs": ScalarOp(1, "same", NUMBERS, np.abs),
    "floor": ScalarOp(1, "same", FLOATS, np.floor),
    "ceil": ScalarOp(1, "same", FLOATS, np.ceil),
    "rint": ScalarOp(1, "same", FLOATS, np.rint),
    "trunc": ScalarOp(1, "same", FLOATS, np.trunc),
    "sqrt": ScalarOp(1, "same", FLOATS, np.sqrt),
    "exp": ScalarOp(1, "same", FLOATS, np.exp, exact=False),
    "expm1": ScalarOp(1, "same", FLOATS, np.expm1, exact=False),
    "log": ScalarOp(1, "same", FLOATS, np.log, exact=False),
    "log1p": ScalarOp(1, "same", FLOATS, np.log1p, exact=False),
    "sin": ScalarOp(1, "same", FLOATS, np.sin, exact=False),
    "cos": ScalarOp(1, "same", FLOATS, np.cos, exact=False),
    "sinpi": ScalarOp(1, "same", FLOATS, _sinpi, exact=False),
    "cospi": ScalarOp(1, "same", FLOATS, _cospi, exact=False),
    "tanh": ScalarOp(1, "same", FLOATS, np.tanh, exact=False),
    "sigmoid": ScalarOp(1, "same", FLOATS, _sigmoid, exact=False),
    "erf": ScalarOp(1, "same", FLOATS, _erf, exact=False),
    "pow": ScalarOp(2, "same", FLOATS, np.float_power, exact=False),
    "lt": ScalarOp(2, "bool", ALL, np.less),
    "le": ScalarOp(2, "bool", ALL, np.less_equal),
    "gt": ScalarOp(2, "bool", ALL, np.greater),
    "ge": ScalarOp(2, "bool", ALL, np.greater_equal),
    "eq": ScalarOp(2, "bool", ALL, np.equal),
    "ne": ScalarOp(2, "bool", ALL, np.not_equal),
    "and": ScalarOp(2, "same", BITS, np.bitwise_and),
    "or": ScalarOp(2, "same", BITS, np.bitwise_or),
    "xor": ScalarOp(2, "same", BITS, np.bitwise_xor),
    "not": ScalarOp(1, "same", BITS, np.invert),
    "shl": ScalarOp(2, "same", INTEGERS, _shift_left),
    "shr": ScalarOp(2, "same", INTEGERS, _shift_right),
    "select": ScalarOp(3, "same", ALL, np.where),
    "cast": ScalarOp(1, "given", ALL, None),
    "bitcast": ScalarOp(1, "given", ALL, None),
}
"""``select`` takes a bool and two values; ``cast`` and ``bitcast`` are given their dtype."""


def evaluate(op: str, args: tuple[Any, ...], dtype: DType) -> Any:
    """``op`` applied to NumPy arrays or scalars, in ``dtype``, silently as IEEE does."""
    if op == "cast":
        return cast(args[0], dtype)
    if op == "bitcast":
        return np.asarray(args[0]).view(dtype.numpy)
    function = SCALAR_OPS[op].evaluate
    assert function is not None, op
    with np.errstate(all="ignore"):
        return np.asarray(function(*args)).astype(dtype.numpy, copy=False)


def result_dtype(op: str, operands: tuple[DType, ...], given: DType | None = None) -> DType:
    """The dtype of ``op`` over operands of these dtypes.

    Raises:
        KeyError: an unknown op.
        TypeError: operands that the op does not take.
    """
    rule = SCALAR_OPS[op]
    values = operands[1:] if op == "select" else operands
    if len(operands) != rule.arity or any(d is not values[0] for d in values):
        raise TypeError(f"{op} does not take operands {operands}")
    if values[0].kind not in rule.kinds or (op == "select" and operands[0] is not bool_):
        raise TypeError(f"{op} does not take operands {operands}")
    if rule.result == "given":
        if given is None:
            raise TypeError(f"{op} needs a dtype")
        return given
    return bool_ if rule.result == "bool" else values[0]
