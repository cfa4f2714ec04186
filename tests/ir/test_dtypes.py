"""The element types, and what users and NumPy call them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from graphc.ir.dtypes import COMPUTED, DTYPES, as_dtype, bfloat16, bool_, float32, float64, int32
from graphc.ir.errors import DTypeError


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype) -> None:
    assert dtype.numpy.itemsize == dtype.size
    assert dtype.bits == 8 * dtype.size
    assert as_dtype(dtype) is as_dtype(dtype.name) is as_dtype(dtype.short) is dtype
    assert as_dtype(dtype.numpy) is as_dtype(dtype.as_numpy_dtype) is dtype
    assert copy.deepcopy(dtype) is dtype
    assert dtype.min < dtype.max
    assert type(dtype.max) is {"bool": bool, "float": float}.get(dtype.kind, int)
    assert dtype.numpy.type(dtype.max).item() == dtype.max
    assert [dtype.is_bool, dtype.is_integer, dtype.is_float].count(True) == 1


def test_names_are_unique() -> None:
    assert len({d.name for d in DTYPES}) == len({d.short for d in DTYPES}) == len(DTYPES)
    assert set(DTYPES) >= COMPUTED


def test_pythons_types() -> None:
    assert as_dtype(float) is float32
    assert as_dtype(int) is int32
    assert as_dtype(bool) is bool_
    assert as_dtype("double") is float64
    assert as_dtype(np.zeros(1, "f8").dtype) is float64


def test_the_limits_of_bfloat16() -> None:
    assert bfloat16.max == 2.0**128 - 2.0**120


@pytest.mark.parametrize("value", ["float31", np.complex64, "U3", object, None.__class__, 3])
def test_what_is_no_dtype(value) -> None:
    with pytest.raises(DTypeError):
        as_dtype(value)
