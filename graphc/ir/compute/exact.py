"""Exact building blocks of the interpreters that NumPy lacks: fused multiply-add and erf."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np


def fma32(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of float32 with one rounding.

    The product is exact in float64; the sum is rounded to odd there (Boldo and Melquiond, 2008),
    so that the second rounding, to float32, gives the correctly rounded result.
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    with np.errstate(all="ignore"):
        total = product + addend
        virtual = total - product
        error = (product - (total - virtual)) + (addend - virtual)
        inexact = (error != 0) & np.isfinite(error) & np.isfinite(total)
        bits = np.atleast_1d(total).view(np.int64).reshape(total.shape)
        toward = np.where((error > 0) == (total > 0), 1, -1)
        even = (bits & 1) == 0
        odd = np.where(inexact & even, bits + toward * inexact, bits)
        # An even neighbour is replaced by the odd one on the side of the error.
        return np.atleast_1d(odd).view(np.float64).reshape(total.shape).astype(np.float32)


def fma64(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of float64 with one rounding, through exact fractions; slow."""
    return np.vectorize(_fma64, otypes=[np.float64])(a, b, c)


def _fma64(a: float, b: float, c: float) -> float:
    a, b, c = float(a), float(b), float(c)
    if not math.isfinite(c):
        return c if math.isfinite(a) and math.isfinite(b) else a * b + c
    if not (math.isfinite(a) and math.isfinite(b)):
        with np.errstate(all="ignore"):
            return float(np.float64(a) * np.float64(b) + np.float64(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        with np.errstate(all="ignore"):
            return float(np.float64(a) * np.float64(b) + np.float64(c)) if a * b == 0 else 0.0
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def erf(x: Any) -> Any:
    """The error function, through the C library's, in the dtype of ``x``."""
    array = np.asarray(x)
    return np.vectorize(math.erf, otypes=[np.float64])(array).astype(array.dtype)
