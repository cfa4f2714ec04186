"""exp and expm1: Cody and Waite's reduction by ln 2, a polynomial, and a scale made from bits."""

from __future__ import annotations

from graphc.backends.loops.math.format import FORMATS
from graphc.backends.loops.math.term import Term, at_least, at_most, fma, horner, select
from graphc.ir.dtypes import DType, float32, float64

LOG2_E = 1.4426950408889634
LOG2_OF_3_2 = 0.5849625007211562

EXP: dict[DType, tuple[float, ...]] = {
    float32: (0.49999994, 0.166665167, 0.0416681021, 0.00836920086, 0.00138390425),
    float64: (
        0.5000000000000011, 0.16666666666666435, 0.041666666666527886, 0.008333333333449502,
        0.001388888894386181, 0.0001984126963420725, 2.4801493195277036e-05, 2.755746159545697e-06,
        2.7630113355157085e-07, 2.5040282471339056e-08,
    ),
}  # fmt: skip
"""(exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2; exp(r) to 2**-28.2 and 2**-57.6."""

EXPM1: dict[DType, tuple[float, ...]] = {
    float32: (0.5, 0.166666701, 0.0416665748, 0.00833196286, 0.00139187125, 0.000210047059),
    float64: (
        0.5, 0.16666666666666666, 0.04166666666666762, 0.008333333333334414,
        0.0013888888888107663, 0.0001984126984125133, 2.4801589462304148e-05,
        2.755730471427566e-06, 2.7554827960078957e-07, 2.5081348728687995e-08,
        2.191683569081176e-09,
    ),
}  # fmt: skip
"""The same for ln(3/4) <= r <= ln(3/2), and good for expm1(r): to 2**-31.2 and 2**-61.1."""

OVERFLOW: dict[DType, float] = {float32: 89.0, float64: 710.0}
"""From here on exp is infinite."""
UNDERFLOW: dict[DType, float] = {float32: -104.0, float64: -746.0}
"""From here down exp is 0."""
MINUS_ONE: dict[DType, float] = {float32: -18.0, float64: -38.0}
"""From here down expm1 is -1."""


def exp(x: Term) -> Term:
    """e to the power of x."""
    return exp_of_small(at_most(x, OVERFLOW[x.dtype]))


def exp_of_small(x: Term) -> Term:
    """exp of an x that is at most OVERFLOW."""
    r, scales = _reduce(at_least(x, UNDERFLOW[x.dtype]))
    return horner(r, (1.0, 1.0, *EXP[x.dtype])) * scales[0] * scales[1]


def exp_of_pair(high: Term, low: Term) -> Term:
    """exp of a sum, of which ``low`` is the rounding error."""
    bounded = at_least(at_most(high, OVERFLOW[high.dtype]), UNDERFLOW[high.dtype])
    r, scales = _reduce(bounded)
    result = horner(r, (1.0, 1.0, *EXP[high.dtype]))
    # Where ``high`` was bounded, ``low`` may be large, and must not count.
    low = at_least(at_most(low, 1e-6), -1e-6)
    return fma(result, low, result) * scales[0] * scales[1]


def _reduce(x: Term) -> tuple[Term, tuple[Term, Term]]:
    """r and two factors of 2**n, which alone may be no normal number: exp(x) = 2**n exp(r)."""
    form = FORMATS[x.dtype]
    shifter = form.shifter + 2 * form.bias
    shifted = fma(x, LOG2_E, shifter)
    r = reduce_by_ln2(x, shifted - shifter)
    # The low bits of shifted are n + 2 bias.
    bits = shifted.bits
    first = (bits >> 1) << form.mantissa
    second = (bits << form.mantissa) - first
    return r, (first.as_float, second.as_float)


def expm1(x: Term) -> Term:
    """e to the power of x, less 1."""
    bounded = at_least(at_most(x, OVERFLOW[x.dtype]), MINUS_ONE[x.dtype])
    half = half_expm1(bounded)
    return select(abs(x) < FORMATS[x.dtype].negligible, x, half + half)


def half_expm1(x: Term) -> Term:
    """expm1(x) / 2 for x from MINUS_ONE to OVERFLOW; halved, since 2**n alone may overflow.

    n is chosen so that 3/4 <= exp(r) <= 3/2: then 2**n - 1 and 2**n expm1(r) cancel so little that
    the rounding of expm1(r) costs less than half a unit of the result.
    """
    form = FORMATS[x.dtype]
    shifter = form.shifter + form.bias - 1
    shifted = fma(x, LOG2_E, 0.5 - LOG2_OF_3_2) + shifter
    r = reduce_by_ln2(x, shifted - shifter)
    scale = (shifted.bits << form.mantissa).as_float
    polynomial = fma(r * r, horner(r, EXPM1[x.dtype]), r)
    return fma(scale, polynomial, scale - 0.5)


def reduce_by_ln2(x: Term, n: Term) -> Term:
    """x - n ln 2."""
    form = FORMATS[x.dtype]
    return fma(n, -form.ln2_low, fma(n, -form.ln2_high, x))
