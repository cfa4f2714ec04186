"""A thread for each element: bit for bit what NumPy computes, and errors in data reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.backends.gpu.printer import POSITION_BITS, STATUS_OK
from graphc.ir import dtypes
from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.expr import apply, cast, const, size
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType, float32, int32, int64, uint32
from graphc.ir.types import TensorType
from tests.backends.gpu.kernels import ORDERS, SHAPES, M, N, kernel_of, normal
from tests.backends.gpu.launching import run_kernel

pytestmark = pytest.mark.gxx


def affine_relu(rows: Dim, columns: Dim, dtype: DType) -> Kernel:
    """``max(x * scale[columns] + 1.5, 0) / sqrt(abs(x) + 1)``, and its first half as well."""
    matrix, vector = TensorType(dtype, (rows, columns)), TensorType(dtype, (columns,))

    def body(build: KernelBuilder, x: Buffer, scale: Buffer) -> Sequence[Buffer]:
        relu = build.map(
            matrix.shape, lambda *i: apply("max", x[i] * scale.broadcast(i) + 1.5, 0.0)
        )
        root = build.map(matrix.shape, lambda *i: apply("sqrt", apply("abs", x[i]) + 1.0))
        return relu, build.map(matrix.shape, lambda *i: relu[i] / root[i])

    return kernel_of([matrix, vector], [matrix, matrix], body)


@settings(max_examples=15, deadline=None)
@given(SHAPES, ORDERS, st.sampled_from([dtypes.float32, dtypes.float64]))
def test_elementwise_chain_is_bit_exact(shape: tuple[int, int], order: int, dtype: DType) -> None:
    x, scale = normal(1, shape, dtype.numpy), normal(2, shape[1:], dtype.numpy)
    (relu, quotient), _ = run_kernel(affine_relu(N, M, dtype), [x, scale], order)
    want = np.maximum(x * scale + dtype.numpy.type(1.5), 0)
    np.testing.assert_array_equal(relu, want)
    np.testing.assert_array_equal(quotient, want / np.sqrt(abs(x) + dtype.numpy.type(1)))


@pytest.mark.parametrize("shape", [(1, 1), (4, 64), (3, 171)])
def test_elementwise_chain_of_constant_sizes(shape: tuple[int, int]) -> None:
    x, scale = normal(1, shape), normal(2, shape[1:])
    (relu, _), _ = run_kernel(affine_relu(*shape, float32), [x, scale])
    np.testing.assert_array_equal(relu, np.maximum(x * scale + np.float32(1.5), 0))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=600), ORDERS)
def test_integer_chain_is_bit_exact(values: list[int], order: int) -> None:
    """An avalanche of multiplications, shifts and wrapping sums, then signed division."""
    vector, wide = TensorType(int32, (N,)), TensorType(int64, (N,))

    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        def mixed(*i: Any) -> Any:
            h = cast(x[i], uint32)
            h = (h ^ apply("shr", h, 16)) * 0x85EBCA6B
            h = (h ^ apply("shr", h, 13)) * 0xC2B2AE35
            return apply("mulhi", h, const(1000, uint32)) + cast(cast(i[0], int32), uint32)

        h = build.map((N,), lambda *i: cast(mixed(*i), int32) - x[i])
        return h, build.map(
            (N,), lambda *i: cast(x[i] // -7 + x[i] % 13, int64) * cast(h[i], int64)
        )

    x = np.array(values, np.int32)
    (h, wide_), _ = run_kernel(kernel_of([vector], [vector, wide], body), [x], order)
    with np.errstate(all="ignore"):
        u = x.view(np.uint32)
        u = (u ^ (u >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        u = (u ^ (u >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        high = (u.astype(np.uint64) * np.uint64(1000) >> np.uint64(32)).astype(np.uint32)
        want = (high + np.arange(x.size, dtype=np.uint32)).view(np.int32) - x
        np.testing.assert_array_equal(h, want)
        quotient = x // np.int32(-7) + x % np.int32(13)
        np.testing.assert_array_equal(wide_, quotient.astype(np.int64) * want)


def test_transpose_and_padding() -> None:
    """Reads that jump, and reads that are masked."""
    before, after = TensorType(float32, (N, M)), TensorType(float32, (M, N + 2))

    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        def padded(row: Any, column: Any) -> Any:
            inside = (column >= 1) & (column < size(N + 1))
            return x.load((column - 1, row), where=inside)

        return [build.map(after.shape, padded)]

    x = normal(3, (37, 21))
    (result,), _ = run_kernel(kernel_of([before], [after], body), [x])
    np.testing.assert_array_equal(result, np.pad(x.T, ((0, 0), (1, 1))))


def test_guard_names_the_first_element_that_is_wrong() -> None:
    def body(build: KernelBuilder, table: Buffer, index: Buffer) -> Sequence[Buffer]:
        def element(i: Any) -> Any:
            return table[build.in_range(index[i], M, "index out of range")]

        return [build.map((N,), element)]

    types = [TensorType(float32, (M,)), TensorType(int32, (N,))]
    kernel = kernel_of(types, [TensorType(float32, (N,))], body)
    table, index = normal(9, (10,)), np.arange(600, dtype=np.int32) % 10
    (result,), status = run_kernel(kernel, [table, index], order=2)
    assert status == STATUS_OK
    np.testing.assert_array_equal(result, table[index])
    index[[599, 300, 417]] = [-1, 10, 2**31 - 1]
    (result,), status = run_kernel(kernel, [table, index], order=2)
    assert (status >> POSITION_BITS, status % 2**POSITION_BITS) == (0, 300)
