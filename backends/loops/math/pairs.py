"""Sums and products with their rounding errors (T. J. Dekker, Numerische Mathematik 18, 1971)."""

from __future__ import annotations

from graphc.backends.loops.math.format import FORMATS
from graphc.backends.loops.math.term import Number, Term, fma


def fast_two_sum(a: Number, b: Term) -> tuple[Term, Term]:
    """a + b and its error, for |a| >= |b| or a = 0."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Term, b: Term) -> tuple[Term, Term]:
    """a b and its error, to twice the precision; without overflow, of normal numbers.

    Where there is no fused multiply-add, both are cut into halves, whose products are exact.
    """
    product = a * b
    if a.fused:
        return product, fma(a, b, -product)
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    high = a_high * b_high - product
    return product, ((high + a_high * b_low) + a_low * b_high) + a_low * b_low


def _halves(x: Term) -> tuple[Term, Term]:
    """x as a sum of its leading bits and of the rest."""
    low_bits = (FORMATS[x.dtype].mantissa + 2) // 2
    mask = (1 << x.dtype.bits) - (1 << low_bits)
    high = (x.bits & mask).as_float
    return high, x - high
