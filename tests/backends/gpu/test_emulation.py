"""The emulation itself: right kernels give right bits, wrong kernels are caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.gpu.emulation import EmulationError, build

pytestmark = pytest.mark.gxx

REDUCTION = """
extern "C" __global__ void __launch_bounds__(128) row_sum(
    const float* __restrict__ x, float* __restrict__ y, int columns) {
    __shared__ float partial[4];
    float sum = 0.0f;
    for (int column = threadIdx.x; column < columns; column += blockDim.x)
        sum += x[blockIdx.x * columns + column];
    for (int offset = 16; offset > 0; offset /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) y[blockIdx.x] = (partial[0] + partial[1]) + (partial[2] + partial[3]);
}
"""


def row_sum_reference(x: np.ndarray) -> np.ndarray:
    """The sums of the kernel above in its own order, so that bits can be compared."""
    padded = np.zeros((x.shape[0], -(-x.shape[1] // 128), 128), np.float32)
    padded.reshape(x.shape[0], -1)[:, : x.shape[1]] = x
    lanes = np.zeros((x.shape[0], 128), np.float32)
    for step in range(padded.shape[1]):
        lanes = lanes + padded[:, step]
    warps = lanes.reshape(-1, 4, 32)
    for offset in (16, 8, 4, 2, 1):
        warps = warps[:, :, :offset] + warps[:, :, offset : 2 * offset]
    partial = warps[:, :, 0]
    return (partial[:, 0] + partial[:, 1]) + (partial[:, 2] + partial[:, 3])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 700), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_block_reduction_with_shuffles(rows: int, columns: int, order: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    y = np.empty(rows, np.float32)
    build(REDUCTION).launch("row_sum", rows, 128, [x, y, np.int32(columns)], order)
    np.testing.assert_array_equal(y, row_sum_reference(x))


def test_missing_barrier_is_seen_in_some_order() -> None:
    """Without the barrier thread 0 reads what the other warps have not written: poison."""
    source = REDUCTION.replace("__syncthreads();", "")
    x, y = np.ones((1, 128), np.float32), np.empty(1, np.float32)
    build(source).launch("row_sum", 1, 128, [x, y, np.int32(128)], 0)
    assert np.isnan(y[0])


def test_barrier_that_not_all_threads_reach() -> None:
    source = """
extern "C" __global__ void divergent(int* x) {
    if (threadIdx.x < 8) return;
    __syncthreads();
    x[threadIdx.x] = 1;
}"""
    with pytest.raises(EmulationError, match="thread 8 waits at the barrier of line 4, thread 0"):
        build(source).launch("divergent", 1, 64, [np.zeros(64, np.int32)])


def test_shuffle_whose_mask_names_absent_lanes() -> None:
    source = """
extern "C" __global__ void absent(int* x) {
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}"""
    with pytest.raises(EmulationError, match="mask names lanes that are not there"):
        build(source).launch("absent", 1, 16, [np.zeros(16, np.int32)])


@pytest.mark.parametrize("offset", [-1, 64])
def test_write_out_of_bounds(offset: int) -> None:
    source = 'extern "C" __global__ void put(float* x, int i) { x[i] = 1.0f; }'
    with pytest.raises(EmulationError, match="put, argument 0: a write out of bounds"):
        build(source).launch("put", 1, 1, [np.zeros(64, np.float32), np.int32(offset)])


def test_shuffles_move_what_the_guide_says() -> None:
    source = """
extern "C" __global__ void shuffles(long long* x) {
    int i = threadIdx.x;
    long long mine = i + (1LL << 40);
    x[i] = __shfl_sync(0xffffffffu, mine, 5);
    x[64 + i] = __shfl_up_sync(0xffffffffu, mine, 3);
    x[128 + i] = __shfl_down_sync(0xffffffffu, mine, 3, 8);
    x[192 + i] = __shfl_xor_sync(0xffffffffu, mine, 17);
}"""
    x = np.zeros((4, 64), np.int64)
    build(source).launch("shuffles", 1, 64, [x], order=7)
    i = np.arange(64)
    lane, base = i % 32, i // 32 * 32
    np.testing.assert_array_equal(x[0] - (1 << 40), base + 5)
    np.testing.assert_array_equal(x[1] - (1 << 40), np.where(lane >= 3, i - 3, i))
    np.testing.assert_array_equal(x[2] - (1 << 40), np.where(lane % 8 < 5, i + 3, i))
    np.testing.assert_array_equal(x[3] - (1 << 40), base + (lane ^ 17))


def test_indices_of_grids_and_blocks_in_three_dimensions() -> None:
    source = """
extern "C" __global__ void number(int* x) {
    int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    int threads = blockDim.x * blockDim.y * blockDim.z;
    x[block * threads + thread] = block * threads + thread;
}"""
    x = np.full(2 * 3 * 4 * 5 * 2 * 3, -1, np.int32)
    build(source).launch("number", (2, 3, 4), (5, 2, 3), [x])
    np.testing.assert_array_equal(x, np.arange(x.size))


def test_atomics_over_blocks() -> None:
    source = """
extern "C" __global__ void count(int* x, unsigned long long* first) {
    atomicAdd(&x[0], 1);
    atomicMax(&x[1], (int)(blockIdx.x * blockDim.x + threadIdx.x));
    atomicCAS(first, 0ULL, (unsigned long long)threadIdx.x + 1);
}"""
    x, first = np.zeros(2, np.int32), np.zeros(1, np.uint64)
    build(source).launch("count", 3, 40, [x, first], order=1)
    assert x.tolist() == [120, 119]
    assert first[0] == 40


def test_multiply_and_add_are_fused_only_where_written() -> None:
    source = """
extern "C" __global__ void fuse(float* x) {
    float a = x[0];
    x[1] = a * a - 1.0f;
    x[2] = __fmaf_rn(a, a, -1.0f);
}"""
    a = np.float32(1 + 2**-12)
    x = np.array([a, 0, 0], np.float32)
    build(source).launch("fuse", 1, 1, [x])
    assert x[1] == np.float32(a * a) - np.float32(1)
    assert x[2] == np.float32(float(a) * float(a) - 1) != x[1]


def test_conversions_saturate() -> None:
    source = """
extern "C" __global__ void convert(const float* x, int* y, long long* z) {
    y[threadIdx.x] = __float2int_rz(x[threadIdx.x]);
    z[threadIdx.x] = __float2ll_rz(x[threadIdx.x]);
}"""
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, -1.9, 2.0**31, -(2.0**63)], np.float32)
    y, z = np.empty(8, np.int32), np.empty(8, np.int64)
    build(source).launch("convert", 1, 8, [x, y, z])
    assert y.tolist() == [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), -1, 2**31 - 1, -(2**31)]
    assert z.tolist() == [
        -(2**63), 2**63 - 1, -(2**63), 3000000000, -3000000000, -1, 2**31, -(2**63),
    ]  # fmt: skip
