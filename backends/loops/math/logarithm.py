"""log and log1p: an exponent k and 3/4 <= m < 3/2, then k ln 2 + log(m)."""

from __future__ import annotations

import math

from graphc.backends.loops.math.format import FORMATS
from graphc.backends.loops.math.term import Term, fma, horner, select
from graphc.ir.dtypes import DType, float32, float64

LOG1P: dict[DType, tuple[float, ...]] = {
    float32: (
        -0.5, 0.333334506, -0.24999553, 0.199898422, -0.166674986, 0.14531593, -0.130092338,
        0.0984017253, -0.0397471227,
    ),
    float64: (
        -0.5, 0.3333333333333375, -0.2500000000001068, 0.19999999999851314, -0.16666666663776647,
        0.14285714299684873, -0.12500000292329827, 0.11111110793290574, -0.09999985505240411,
        0.09090892219770103, -0.08333703791044272, 0.07693402287688525, -0.0713862129087291,
        0.06643255587921526, -0.062492746257820204, 0.060826514122671635, -0.05970414365887362,
        0.05075744008149733, -0.02945086862579086, 0.008114237691065273,
    ),
}  # fmt: skip
"""(log(1 + f) - f) / f**2 for -1/4 <= f <= 1/2; log(1 + f) to 2**-26.7 and 2**-56.5."""


def log(x: Term) -> Term:
    """The natural logarithm."""
    k, m = split(x)
    return _special(x, 0.0, _sum(k, m - 1.0))


def split(x: Term) -> tuple[Term, Term]:
    """k and m with x = m 2**k and 3/4 <= m < 3/2, for 0 < x < inf."""
    form = FORMATS[x.dtype]
    tiny = x < form.smallest_normal
    k, m = split_normal(select(tiny, x * 2.0**form.mantissa, x))
    return k - select(tiny, x.constant(form.mantissa), 0.0), m


def split_normal(x: Term) -> tuple[Term, Term]:
    """``split`` of normal numbers."""
    form = FORMATS[x.dtype]
    raised = _raised(x)
    m = ((raised & form.mantissa_mask) + form.three_quarters).as_float
    return _exponent(raised, x), m


def log1p(x: Term) -> Term:
    """The logarithm of 1 + x.

    1 + x is rounded to find k, and only for that: f = (1 + x) / 2**k - 1 comes of x itself, which
    3/4 <= m < 3/2 makes exact wherever the last bit of x counts.
    """
    form = FORMATS[x.dtype]
    raised = _raised(1.0 + x)
    k = _exponent(raised, x)
    # 4 / 2**k, since 1 / 2**k may be subnormal.
    scale = ((2 * form.bias + 2 << form.mantissa) - (raised & form.exponent_mask)).as_float
    f = fma(x * 0.25, scale, fma(scale, 0.25, -1.0))
    return select(abs(x) < form.negligible, x, _special(x, -1.0, _sum(k, f)))


def _raised(x: Term) -> Term:
    """The bits of x = m 2**k, moved so that the exponent's field is k and the rest m - 3/4."""
    return x.bits + (1 << FORMATS[x.dtype].mantissa - 1)


def _exponent(raised: Term, like: Term) -> Term:
    """k as a float."""
    form = FORMATS[like.dtype]
    shifted = (raised >> form.mantissa) | form.shifter_bits
    return shifted.as_float - (form.shifter + form.bias)


def _sum(k: Term, f: Term) -> Term:
    """k ln 2 + log(1 + f); what is lost in the first addition is carried along."""
    form = FORMATS[f.dtype]
    scaled = k * form.ln2_high
    high = scaled + f
    low = f - (high - scaled)
    tail = fma(f * f, horner(f, LOG1P[f.dtype]), low)
    return high + fma(k, form.ln2_low, tail)


def _special(x: Term, pole: float, result: Term) -> Term:
    """``result``, with -inf at ``pole``, NaN below it and inf at inf."""
    outside = select(x.equals(pole), x.constant(-math.inf), math.nan)
    return select(x.equals(math.inf), x, select(x > pole, result, outside))
