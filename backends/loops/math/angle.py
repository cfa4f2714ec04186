"""Angles reduced to -pi/4 .. pi/4 and a quadrant, without loss for any argument.

A large argument is worth as many bits of 2 / pi as it has binary places before the point (M. Payne
and R. Hanek, SIGNUM Newsletter 18, 1983). A float32 is multiplied by all of them, in float64. For a
float64, those that count are cut out of a long integer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.backends.loops.math.format import FORMATS
from graphc.backends.loops.math.pairs import fast_two_sum, two_product
from graphc.backends.loops.math.term import Term, apply, fma, select
from graphc.ir.dtypes import DType, float32, float64, uint32


@dataclass(frozen=True)
class Angle:
    """quadrant pi / 2 + high + low: ``quadrant``, modulo 4, is in the low bits of an integer."""

    high: Term
    low: Term
    quadrant: Term


PI: dict[DType, tuple[float, float]] = {
    float32: (3.1415927410125732, -8.742277657347586e-08),
    float64: (3.141592653589793, 1.2246467991473532e-16),
}
"""A float and what is missing."""
HALF_PI = (1.5707963267948966, 6.123233995736766e-17)

PIECES = tuple(
    map(
        float.fromhex,
        (
            "0x1.45f306cp-1", "0x1.c9c882ap-29", "0x1.4fe13a8p-59", "0x1.f47d4dp-86",
            "0x1.bb81b6cp-113", "0x1.4acc9ep-143", "0x1.0e4107cp-170",
        ),
    )
)  # fmt: skip
"""2 / pi, 28 bits in each: times a float32 they are exact in float64."""
WHOLE_TURNS = 5
"""How many of PIECES can make four quadrants with a float32."""

TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e0"
    "06492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f4"
    "9c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d"
    "7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab"
)
"""2 / pi in hexadecimal, 1216 bits after the point."""
WORDS = (0, *(int(TWO_OVER_PI[i : i + 16], 16) for i in range(0, len(TWO_OVER_PI), 16)))
"""64 bits in each, after 64 zeros."""
FIRST_EXPONENT = 1013
"""The biased exponent of a float64 whose last place is worth a multiple of 4 from WORDS[0] on."""
HALF_WORD = (1 << 32) - 1


def angle(x: Term) -> Angle:
    """``x`` radians, not negative."""
    return _ANGLES[x.dtype](x)


def half_turns(x: Term) -> Angle:
    """``x`` times pi, not negative: exact but for the last product."""
    shifter = FORMATS[x.dtype].shifter
    turn = fma(apply("rint", x * 0.5), -2.0, x)
    shifted = fma(turn, 2.0, shifter)
    rest = fma(shifted - shifter, -0.5, turn)
    return Angle(*_product(rest, PI[x.dtype]), shifted.bits)


def _product(x: Term, constant: tuple[float, float]) -> tuple[Term, Term]:
    high, error = two_product(x, x.constant(constant[0]))
    return high, fma(x, constant[1], error)


def _angle32(x: Term) -> Angle:
    shifter = FORMATS[float64].shifter
    wide = x.to(float64)
    parts = [wide * piece for piece in PIECES]
    for i in range(WHOLE_TURNS):
        parts[i] = fma(apply("rint", parts[i] * 0.25), -4.0, parts[i])
    total = parts[-1]
    for part in reversed(parts[:-1]):
        total = part + total
    shifted = total + shifter
    # Largest first: what cancels cancels exactly.
    rest = parts[0] - (shifted - shifter)
    for part in parts[1:]:
        rest = rest + part
    wide = rest * HALF_PI[0]
    high = wide.to(float32)
    low = (wide - high.to(float64)).to(float32)
    return Angle(high, low, shifted.bits.to(uint32))


def _angle64(x: Term) -> Angle:
    top, bottom = _quarter_turns(x)
    quadrant = (top + (1 << 61)) >> 62
    high, low = _signed_fraction((top << 2) | (bottom >> 62), bottom << 2)
    product, error = _product(high, HALF_PI)
    error = fma(low, HALF_PI[0], error)
    small = x < math.pi / 4
    # x - x is NaN for infinity.
    return Angle(
        select(small, x, product),
        select(small, 0.0, error + (x - x)),
        select(small, 0, quadrant),
    )


def _quarter_turns(x: Term) -> tuple[Term, Term]:
    """x / (2 pi) modulo 1, in units of 2**-128: the upper and the lower 64 bits; for x > pi / 4.

    The integer significand times 192 bits of 2 / pi, of which the last 64 only lend a carry.
    """
    form = FORMATS[x.dtype]
    position = (x.bits >> form.mantissa) - FIRST_EXPONENT
    significand = (x.bits & form.mantissa_mask) | (1 << form.mantissa)
    f0, f1, f2 = _window(position)
    m1, m0 = significand >> 32, significand & HALF_WORD
    a1, b1 = f1 >> 32, f1 & HALF_WORD
    a2, b2 = f2 >> 32, f2 & HALF_WORD
    t = m0 * b1
    u = m1 * b1 + (t >> 32)
    v = m0 * a1 + (u & HALF_WORD)
    carried = m1 * a2 + (m0 * a2 >> 32) + (m1 * b2 >> 32)
    bottom = (v << 32 | t & HALF_WORD) + carried
    overflow = select(bottom < carried, x.bits.constant(1), 0)
    return significand * f0 + m1 * a1 + (u >> 32) + (v >> 32) + overflow, bottom


def _window(position: Term) -> tuple[Term, Term, Term]:
    """192 bits of WORDS from bit ``position`` on: chosen by halves, then shifted."""
    words = [position.constant(word) for word in WORDS]
    index = position >> 6
    for distance in (16, 8, 4, 2, 1):
        chosen = (index & distance).differs(0)
        reachable = [
            select(chosen, words[i + distance], words[i]) if i + distance < len(words) else words[i]
            for i in range(min(len(words), distance + 3))
        ]
        words = reachable
    shift = position & 63
    opposite = 63 - shift
    f0, f1, f2 = ((words[i] << shift) | ((words[i + 1] >> 1) >> opposite) for i in range(3))
    return f0, f1, f2


def _signed_fraction(top: Term, bottom: Term) -> tuple[Term, Term]:
    """The two's complement integer ``top`` 2**-64 + ``bottom`` 2**-128 as a sum of two floats."""
    form = FORMATS[float64]
    exponent = form.bias + form.mantissa << form.mantissa

    def scaled(half: Term, bias: float, scale: int) -> Term:
        return ((half | exponent).as_float - (2.0**form.mantissa + bias)) * 2.0**scale

    a = scaled((top ^ (1 << 63)) >> 32, 2.0**31, -32)
    b = scaled(top & HALF_WORD, 0.0, -64)
    c = scaled(bottom >> 32, 0.0, -96)
    d = scaled(bottom & HALF_WORD, 0.0, -128)
    high, error = fast_two_sum(a, b)
    return fast_two_sum(high, error + (c + d))


_ANGLES = {float32: _angle32, float64: _angle64}
