"""The interpreter of kernels against an evaluation one element at a time, and against the ops."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.ir.compute import interpret
from graphc.ir.compute.builder import KernelBuilder
from graphc.ir.compute.compose import inline
from graphc.ir.compute.expr import const, size
from graphc.ir.compute.interpret import run
from graphc.ir.compute.verify import verify_kernel
from graphc.ir.dims import symbol
from graphc.ir.dtypes import float32, int64
from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph
from graphc.ir.scope import graph_scope
from graphc.ir.types import TensorType
from tests.ir.compute.elementwise import OneByOne
from tests.ir.compute.random_kernels import random_inputs, random_kernel, random_sizes
from tests.ops.cases import CASES, all_cases

rngs = st.randoms(use_true_random=False)


def same(a: np.ndarray, b: np.ndarray, rtol: float = 0) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def close(a: np.ndarray, b: np.ndarray) -> None:
    """Equal but for the order in which floats are added."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if a.dtype.kind != "f":
        np.testing.assert_array_equal(a, b)
        return
    eps = np.finfo(a.dtype).eps
    largest = np.nanmax(np.where(np.isfinite(b), np.abs(b), 0), initial=1)
    np.testing.assert_allclose(a, b, rtol=64 * eps, atol=64 * eps * min(largest, 1e30))


@given(rngs, st.sampled_from([1, 7, interpret.SLICE]))
def test_random_kernels_one_element_at_a_time(rng: random.Random, slice_: int) -> None:
    kernel = random_kernel(rng, stages=2)
    verify_kernel(kernel)
    sizes = random_sizes(rng)
    arrays = random_inputs(rng, kernel, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpret, "SLICE", slice_)
        found, error = run(kernel, arrays, sizes)
    wanted = OneByOne(kernel, arrays, sizes)
    assert error == wanted.error
    for a, b in zip(found, wanted.results, strict=True):
        same(a, b, rtol=1e-4)


@given(rngs)
def test_inlining_changes_nothing(rng: random.Random) -> None:
    kernel = random_kernel(rng)
    fused = inline(kernel)
    verify_kernel(fused)
    sizes = random_sizes(rng)
    arrays = random_inputs(rng, kernel, sizes)
    found, error = run(kernel, arrays, sizes)
    again, error_again = run(fused, arrays, sizes)
    assert error is not None or error_again is None
    if error is None:
        for a, b in zip(found, again, strict=True):
            same(a, b)


@pytest.mark.parametrize("op", sorted(CASES))
def test_ops_mean_what_their_references_say(op: str) -> None:
    for case in (c for c in all_cases() if c.op == op):
        for symbolic in (False, True):
            with graph_scope(Graph()):
                node = case.node(symbolic)
            try:
                kernel = node.op.kernel(node)
            except NotImplementedError:
                continue
            verify_kernel(kernel)
            found, error = run(kernel, case.inputs, case.sizes)
            if case.fails is not None:
                assert error is not None
                assert case.fails in kernel.guards[error[0]]
                continue
            types = [t.substitute(case.sizes) for t in node.types]
            wanted = node.op.reference(node, case.inputs, types)
            assert error is None
            for a, b in zip(found, wanted, strict=True):
                close(a, np.asarray(b))


def one_guard(extent: int) -> tuple:
    build = KernelBuilder([TensorType(int64, (symbol("n"), 3))], [], {})
    (x,) = build.inputs
    shape = (symbol("n"), 3)
    stage = build.map(shape, lambda i, j: build.in_range(x[i, j], extent, "out of range"))
    build.outputs = (stage.type,)
    build.result(stage)
    return build.finish()


@pytest.mark.parametrize("slice_", [1, interpret.SLICE])
def test_guards_report_the_first_element_and_give_0(slice_: int, monkeypatch) -> None:
    monkeypatch.setattr(interpret, "SLICE", slice_)
    data = np.array([[0, 1, 2], [3, 9, 1], [-1, 0, 0]])
    (found,), error = run(one_guard(4), [data], {"n": 3})
    assert error == (0, 4)
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 0, 1], [0, 0, 0]])
    assert run(one_guard(10), [np.abs(data)], {"n": 3})[1] is None


def test_accesses_out_of_bounds() -> None:
    build = KernelBuilder([TensorType(float32, (symbol("n"),))], [], {})
    (x,) = build.inputs
    stage = build.map((symbol("n"),), lambda i: x[i - const(1, int64)])
    build.outputs = (stage.type,)
    build.result(stage)
    with pytest.raises(VerifyError, match=r"p0 is read out of bounds, in\n    map s0: f32\[i0 < n"):
        run(build.finish(), [np.zeros(3, np.float32)], {"n": 3})
    scatter = KernelBuilder([], [], {})
    stage = scatter.scatter("sum", (2,), (3,), lambda i: [i], lambda _: const(1.0, float32))
    scatter.outputs = (stage.type,)
    scatter.result(stage)
    with pytest.raises(VerifyError, match="s0 is scattered to out of bounds"):
        run(scatter.finish(), [], {})


def test_padding_reads_nothing() -> None:
    build = KernelBuilder([TensorType(float32, (symbol("n"),))], [], {})
    (x,) = build.inputs
    stage = build.map(
        (symbol("n") + 2,), lambda i: x.load([i - 1], (i >= 1) & (i < size(symbol("n") + 1)))
    )
    build.outputs = (stage.type,)
    build.result(stage)
    kernel = build.finish()
    for n in (0, 3):
        (found,), error = run(kernel, [np.arange(1.0, n + 1, dtype=np.float32)], {"n": n})
        assert error is None
        np.testing.assert_array_equal(found, [0, *range(1, n + 1), 0])


def test_arrays_must_fit() -> None:
    for data in (np.zeros((2, 3)), np.zeros((2, 4), np.int64)):
        with pytest.raises(ValueError, match=r"p0 is int64 \(2, 3\), not"):
            run(one_guard(4), [data], {"n": 2})
