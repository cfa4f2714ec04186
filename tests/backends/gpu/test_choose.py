"""Kernels without a GPU schedule are refused, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from graphc.backends.gpu.schedules.choose import schedule
from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.dims import symbol
from graphc.ir.dtypes import float32
from graphc.ir.errors import CompileError
from graphc.ir.types import TensorType
from tests.backends.gpu.kernels import M, N, kernel_of


def test_several_launches_are_refused() -> None:
    """Each row of the quotient needs the sums of all columns."""

    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        total = build.reduce("sum", (M,), (N,), lambda j, i: x[i, j])
        return [build.map((N, M), lambda i, j: x[i, j] / total[j])]

    matrix = TensorType(float32, (N, M))
    with pytest.raises(CompileError, match=r"several launches: s0 \| s1"):
        schedule(kernel_of([matrix], [matrix], body))


def test_scatter_is_refused() -> None:
    def body(build: KernelBuilder, x: Buffer) -> Sequence[Buffer]:
        return [build.scatter("sum", (N,), (N,), lambda i: (i,), lambda i: x[i])]

    vector = TensorType(float32, (N,))
    with pytest.raises(CompileError, match="it scatters"):
        schedule(kernel_of([vector], [vector], body))


def test_matrix_product_is_refused() -> None:
    k = symbol("k")

    def body(build: KernelBuilder, a: Buffer, b: Buffer) -> Sequence[Buffer]:
        total = build.reduce("sum", (N, M), (k,), lambda i, j, p: a[i, p] * b[p, j])
        most = build.reduce("max", (N,), (M,), lambda i, j: total[i, j])
        return [most]

    types = [TensorType(float32, (N, k)), TensorType(float32, (k, M))]
    with pytest.raises(CompileError, match="no GPU schedule"):
        schedule(kernel_of(types, [TensorType(float32, (N,))], body))
