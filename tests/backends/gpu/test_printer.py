"""Loops to CUDA C: a block reduction that runs, and everything that must be refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.backends.gpu.geometry import geometry
from graphc.backends.gpu.printer import POSITION_BITS, STATUS_OK, print_cuda
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import (
    I64,
    Barrier,
    Block,
    Broadcast,
    Buffer,
    Const,
    For,
    Function,
    Intrinsic,
    Let,
    Load,
    Op,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.parse import parse_function
from graphc.ir.dtypes import bool_, float32, int32, int64
from graphc.ir.errors import CompileError
from tests.backends.gpu.kernels import normal
from tests.backends.gpu.launching import run_everywhere

WARPS = 4
F32 = ValueType(float32)


def row_sum() -> Function:
    """``y[row] = sum of x[row, :]`` by blocks of 4 warps, rows and columns symbolic."""
    x, y = Buffer("x", float32), Buffer("y", float32)
    rows, columns = Var("rows", I64), Var("n$0", I64)
    emit = Emitter()
    with emit.loop(0, rows, kind="block", hint="row") as block:
        partial = emit.alloc("partial", float32, WARPS, "shared")
        with (
            emit.loop(0, WARPS, kind="warp", hint="warp") as warp,
            emit.loop(0, 32, kind="thread", hint="lane") as lane,
        ):
            first = emit.add(emit.mul(warp.index, 32), lane.index)
            zero = build.const(0, F32)
            with emit.loop(first, columns, 32 * WARPS, carry=[zero]) as column:
                offset = emit.add(emit.mul(block.index, columns), column.index)
                column.carry(emit.op("add", column.values[0], emit.load(x, offset)))
            total: Var | Op = column.results[0]
            for distance in (16, 8, 4, 2, 1):
                moved = emit.let(
                    Intrinsic("warp_shuffle_down", (total, build.const(distance)), F32)
                )
                total = emit.op("add", total, moved)
            with emit.when(emit.op("eq", lane.index, build.const(0))):
                emit.store(partial, warp.index, total)
            emit.barrier()
            with emit.when(emit.op("eq", first, build.const(0))):
                sums = [emit.load(partial, build.const(w)) for w in range(WARPS)]
                left, right = emit.op("add", *sums[:2]), emit.op("add", *sums[2:])
                emit.store(y, block.index, emit.op("add", left, right))
    return Function("row_sum", (x, y), (rows, columns), emit.block)


def row_sum_reference(x: np.ndarray) -> np.ndarray:
    padded = np.zeros((x.shape[0], -(-x.shape[1] // 128) * 128), np.float32)
    padded[:, : x.shape[1]] = x
    lanes = np.zeros((x.shape[0], 128), np.float32)
    for step in np.split(padded, padded.shape[1] // 128, axis=1):
        lanes = lanes + step
    warps = lanes.reshape(-1, 4, 32)
    for half in (16, 8, 4, 2, 1):
        warps = warps[:, :, :half] + warps[:, :, half : 2 * half]
    partial = warps[:, :, 0]
    return (partial[:, 0] + partial[:, 1]) + (partial[:, 2] + partial[:, 3])


@pytest.mark.gxx
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(1, 600), st.integers(0, 5))
def test_block_reduction_with_symbolic_sizes(rows: int, columns: int, order: int) -> None:
    x = np.random.default_rng(columns).standard_normal((rows, columns)).astype(np.float32)
    y = np.full(rows, np.nan, np.float32)
    assert run_everywhere(row_sum(), [x, y], {"rows": rows, "n$0": columns}, order) == STATUS_OK
    np.testing.assert_array_equal(y, row_sum_reference(x))


@pytest.mark.gxx
def test_block_reduction_of_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "loops-on-paper.md").read_text()
    (shown,) = re.findall(r"```loops\n(function row_sums\(.*?)```", text, flags=re.DOTALL)
    x, y = normal(1, (3, 333)), np.zeros(3, np.float32)
    run_everywhere(parse_function(shown), [x, y], {"rows": 3, "cols": 333})
    np.testing.assert_array_equal(y, row_sum_reference(x))


def test_text_of_the_block_reduction() -> None:
    source = print_cuda(row_sum()).source
    kernel = source[source.index("extern") :]
    head = (
        'extern "C" __global__ void __launch_bounds__(128) graphc_row_sum(\n'
        "    const f32* __restrict__ x,\n    f32* __restrict__ y,\n    i64 rows,\n    i64 n_0) {\n"
    )
    assert kernel.startswith(head)
    for line in (
        "const i64 row1 = blockIdx.x;",
        "__shared__ __align__(64) f32 partial2[4];",
        "const i64 warp3 = threadIdx.x / 32;",
        "const i64 lane4 = threadIdx.x % 32;",
        "__syncthreads();",
    ):
        assert line in kernel
    assert kernel.count("__shfl_down_sync(0xffffffffu, ") == 5


def test_grid_depends_on_the_sizes() -> None:
    geometry_ = geometry(row_sum())
    assert geometry_.threads == 128
    assert geometry_.grid({"rows": 7, "n$0": 3}) == (7, 1, 1)
    with pytest.raises(CompileError, match="beyond CUDA's limits"):
        geometry_.grid({"rows": 2**31, "n$0": 3})


def one_thread(*body: object, buffers: tuple[Buffer, ...] = (), guards: int = 0) -> Function:
    return Function("f", buffers, (), tuple(body), guards=guards)  # type: ignore[arg-type]


@pytest.mark.gxx
def test_carried_values_that_change_places() -> None:
    """Fibonacci: the next values are those of one moment, in whatever order they are assigned."""
    y = Buffer("y", int64)
    emit = Emitter()
    ones = [build.const(0), build.const(1)]
    with emit.loop(0, 10, carry=ones) as loop:
        loop.carry(loop.values[1], emit.add(*loop.values))
    emit.store(y, build.const(0), loop.results[0])
    result = np.zeros(1, np.int64)
    run_everywhere(one_thread(*emit.block, buffers=(y,)), [result])
    assert result[0] == 55


@pytest.mark.gxx
def test_shuffles_of_every_lane() -> None:
    down, across, odd = Buffer("down", int64), Buffer("across", int64), Buffer("odd", bool_)
    emit = Emitter()
    with emit.loop(0, 64, kind="thread") as thread:
        i = thread.index
        values = {
            down: Intrinsic("warp_shuffle_down", (i, build.const(3)), I64),
            across: Intrinsic("warp_shuffle_xor", (i, build.const(5)), I64),
        }
        is_odd = emit.op("eq", emit.op("mod", i, build.const(2)), build.const(1))
        values[odd] = Intrinsic("warp_shuffle_xor", (is_odd, build.const(1)), is_odd.type)
        for buffer, value in values.items():
            emit.store(buffer, i, emit.let(value))
    results = [np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64, bool)]
    run_everywhere(one_thread(*emit.block, buffers=(down, across, odd)), results, order=4)
    lanes = np.arange(64)
    np.testing.assert_array_equal(results[0], np.where(lanes % 32 < 29, lanes + 3, lanes))
    np.testing.assert_array_equal(results[1], lanes ^ 5)
    np.testing.assert_array_equal(results[2], lanes % 2 == 0)


@pytest.mark.gxx
def test_guard_reports_the_smallest_code_and_position() -> None:
    x = Buffer("x", int32)
    emit = Emitter()
    with emit.loop(0, 2, kind="block") as block, emit.loop(0, 64, kind="thread") as thread:
        i = emit.add(emit.mul(block.index, 64), thread.index)
        value = emit.load(x, i)
        emit.guard(emit.op("ne", value, build.const(1, value.type)), 1, i)
        emit.guard(emit.op("ne", value, build.const(2, value.type)), 2, i)
    function = one_thread(*emit.block, buffers=(x,), guards=3)
    data = np.zeros(128, np.int32)
    assert run_everywhere(function, [data]) == STATUS_OK
    data[[5, 17, 90]] = 2
    assert run_everywhere(function, [data], order=1) == 2 << POSITION_BITS | 5
    data[[70, 100]] = 1
    assert run_everywhere(function, [data], order=7) == 1 << POSITION_BITS | 70


@pytest.mark.gxx
def test_masked_loads_read_nothing_and_masked_stores_write_nothing() -> None:
    x, y = Buffer("x", float32), Buffer("y", float32)
    emit = Emitter()
    with emit.loop(0, 64, kind="thread") as thread:
        inside = emit.op("lt", thread.index, build.const(10))
        far = emit.op("select", inside, thread.index, build.const(1 << 40))
        emit.store(y, thread.index, emit.load(x, far, mask=inside))
        emit.store(x, far, build.const(5, F32), mask=inside)
    data, result = np.arange(12, dtype=np.float32), np.full(64, np.nan, np.float32)
    run_everywhere(one_thread(*emit.block, buffers=(x, y)), [data, result])
    np.testing.assert_array_equal(result, np.r_[np.arange(10.0), np.zeros(54)])
    np.testing.assert_array_equal(data, [5] * 10 + [10, 11])


@pytest.mark.gxx
def test_names_of_c_and_equal_names_are_kept_apart() -> None:
    y = Buffer("float", int64)
    a, b, c = (Var(name, I64) for name in ("int", "t0", "t0"))
    sums = [Let(a, build.const(1)), Let(b, Op("add", (a, a), I64)), Let(c, Op("add", (b, a), I64))]
    product = Op("mul", (Op("add", (b, c), I64), c), I64)
    result = np.zeros(1, np.int64)
    run_everywhere(one_thread(*sums, Store(y, Const(0, I64), product), buffers=(y,)), [result])
    assert result[0] == (2 + 3) * 3


def test_aliased_buffers_are_not_restricted() -> None:
    x, y, z = (Buffer(name, float32) for name in "xyz")
    zero = Const(0, I64)
    value = Op("add", (Load(x, zero, F32), Load(y, zero, F32)), F32)
    function = Function("f", (x, y, z), (), (Store(z, zero, value),), in_place=((2, 0),))
    source = print_cuda(function).source
    assert "const f32* x,\n    const f32* __restrict__ y,\n    f32* z)" in source


def loop(kind: str, end: int = 32, body: Block = (), **changes: object) -> For:
    made = For(Var(f"{kind}_index", I64), Const(0, I64), Const(end, I64), 1, kind, body)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


VECTOR = Broadcast(Const(1, I64), ValueType(int64, 4))
REFUSED = {
    "pooled": ((loop("pooled"),), "a GPU has no pooled loops"),
    "vector": ((loop("vector"),), "a GPU has no vector loops"),
    "lanes": ((Let(Var("v", VECTOR.type), VECTOR),), "no CUDA C for Broadcast of i64x4"),
    "two grids": ((loop("block"), loop("block")), "statements beside the block loop"),
    "beside the grid": ((loop("block"), Barrier()), "statements beside the block loop"),
    "deep grid": (
        (loop("block", body=(loop("block", body=(loop("block", body=(loop("block"),)),)),)),),
        "a grid has 3 dimensions, not 4",
    ),
    "two sizes": ((loop("thread", 32), loop("thread", 64)), r"different sizes, \[32, 64\]"),
    "warp of 16": ((loop("warp", 2, (loop("thread", 16),)),), "a warp has 32 threads, not 16"),
    "empty warp": ((loop("warp", 2),), "has no threads"),
    "large": ((loop("thread", 2048),), "at most 1024 threads"),
    "from 1": ((loop("thread", begin=Const(1, I64)),), "must count from 0 by 1"),
    "by 2": ((loop("block", step=2),), "must count from 0 by 1"),
    "symbolic threads": (
        (For(Var("t", I64), Const(0, I64), Var("n", I64), 1, "thread", ()),),
        "is no constant",
    ),
    "intrinsic": (
        (Let(Var("v", F32), Intrinsic("mma", (Const(0.0, F32),), F32)),),
        "no CUDA C for the intrinsic mma",
    ),
    "undefined": ((Let(Var("v", I64), Var("w", I64)),), "w is used before it is defined"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal(case: str) -> None:
    body, message = REFUSED[case]
    with pytest.raises(CompileError, match=message):
        print_cuda(one_thread(*body))


def test_private_memory_cannot_be_packed() -> None:
    emit = Emitter()
    emit.alloc("x", bool_, 4, "packed")
    with pytest.raises(CompileError, match="cannot allocate the packed buffer x"):
        print_cuda(one_thread(*emit.block))
