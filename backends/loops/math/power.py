"""pow, as C99 defines it: exp(y log |x|), float32 in float64, float64 in pairs of floats."""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.backends.loops.math.exponential import exp_of_pair
from graphc.backends.loops.math.format import FORMATS
from graphc.backends.loops.math.logarithm import split, split_normal
from graphc.backends.loops.math.pairs import fast_two_sum, two_product
from graphc.backends.loops.math.term import Term, apply, at_least, at_most, fma, horner, select
from graphc.ir.dtypes import DType, float32, float64

HUGE = 2.0**64
"""A greater exponent changes no result: even the float next to 1 overflows or vanishes."""

LOG2_1P = (
    1.4426950409106352, -0.7213475219818445, 0.4808983351480859, -0.3606734345751306,
    0.28853975062246107, -0.24046911218491687, 0.20610117562745262, -0.17984374735491304,
    0.15950277791270567, -0.14898976290818963, 0.14555421381407313, -0.11602446379554657,
    0.04664743448051498,
)  # fmt: skip
"""log2(1 + f) / f for -1/4 <= f <= 1/2, to 2**-34.8."""

EXP2 = (
    1.0, 0.6931472149633531, 0.2402265277794128, 0.05550310553219981, 0.009617693772647835,
    0.0013406643378461142, 0.00015594414444814066,
)  # fmt: skip
"""2**r for |r| <= 1/2, to 2**-28.5."""

ATANH = (
    0.1999999999999986, 0.14285714285789966, 0.11111111095390153, 0.09090910784168123,
    0.07692202258718081, 0.06670602575793107, 0.0579572356074365, 0.06288523484242947,
)  # fmt: skip
"""(atanh(s) / s - 1 - z / 3) / z**2 in powers of z = s**2 <= 0.0401; atanh(s) to 2**-69."""

THIRD = (0.3333333333333333, 1.850371707708594e-17)


def power(x: Term, y: Term) -> Term:
    """x to the power of y."""
    magnitude = abs(x)
    bounded = at_least(at_most(y, HUGE), -HUGE)
    result = _CORES[x.dtype](magnitude, bounded)
    return _special(x, y, magnitude, result)


def _power32(x: Term, y: Term) -> Term:
    """x**y for 0 < x < inf: float64 has bits to spare, and its range makes one scale enough."""
    form = FORMATS[float64]
    k, m = split_normal(x.to(float64))
    f = m - 1.0
    w = y.to(float64) * fma(f, horner(f, LOG2_1P), k)
    w = at_least(at_most(w, 200.0), -200.0)
    shifter = form.shifter + form.bias
    shifted = w + shifter
    scale = (shifted.bits << form.mantissa).as_float
    return (horner(w - (shifted - shifter), EXP2) * scale).to(float32)


def _power64(x: Term, y: Term) -> Term:
    """x**y for 0 < x < inf, with log(x) to about 2**-64."""
    high, low = _log_pair(x)
    product, error = two_product(y, high)
    return exp_of_pair(product, fma(y, low, error))


def _log_pair(x: Term) -> tuple[Term, Term]:
    """log(x) = k ln 2 + 2 atanh(s) with s = f / (2 + f), as a sum of two floats."""
    form = FORMATS[x.dtype]
    k, m = split(x)
    f = m - 1.0
    d, d_low = fast_two_sum(2.0, f)
    inverse = 1.0 / d
    s = f * inverse
    p, p_low = two_product(s, d)
    s_low = (((f - p) - p_low) - s * d_low) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    # atanh(s) = s + s z (1/3 + z Q(z))
    g, g_low = fast_two_sum(THIRD[0], z * horner(z, ATANH))
    g_low = g_low + THIRD[1]
    h, h_low = two_product(z, g)
    h_low = h_low + fma(z, g_low, z_low * g)
    c, c_low = two_product(s, h)
    c_low = c_low + fma(s, h_low, s_low * h)
    high, e = fast_two_sum(s, c)
    low = e + (s_low + c_low)
    # The products of k are exact, and so is doubling.
    total, e = fast_two_sum(k * form.ln2_high, high + high)
    total_low = e + fma(k, form.ln2_low, low + low)
    return fast_two_sum(total, total_low)


_CORES: dict[DType, Callable[[Term, Term], Term]] = {float32: _power32, float64: _power64}


def _special(x: Term, y: Term, magnitude: Term, result: Term) -> Term:
    """What C99 (F.9.4.4) says of zeros, infinities, NaN and negative bases."""
    infinite = (2 * FORMATS[x.dtype].bias + 1) << FORMATS[x.dtype].mantissa
    half = y * 0.5
    fraction = apply("rint", y).differs(y)
    odd = apply("rint", half).differs(half) & apply("not", fraction)
    nan = x.differs(x) | y.differs(y) | ((x < 0.0) & (x > -math.inf) & fraction)
    edge = magnitude.equals(0.0) | magnitude.equals(math.inf)
    # Exchanges 0 and infinity.
    inverse = (magnitude.bits ^ infinite).as_float
    result = select(edge, select(y < 0.0, inverse, magnitude), result)
    sign = x.bits & (1 << x.dtype.bits - 1)
    result = (result.bits | select(odd, sign, 0)).as_float
    result = select(nan, math.nan, result)
    return select(y.equals(0.0) | x.equals(1.0), 1.0, result)
