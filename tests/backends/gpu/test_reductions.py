"""A block for each row: exact where NumPy is, bounded where it rounds, in any order of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir import dtypes
from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.expr import apply, cast, size
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import Dim, symbol
from graphc.ir.dtypes import DType, float32, int32, int64
from graphc.ir.types import TensorType
from tests.backends.gpu.kernels import ORDERS, SHAPES, M, N, kernel_of, normal
from tests.backends.gpu.launching import run_kernel

pytestmark = pytest.mark.gxx

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
}


def reduction(combiner: str, dtype: DType, shape: tuple[Dim, ...], axis: int) -> Kernel:
    kept = (*shape[:axis], *shape[axis + 1 :])
    out = int64 if combiner.startswith("arg") else dtype

    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        def element(*i: Any) -> Any:
            return x[(*i[:axis], i[-1], *i[axis:-1])]

        return [build.reduce(combiner, kept, shape[axis : axis + 1], element)]

    return kernel_of([TensorType(dtype, shape)], [TensorType(out, kept)], body)


@settings(max_examples=20, deadline=None)
@given(SHAPES, ORDERS, st.sampled_from([("sum", 0), ("prod", 1), ("max", 1), ("min", 0)]))
def test_integer_reductions_are_bit_exact(
    shape: tuple[int, int], order: int, case: tuple[str, int]
) -> None:
    combiner, axis = case
    x = np.random.default_rng(shape[1]).integers(-(2**31), 2**31, shape).astype(np.int32)
    kernel = reduction(combiner, int32, (N, M), axis)
    (result,), _ = run_kernel(kernel, [x], order)
    start = {"max": -(2**31), "min": 2**31 - 1, "sum": 0, "prod": 1}[combiner]
    with np.errstate(over="ignore"):
        want = REDUCTIONS[combiner](x, axis=axis, initial=start, **_in_int32(combiner))
    np.testing.assert_array_equal(result, want)


def _in_int32(combiner: str) -> dict[str, Any]:
    return {"dtype": np.int32} if combiner in ("sum", "prod") else {}


@settings(max_examples=20, deadline=None)
@given(SHAPES, ORDERS, st.sampled_from([dtypes.float32, dtypes.float64]))
def test_sum_is_within_its_bound_and_the_same_in_any_order(
    shape: tuple[int, int], order: int, dtype: DType
) -> None:
    x = normal(5, shape, dtype.numpy)
    kernel = reduction("sum", dtype, (N, M), 1)
    (result,), _ = run_kernel(kernel, [x], order)
    (ascending,), _ = run_kernel(kernel, [x])
    assert result.tobytes() == ascending.tobytes()
    wide = x.astype(np.longdouble)
    depth = -(-shape[1] // 256) + 9
    bound = depth * np.finfo(dtype.numpy).eps * abs(wide).sum(axis=1)
    assert (abs(result - wide.sum(axis=1)) <= bound).all()


def test_bits_of_a_row_do_not_depend_on_the_other_rows() -> None:
    x = normal(6, (9, 1000))
    kernel = reduction("sum", float32, (N, M), 1)
    (whole,), _ = run_kernel(kernel, [x])
    for row in range(9):
        (alone,), _ = run_kernel(kernel, [x[row : row + 1].copy()])
        assert alone.tobytes() == whole[row : row + 1].tobytes()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, -np.inf]), min_size=1, max_size=300),
    ORDERS,
    st.sampled_from(["argmax", "argmin", "max", "min"]),
)
def test_extremes_keep_nan_and_the_first_index(
    values: list[float], order: int, combiner: str
) -> None:
    x = np.array([values], np.float32)
    kernel = reduction(combiner, float32, (N, M), 1)
    (result,), _ = run_kernel(kernel, [x], order)
    np.testing.assert_array_equal(result, getattr(np, combiner)(x, axis=1))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.booleans(), max_size=300), ORDERS, st.sampled_from(["any", "all"]))
def test_logical_reductions(values: list[bool], order: int, combiner: str) -> None:
    x = np.array([values], bool)
    (result,), _ = run_kernel(reduction(combiner, dtypes.bool_, (N, M), 1), [x], order)
    np.testing.assert_array_equal(result, getattr(np, combiner)(x, axis=1))


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100, 257])
def test_block_is_as_large_as_the_row(columns: int) -> None:
    x = normal(7, (3, columns))
    (result,), _ = run_kernel(reduction("max", float32, (3, columns), 1), [x], order=3)
    np.testing.assert_array_equal(result, x.max(axis=1))


def variance(shape: tuple[Dim, ...]) -> Kernel:
    """Mean and centred squares: a value for each row, read again for each element."""
    rows = shape[:-1]

    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        count = cast(size(shape[-1]), float32)
        total = build.reduce("sum", rows, shape[-1:], lambda *i: x[i])
        mean = build.map(rows, lambda *i: total[i] / count)
        centred = build.map(shape, lambda *i: x[i] - mean[i[:-1]])
        squares = build.reduce("sum", rows, shape[-1:], lambda *i: centred[i] * centred[i])
        scaled = build.map(
            shape, lambda *i: centred[i] / apply("sqrt", squares[i[:-1]] / count + 1e-5)
        )
        return mean, scaled

    matrix = TensorType(float32, shape)
    return kernel_of([matrix], [TensorType(float32, rows), matrix], body)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 600), ORDERS)
def test_normalisation_in_several_stages(a: int, b: int, columns: int, order: int) -> None:
    x = normal(8, (a, b, columns))
    (mean, scaled), _ = run_kernel(variance((N, symbol("k"), M)), [x], order)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=-1), rtol=0, atol=1e-6)
    deviation = np.sqrt(wide.var(axis=-1, keepdims=True) + 1e-5)
    want = (wide - wide.mean(axis=-1, keepdims=True)) / deviation
    np.testing.assert_allclose(scaled, want, rtol=2e-5, atol=1e-5)
