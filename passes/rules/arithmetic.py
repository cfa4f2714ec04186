"""Rules of elementwise ops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from graphc.ir.dtypes import DType, bool_, float32, float64, int32, int64
from graphc.passes.rules.application import (
    Application,
    Operand,
    Rule,
    Without,
    inputs_of,
    is_number,
    like,
    made_by,
    number,
    shaped,
    uniform,
)


def _neutral(value: float, sides: tuple[int, ...]) -> Rule:
    """``x op value`` is ``x``, with ``value`` on one of the ``sides`` (0: left, 1: right)."""

    def rule(x: Application) -> Operand | None:
        for side in sides:
            other = x.inputs[1 - side]
            if other.type == x.type and is_number(uniform(x.inputs[side]), value):
                return other
        return None

    return rule


def _integers(rule: Rule) -> Rule:
    return lambda x: rule(x) if x.type.dtype.is_integer else None


def _floats(rule: Rule) -> Rule:
    return lambda x: rule(x) if x.type.dtype.is_float else None


def _negated_by(sides: tuple[int, ...]) -> Rule:
    """``x * -1`` and ``x / -1`` are ``-x``: only the sign changes, of zeros and NaN as well."""

    def rule(x: Application) -> Operand | None:
        for side in sides:
            other = x.inputs[1 - side]
            if other.type == x.type and is_number(uniform(x.inputs[side]), -1):
                return like(x, "negative", other)
        return None

    return rule


def _add_negative(x: Application) -> Operand | None:
    """``a + -b`` is ``a - b``, which IEEE 754 defines that way."""
    a, b = x.inputs
    if made_by(b, "negative"):
        return like(x, "subtract", a, inputs_of(b)[0])
    if made_by(a, "negative"):
        return like(x, "subtract", b, inputs_of(a)[0])
    return None


def _subtract_negative(x: Application) -> Operand | None:
    a, b = x.inputs
    return like(x, "add", a, inputs_of(b)[0]) if made_by(b, "negative") else None


def _minus_from_zero(x: Application) -> Operand | None:
    """``-0.0 - x`` is ``-x`` for every ``x``; ``0.0 - 0.0`` is 0.0 and not -0.0, so 0 stays."""
    a, b = x.inputs
    zero = -0.0 if x.type.dtype.is_float else 0
    return like(x, "negative", b) if b.type == x.type and is_number(uniform(a), zero) else None


def _both_negative(x: Application) -> Operand | None:
    """Signs of factors multiply, so two of them cancel out."""
    a, b = x.inputs
    if made_by(a, "negative") and made_by(b, "negative"):
        return x.with_inputs(inputs_of(a)[0], inputs_of(b)[0])
    return None


def _times_zero(x: Application) -> Without | None:
    """For integers only: NaN and infinity times 0 are NaN, and negative numbers give -0.0."""
    for factor, other in (x.inputs, x.inputs[::-1]):
        if is_number(uniform(factor), 0):
            return Without(shaped("broadcast_to", number(0, x), x.shape), other)
    return None


def _by_power_of_two(x: Application) -> Operand | None:
    """Where ``1 / c`` is a number, both forms round the same real number once."""
    a, b = x.inputs
    value = uniform(b)
    if a.type != x.type or value is None or not math.isfinite(value):
        return None
    mantissa, exponent = math.frexp(value)
    if abs(mantissa) != 0.5 or abs(exponent - 1) > _EXPONENTS.get(x.type.dtype, -1):
        return None
    return like(x, "multiply", a, number(1 / value, x))


_EXPONENTS: Mapping[DType, int] = {float32: 126, float64: 1022}
"""Powers of two up to this exponent, and down to its negative, are normal numbers."""


def _twice(x: Application) -> Operand | None:
    """``f(f(x))`` is ``x``."""
    (inner,) = x.inputs
    return inputs_of(inner)[0] if made_by(inner, x.op) else None


def _again(x: Application) -> Operand | None:
    """``f(f(x))`` is ``f(x)``."""
    (inner,) = x.inputs
    return inner if made_by(inner, x.op) else None


def _even(x: Application) -> Operand | None:
    """``f(-x)`` is ``f(x)``."""
    (inner,) = x.inputs
    return x.with_inputs(inputs_of(inner)[0]) if made_by(inner, "negative") else None


def _same(x: Application) -> Operand | None:
    """``f(x, x)`` is ``x``."""
    a, b = x.inputs
    return a if a is b else None


def _power(x: Application) -> Operand | Without | None:
    """Exponents that are one operation, whose rounding is the best there is.

    Not 0.5: the square root of -0.0 is -0.0 and that of -inf NaN, the powers are 0.0 and inf.
    ``pow`` of anything, NaN included, and 0 is 1.
    """
    base, exponent = x.inputs
    value = uniform(exponent)
    if value == 0:
        return Without(shaped("broadcast_to", number(1, x), x.shape), base)
    if base.type != x.type:
        return None
    if value == 1:
        return base
    return like(x, _POWERS[value], base) if value in _POWERS else None


_POWERS: Mapping[Any, str] = {2: "square", -1: "reciprocal"}


def _chosen(x: Application) -> Without | None:
    """One of two values, if it is known which, or if it makes no difference."""
    condition, yes, no = x.inputs
    value = uniform(condition)
    if value is None and yes is not no:
        return None
    taken, lost = (no, yes) if value is False else (yes, condition if yes is no else no)
    same = taken.type == x.type
    return Without(taken if same else shaped("broadcast_to", taken, x.shape), lost)


def _cast(x: Application) -> Operand | None:
    """To the same dtype; or back from one that held every value."""
    (inner,) = x.inputs
    if inner.type.dtype is x.type.dtype:
        return inner
    if made_by(inner, "cast"):
        (source,) = inputs_of(inner)
        if source.type.dtype is x.type.dtype and inner.type.dtype in _HELD_BY[x.type.dtype]:
            return source
    return None


_HELD_BY: Mapping[DType, frozenset[DType]] = {
    bool_: frozenset({int32, int64, float32, float64}),
    int32: frozenset({int64, float64}),
    float32: frozenset({float64}),
    int64: frozenset(),
    float64: frozenset(),
}
"""For each dtype, those that hold all of its values."""


def _through(x: Application) -> Operand | None:
    """A name for its operand."""
    return x.inputs[0]


_RIGHT, _BOTH = (1,), (0, 1)
RULES: Mapping[str, tuple[Rule, ...]] = {
    # x + 0.0 is not x: it makes 0.0 of -0.0. x + -0.0 and x - 0.0 keep both zeros.
    "add": (_floats(_neutral(-0.0, _BOTH)), _integers(_neutral(0, _BOTH)), _add_negative),
    "subtract": (_neutral(0, _RIGHT), _subtract_negative, _minus_from_zero),
    "multiply": (
        _neutral(1, _BOTH), _negated_by(_BOTH), _both_negative, _integers(_times_zero),
    ),
    "divide": (_neutral(1, _RIGHT), _negated_by(_RIGHT), _both_negative, _by_power_of_two),
    "floordiv": (_neutral(1, _RIGHT),),
    "negative": (_twice,),
    "logical_not": (_twice,),
    "abs": (_again, _even),
    "square": (_even,),
    "relu": (_again,),
    "floor": (_again,),
    "ceil": (_again,),
    "round": (_again,),
    "sign": (_again,),
    "maximum": (_same,),
    "minimum": (_same,),
    "logical_and": (_same, _neutral(True, _BOTH)),
    "logical_or": (_same, _neutral(False, _BOTH)),
    "logical_xor": (_neutral(False, _BOTH),),
    "pow": (_power,),
    "where": (_chosen,),
    "cast": (_cast,),
    "identity": (_through,),
    "stop_gradient": (_through,),
}  # fmt: skip
