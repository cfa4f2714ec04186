"""Short ways to write loops expressions, with the types worked out and constants folded."""

from __future__ import annotations

from typing import Any

from graphc.backends.loops.ir import (
    I64,
    Broadcast,
    Const,
    Expr,
    Extract,
    Op,
    Shuffle,
    ValueType,
)
from graphc.ir.compute.scalar import INTEGERS, evaluate, result_dtype
from graphc.ir.dtypes import DType


def const(value: Any, type_: ValueType = I64) -> Const:
    """A number in the value's dtype, in every lane."""
    return Const(type_.dtype.numpy.type(value).item(), type_)


def op(name: str, *args: Expr) -> Expr:
    """``name`` over operands of one lane count; scalars are broadcast to vectors beside them."""
    lanes = max(a.type.lanes for a in args)
    wide = tuple(broadcast(a, lanes) for a in args)
    dtype = result_dtype(name, tuple(a.type.dtype for a in wide))
    return fold(Op(name, wide, ValueType(dtype, lanes)))


def cast(value: Expr, dtype: DType) -> Expr:
    """``value`` converted lane by lane, saturating."""
    if value.type.dtype is dtype:
        return value
    return fold(Op("cast", (value,), value.type.with_dtype(dtype)))


def bitcast(value: Expr, dtype: DType) -> Expr:
    """The bits of each lane read as ``dtype``, which has the same width."""
    return Op("bitcast", (value,), value.type.with_dtype(dtype))


def broadcast(value: Expr, lanes: int) -> Expr:
    """``value`` in ``lanes`` lanes; a value that has them already is returned as it is."""
    if value.type.lanes == lanes:
        return value
    wide = value.type.with_lanes(lanes)
    return Const(value.value, wide) if isinstance(value, Const) else Broadcast(value, wide)


def add(a: Expr, b: Expr | int) -> Expr:
    return op("add", a, _number(b, a))


def sub(a: Expr, b: Expr | int) -> Expr:
    return op("sub", a, _number(b, a))


def mul(a: Expr, b: Expr | int) -> Expr:
    return op("mul", a, _number(b, a))


def floordiv(a: Expr, b: Expr | int) -> Expr:
    return op("floordiv", a, _number(b, a))


def ceildiv(a: Expr, b: int) -> Expr:
    """``a / b`` rounded up, for a positive ``b``."""
    return floordiv(add(a, b - 1), b)


def minimum(a: Expr, b: Expr | int) -> Expr:
    return op("min", a, _number(b, a))


def less(a: Expr, b: Expr | int) -> Expr:
    return op("lt", a, _number(b, a))


def extract(vector: Expr, lane: int) -> Expr:
    """One lane as a scalar."""
    return Extract(vector, lane, vector.type.with_lanes(1))


def across(combiner: str, vector: Expr) -> Expr:
    """All lanes combined by ``combiner`` (a scalar op), halving: the order lanes alone fix."""
    lanes = vector.type.lanes
    while lanes > 1:
        lanes //= 2
        half = vector.type.with_lanes(lanes)
        low = Shuffle(vector, vector, tuple(range(lanes)), half)
        high = Shuffle(vector, vector, tuple(range(lanes, 2 * lanes)), half)
        vector = op(combiner, low, high)
    return extract(vector, 0) if vector.type.lanes > 1 else vector


def fold(expr: Op) -> Expr:
    """``expr`` with constant operands computed and integer identities (x + 0, x * 1) removed."""
    args = expr.args
    if all(isinstance(a, Const) for a in args) and expr.op not in ("floordiv", "mod", "bitcast"):
        values = tuple(a.type.dtype.numpy.type(a.value) for a in args if isinstance(a, Const))
        if expr.type.dtype.kind in INTEGERS or expr.type.dtype.is_bool:
            return Const(evaluate(expr.op, values, expr.type.dtype).item(), expr.type)
    if len(args) == 2 and expr.type.dtype.kind in INTEGERS:
        return _identity(expr, *args)
    return expr


def _identity(expr: Op, a: Expr, b: Expr) -> Expr:
    x = a.value if isinstance(a, Const) else None
    y = b.value if isinstance(b, Const) else None
    if expr.op == "add":
        return b if x == 0 else a if y == 0 else expr
    if expr.op == "sub" and y == 0:
        return a
    if expr.op == "mul":
        if x == 0 or y == 1:
            return a
        if y == 0 or x == 1:
            return b
    if expr.op in ("floordiv", "mod") and isinstance(y, int) and y > 0:
        if x is not None:
            return Const(x // y if expr.op == "floordiv" else x % y, expr.type)
        if y == 1:
            return a if expr.op == "floordiv" else Const(0, expr.type)
    return expr


def _number(value: Expr | int, like: Expr) -> Expr:
    return value if isinstance(value, Expr) else Const(value, like.type)
