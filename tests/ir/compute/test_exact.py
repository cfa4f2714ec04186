"""Fused multiply-add against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graphc.ir.compute.exact import erf, fma32, fma64
from graphc.ir.dtypes import DType, float32, float64

FMA = {float32: fma32, float64: fma64}


def nearest(exact: Fraction, dtype: DType) -> float:
    """The number of `dtype` nearest to `exact`, of two the even one, by its definition."""
    digits, lowest = (24, -149) if dtype is float32 else (53, -1074)
    if exact == 0:
        return 0.0
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - digits + 1, lowest)
    rounded = round(size / unit) * unit
    if rounded > Fraction(dtype.max):
        return math.inf if exact > 0 else -math.inf
    return float(rounded) if exact > 0 else -float(rounded)


def bits(value: float) -> str:
    return float(value).hex()


def operands(dtype: DType):
    width = dtype.bits
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    near_one = st.integers(-8, 8).map(
        lambda i: float(dtype.numpy.type(1 + i * np.finfo(dtype.numpy).eps))
    )
    small = st.integers(-64, 64).map(float)
    return st.one_of(finite, near_one, small)


def fma(dtype: DType, *args: float) -> float:
    with np.errstate(all="ignore"):
        return float(FMA[dtype](*(dtype.numpy.type(x) for x in args)))


def check(dtype: DType, a: float, b: float, c: float) -> None:
    found = fma(dtype, a, b, c)
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    wanted = nearest(exact, dtype)
    if wanted == 0:
        assert found == 0
    else:
        assert bits(found) == bits(wanted)


@given(operands(float32), operands(float32), operands(float32))
@example(1.0 + 2**-23, 1.0 + 2**-23, -1.0 - 2**-22)
@example(2.0**-100, 2.0**-49, 2.0**-149)
@example(float(2**12 + 1), float(2**12 + 1), 2.0**-40)
@example(float(2**24 - 1), float(2**24 - 1), 2.0**-60)
@example(2.0**127, 2.0, -(2.0**127))
@example(1.5 * 2.0**-100, 2.0**-50, 2.0**-20)
def test_float32_rounds_once(a: float, b: float, c: float) -> None:
    check(float32, a, b, c)


@given(operands(float64), operands(float64), operands(float64))
@example(1.0 + 2**-52, 1.0 + 2**-52, -1.0 - 2**-51)
@example(1e308, 10.0, -1e308)
def test_float64_rounds_once(a: float, b: float, c: float) -> None:
    check(float64, a, b, c)


@given(operands(float32), operands(float32), st.integers(-3, 3))
def test_sums_that_almost_cancel(a: float, b: float, ulps: int) -> None:
    with np.errstate(all="ignore"):
        c = np.float32(-np.float64(a) * np.float64(b))
        for _ in range(abs(ulps)):
            c = np.nextafter(c, np.float32(math.copysign(math.inf, ulps)))
    if np.isfinite(c):
        check(float32, a, b, float(c))


@pytest.mark.parametrize("dtype", FMA, ids=str)
@pytest.mark.parametrize(
    ("a", "b", "c", "wanted"),
    [
        (math.inf, 1, 1, math.inf),
        (math.inf, 0, 1, math.nan),
        (math.inf, 1, -math.inf, math.nan),
        (1, 1, -math.inf, -math.inf),
        (math.nan, 1, 1, math.nan),
        (0, 1, math.nan, math.nan),
        (1e30, 1e30, -math.inf, -math.inf),
        (-0.0, 1, -0.0, -0.0),
        (0.0, -1, 0.0, 0.0),
        (1, 1, -1, 0.0),
        (-1, 1, 1, 0.0),
    ],
)
def test_special_values(dtype: DType, a: float, b: float, c: float, wanted: float) -> None:
    assert str(fma(dtype, a, b, c)) == str(float(wanted))


@pytest.mark.parametrize("dtype", FMA, ids=str)
def test_arrays(dtype: DType) -> None:
    a = np.arange(6, dtype=dtype.numpy).reshape(2, 3)
    found = FMA[dtype](a, a[0], dtype.numpy.type(1))
    assert found.dtype == dtype.numpy
    np.testing.assert_array_equal(found, a * a[0] + 1)


def test_error_function() -> None:
    x = np.array([0.0, -0.0, 0.5, -3, np.inf, np.nan], np.float32)
    assert erf(x).dtype == np.float32
    np.testing.assert_array_equal(erf(x), np.array([math.erf(v) for v in x], np.float32))
