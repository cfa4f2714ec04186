"""The error function, without a division or an exponential.

For small x, x + x P(x**2). Beyond, erf(x) = 1 - erfc(x), and the eighth root of erfc is nearly a
straight line: a short polynomial, squared three times. Nothing in the tail has to be precise there,
since 1 outweighs it. Hastings (1955) took the sixteenth root of 1 / erfc for the same reason
(Abramowitz and Stegun, 7.1.28).
"""

from __future__ import annotations

from graphc.backends.loops.math.term import Term, at_most, fma, horner, select, with_sign_of
from graphc.ir.dtypes import DType, float32, float64

SATURATED: dict[DType, float] = {float32: 3.93, float64: 5.93}
"""From here on erf is 1."""
SMALL: dict[DType, float] = {float32: 1.12109375, float64: 1.1181640625}
"""Up to here NEAR is used. Chosen where the constant term of ROOT is a float to 7 more bits."""

NEAR: dict[DType, tuple[float, ...]] = {
    float32: (
        0.128379166, -0.376126021, 0.112832561, -0.0268392246, 0.00516026979, -0.000776596135,
        7.06424398e-5,
    ),
    float64: (
        0.12837916709551256, -0.37612638903183393, 0.11283791670941111, -0.026866170642977933,
        0.005223977608221892, -0.0008548326203416328, 0.00012055307930343046,
        -1.4925138268972002e-05, 1.645496236164103e-06, -1.6297349685664932e-07,
        1.4363526931680462e-08, -1.0415163421551518e-09, 4.5938447858050825e-11,
    ),
}  # fmt: skip
"""erf(x) / x - 1 in powers of x**2; erf(x) to 2**-27.2 and 2**-55.9."""

ROOT: dict[DType, tuple[float, ...]] = {
    float32: (
        0.761320889, -0.270737261, -0.0334425345, 0.0197325554, 0.00197354774, -0.00150883454,
        0.000161584423,
    ),
    float64: (
        0.7621137752627791, -0.2705402987087689, -0.03362534343863223, 0.019767611508551365,
        0.0018368377184117388, -0.0012970499257161936, 1.4974201004697019e-05,
        4.654091854291984e-05, -4.644973895719971e-06, -1.7903037237805943e-07,
        -9.989185596407045e-08, 3.130842694765189e-08, 6.320054977610345e-09,
        -4.397895897870624e-09, 1.1192195180759156e-09, -1.8729465485960996e-10,
        2.1974962100031453e-11, -1.6355187674926354e-12, 5.720454268792397e-14,
    ),
}  # fmt: skip
"""erfc(x) ** (1/8) in powers of x - SMALL; good for erf(x) to 2**-26.9 and 2**-58.6."""


def erf(x: Term) -> Term:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    near = fma(x, horner(x * x, NEAR[x.dtype]), x)
    magnitude = abs(x)
    limit = SMALL[x.dtype]
    root = horner(at_most(magnitude, SATURATED[x.dtype]) - limit, ROOT[x.dtype])
    fourth = root * root
    fourth = fourth * fourth
    far = with_sign_of(x, fma(-fourth, fourth, 1.0))
    return select(magnitude < limit, near, far)
