"""Softmax on a GPU: three passes over a row in one block, exp and log expanded in loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.backends.gpu.compile import to_cuda, to_loops
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType, float32, float64
from graphc.ir.graph import Graph
from graphc.ir.scope import create, graph_scope
from tests.backends.gpu.kernels import ORDERS, M, N, normal
from tests.backends.gpu.launching import is_interpreted, run_kernel

pytestmark = pytest.mark.gxx


def kernel(op: str, dtype: DType, shape: tuple[Dim, ...]) -> Kernel:
    with graph_scope(Graph()):
        logits = create("placeholder", (), {"dtype": dtype, "shape": shape}).outputs
        node = create(op, logits, {"axis": -1})
    return node.op.kernel(node)


def reference(op: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In extended precision, from the definition."""
    wide = x.astype(np.longdouble)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    share = powers / powers.sum(axis=-1, keepdims=True)
    return share if op == "softmax" else np.log(share)


def bound(op: str, x: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x - max rounds once, which exp makes relative; then 1 ulp of exp, the sum, the quotient."""
    eps = np.finfo(x.dtype).eps
    shift = abs(x.astype(np.longdouble) - x.max(axis=-1, keepdims=True))
    depth = -(-x.shape[-1] // 256) + 9
    relative = eps * (shift + depth + 4)
    if op == "softmax":
        return relative * want + np.finfo(x.dtype).smallest_subnormal
    return eps * (shift + abs(want) + depth + 4)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["softmax", "log_softmax"]),
    st.sampled_from([float32, float64]),
    st.tuples(st.integers(1, 3), st.integers(1, 600)),
    st.sampled_from([0.1, 5.0, 80.0]),
    ORDERS,
)
def test_softmax_is_within_its_bound(
    op: str, dtype: DType, shape: tuple[int, int], scale: float, order: int
) -> None:
    x = (normal(shape[1], shape) * scale).astype(dtype.numpy)
    (result,), _ = run_kernel(kernel(op, dtype, (N, M)), [x], order)
    want = reference(op, x)
    assert (abs(result - want) <= bound(op, x, want)).all()


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(2, 1), (3, 10), (1, 100)])
def test_interpreter_gives_the_same_bits(op: str, shape: tuple[int, int]) -> None:
    x = normal(1, shape)
    assert is_interpreted(to_loops(kernel(op, float32, shape)))
    run_kernel(kernel(op, float32, shape), [x], order=1)


def test_bits_do_not_depend_on_the_order_of_threads() -> None:
    x = normal(2, (2, 500)) * 10
    results = [
        run_kernel(kernel("softmax", float32, (N, M)), [x], order)[0][0] for order in range(6)
    ]
    assert len({result.tobytes() for result in results}) == 1


def test_extreme_logits() -> None:
    x = np.array([[3e38, -3e38, 0], [-np.inf, 1, 1], [np.nan, 0, 0]], np.float32)
    (result,), _ = run_kernel(kernel("softmax", float32, (N, M)), [x])
    np.testing.assert_array_equal(result, [[1, 0, 0], [0, 0.5, 0.5], [np.nan] * 3])


def test_one_launch_with_two_barriers() -> None:
    source = to_cuda(kernel("softmax", float32, (N, M))).source
    assert source.count("__global__") == 1
    assert source.count("__syncthreads();") == 2
    assert source.count("__fmaf_rn") > 0
