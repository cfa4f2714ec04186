"""sin and cos, of radians and of half turns."""

from __future__ import annotations

from graphc.backends.loops.math.angle import Angle, angle, half_turns
from graphc.backends.loops.math.term import Term, fma, horner, select
from graphc.ir.dtypes import DType, float32, float64

SINE: dict[DType, tuple[float, ...]] = {
    float32: (-0.166666552, 0.00833218824, -0.000195180939),
    float64: (
        -0.1666666666666663, 0.00833333333332184, -0.00019841269829358788, 2.7557313538678406e-06,
        -2.5050734422897357e-08, 1.589543549787899e-10,
    ),
}  # fmt: skip
"""(sin(x) - x) / x**3 in powers of x**2, for |x| <= pi / 4; sin(x) to 2**-27.9 and 2**-57.8."""

COSINE: dict[DType, tuple[float, ...]] = {
    float32: (0.0416666456, -0.00138873095, 2.44323273e-5),
    float64: (
        0.041666666666666595, -0.0013888888888873327, 2.4801587288985593e-05,
        -2.755731421069082e-07, 2.087570435711461e-09, -1.1358687755094549e-11,
    ),
}  # fmt: skip
"""(cos(x) - 1 + x**2 / 2) / x**4 in powers of x**2, likewise; cos(x) to 2**-33 and 2**-63.9."""


def sin(x: Term) -> Term:
    """The sine of ``x`` radians, for all x."""
    return _negated_like(x, _sine(angle(abs(x)), 0))


def cos(x: Term) -> Term:
    """The cosine of ``x`` radians, for all x."""
    return _sine(angle(abs(x)), 1)


def sinpi(x: Term) -> Term:
    """sin(pi x), for all x; cheaper and more precise than a sine of the product."""
    return _negated_like(x, _sine(half_turns(abs(x)), 0))


def cospi(x: Term) -> Term:
    """cos(pi x), for all x; cheaper and more precise than a cosine of the product."""
    return _sine(half_turns(abs(x)), 1)


def _sine(angle: Angle, ahead: int) -> Term:
    """The sine of the angle ``ahead`` quadrants further on."""
    high, low = angle.high, angle.low
    square = high * high
    sine = high + fma(square * high, horner(square, SINE[high.dtype]), low)
    quartic = fma(square * square, horner(square, COSINE[high.dtype]), -(high * low))
    # 1 - square / 2, with what its rounding loses (fdlibm's k_cos).
    half = square * 0.5
    leading = 1.0 - half
    cosine = leading + (((1.0 - leading) - half) + quartic)
    quadrant = angle.quadrant + ahead if ahead else angle.quadrant
    result = select((quadrant & 1).differs(0), cosine, sine)
    return (result.bits ^ (quadrant & 2) << high.dtype.bits - 2).as_float


def _negated_like(x: Term, result: Term) -> Term:
    return (result.bits ^ x.bits & (1 << x.dtype.bits - 1)).as_float
