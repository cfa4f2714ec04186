"""tanh and its relative, the logistic sigmoid."""

from __future__ import annotations

from graphc.backends.loops.math.exponential import exp_of_small, half_expm1
from graphc.backends.loops.math.term import Term, at_most, fma, select, with_sign_of
from graphc.ir.dtypes import DType, float32, float64

SATURATED: dict[DType, float] = {float32: 9.1, float64: 19.1}
"""From here on tanh is 1."""


def tanh(x: Term) -> Term:
    """The hyperbolic tangent.

    With h = expm1(-2 |x|) / 2 it is -h / (1 + h) = h**2 / (1 + h) - h: after that sum, nothing
    is rounded. A rational function of x**2 takes 2/3 of the operations, but is off by 4.6 ulp.
    """
    magnitude = at_most(abs(x), SATURATED[x.dtype])
    h = half_expm1(-(magnitude + magnitude))
    return with_sign_of(x, fma(h, h / (1.0 + h), -h))


def sigmoid(x: Term) -> Term:
    """1 / (1 + exp(-x)), with its full precision for negative x too.

    With e = exp(-|x|) it is t / (1 + e) = t - t e / (1 + e) for t = 1, or e where x is negative;
    the second form rounds less.
    """
    e = exp_of_small(-abs(x))
    top = select(x < 0.0, e, 1.0)
    return fma(-top, e / (1.0 + e), top)
