"""The interpreter: what functions compute, and what it does not let pass."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import (
    BOOL,
    I64,
    Buffer,
    Const,
    Expr,
    Function,
    Intrinsic,
    Lanes,
    Load,
    Op,
    Shuffle,
    ValueType,
    Var,
)
from graphc.backends.loops.verify import verify_function
from graphc.ir.dtypes import DTYPES, float32, int32, int64
from graphc.ir.errors import VerifyError
from tests.backends.loops.random_functions import random_arrays, random_function

F32 = ValueType(float32)


def const(number: int) -> Const:
    return Const(number, I64)


def function(
    emit: Emitter, *buffers: Buffer, sizes: Sequence[Var] = (), guards: int = 0
) -> Function:
    made = Function("f", buffers, tuple(sizes), emit.block, guards=guards)
    verify_function(made)
    return made


def matmul(tile: int) -> Function:
    """`c = a @ b` for `[M, K] @ [K, 4 * tile]`, a row panel for each task, 4 lanes."""
    a, b, c = (Buffer(name, float32) for name in "abc")
    M, K = Var("M", I64), Var("K", I64)
    emit = Emitter()
    zero = emit.wide(build.const(0, F32), 4)
    with emit.loop(0, M, kind="pooled") as row:
        base = emit.mul(row.index, K)
        with emit.loop(0, K, carry=[zero] * tile) as k:
            left = emit.wide(emit.load(a, emit.add(base, k.index)), 4)
            line = emit.mul(k.index, 4 * tile)
            right = [emit.load(b, emit.add(line, 4 * t), 4) for t in range(tile)]
            sums = [emit.op("fma", left, r, s) for r, s in zip(right, k.values, strict=True)]
            k.carry(*sums)
        for t, total in enumerate(k.results):
            emit.store(c, emit.add(emit.mul(row.index, 4 * tile), 4 * t), total)
    return function(emit, a, b, c, sizes=(M, K))


@given(st.integers(0, 5), st.integers(0, 9), st.integers(1, 3), st.booleans())
def test_matrix_product(M: int, K: int, tile: int, reverse: bool) -> None:
    rng = np.random.default_rng(K)
    a = rng.integers(-9, 9, (M, K)).astype(np.float32)
    b = rng.integers(-9, 9, (K, 4 * tile)).astype(np.float32)
    c = np.full((M, 4 * tile), np.nan, np.float32)
    assert run(matmul(tile), [a, b, c], {"M": M, "K": K}, reverse=reverse) == -1
    np.testing.assert_array_equal(c, a @ b)


@given(st.randoms(use_true_random=False))
def test_parallel_iterations_may_run_in_any_order(rng: random.Random) -> None:
    made = random_function(rng)
    arrays = random_arrays(rng, 3)
    reversed_ = [a.copy() for a in arrays]
    assert run(made, arrays, [3]) == run(made, reversed_, [3], reverse=True)
    for a, b in zip(arrays, reversed_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_carried_values_change_together() -> None:
    y = Buffer("y", int64)
    emit = Emitter()
    with emit.loop(0, 10, carry=[const(0), const(1)]) as loop:
        loop.carry(loop.values[1], emit.add(*loop.values))
    emit.store(y, const(0), loop.results[0])
    with emit.loop(3, 3, carry=[const(7)]) as loop:
        loop.carry(const(0))
    emit.store(y, const(1), loop.results[0])
    result = np.zeros(2, np.int64)
    run(function(emit, y), [result])
    assert list(result) == [55, 7]


def test_vectors() -> None:
    x, y = Buffer("x", int64), Buffer("y", int64)
    emit = Emitter()
    lanes = Lanes(I64.with_lanes(4))
    odd = build.op("ne", build.op("and", lanes, const(1)), const(0))
    loaded = emit.load(x, const(2), 4)
    emit.store(y, const(0), emit.load(x, const(96), 4, odd), None)
    gathered = emit.load(x, build.mul(lanes, const(3)), 4)
    emit.store(y, build.add(const(7), build.op("neg", lanes)), gathered, odd)
    emit.store(y, const(8), Shuffle(loaded, gathered, (7, 0, 0, 4), loaded.type))
    emit.store(y, const(12), build.extract(loaded, 3))
    result = np.full(13, -1, np.int64)
    run(function(emit, x, y), [np.arange(100), result])
    assert list(result) == [0, 97, 0, 99, 9, -1, 3, -1, 9, 2, 2, 0, 5]


def test_a_mask_hides_what_is_out_of_bounds() -> None:
    x = Buffer("x", float32)
    emit = Emitter()
    inside = build.op("lt", Lanes(I64.with_lanes(4)), const(2))
    value = emit.load(x, const(0), 4, inside)
    emit.store(x, const(0), build.op("add", value, build.const(1, value.type)), inside)
    never = Const(False, BOOL)
    emit.store(x, const(-1), emit.load(x, const(1 << 40), mask=never), never)
    data = np.array([1, 2], np.float32)
    run(function(emit, x), [data])
    assert list(data) == [2, 3]


@pytest.mark.parametrize("offset", [-1, 5, 8])
@pytest.mark.parametrize("store", [False, True])
def test_accesses_out_of_bounds(offset: int, store: bool) -> None:
    x = Buffer("x", float32)
    emit = Emitter()
    if store:
        emit.store(x, const(offset), build.const(1, F32.with_lanes(4)))
    else:
        emit.load(x, const(offset), 4)
    with pytest.raises(VerifyError, match=r"offset -?\d+ is not in x, of 8 elements, in\n    "):
        run(function(emit, x), [np.zeros(8, np.float32)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_private_memory_is_poisoned_each_time(dtype) -> None:
    y = Buffer("y", dtype)
    emit = Emitter()
    with emit.loop(0, 2) as loop:
        own = emit.alloc("own", dtype, 4)
        emit.store(y, loop.index, emit.load(own, const(3)))
        emit.store(own, const(3), build.const(0, ValueType(dtype)))
    result = np.zeros(2, dtype.numpy)
    run(function(emit, y), [result])
    wanted = (
        np.nan if dtype.is_float else dtype.max if dtype.kind in ("uint", "bool") else dtype.min
    )
    assert str(list(result)) == str(list(np.full(2, wanted, dtype.numpy)))


def test_workspace_has_the_size_that_sizes_give_it() -> None:
    n, y = Var("n", I64), Buffer("y", float32)
    packed = Buffer("w", float32, "packed", build.mul(n, 2))
    emit = Emitter()
    emit.store(y, const(0), emit.load(packed, const(5)))
    made = Function("f", (y,), (n,), emit.block, (packed,))
    result = np.zeros(1, np.float32)
    run(made, [result], {"n": 3})
    assert np.isnan(result[0])
    with pytest.raises(VerifyError, match="offset 5 is not in w, of 4 elements"):
        run(made, [result], [2])


def test_guards_report_the_smallest_code_then_position() -> None:
    x = Buffer("x", int32)
    emit = Emitter()
    with emit.loop(0, 8, 4, "pooled") as loop:
        value = emit.load(x, loop.index, 4)
        positions = emit.op("add", emit.wide(loop.index, 4), Lanes(I64.with_lanes(4)))
        for code in (1, 2):
            emit.guard(emit.op("ne", value, build.const(code, value.type)), code, positions)
    made = function(emit, x, guards=3)
    data = np.zeros(8, np.int32)
    assert run(made, [data]) == -1
    data[[1, 6]] = 2
    assert run(made, [data], reverse=True) == 2 << 48 | 1
    data[[7, 5]] = 1
    assert run(made, [data]) == 1 << 48 | 5


RACES = {
    "two writes": lambda i: (const(0), i),
    "read after write": lambda i: (i, build.op("mod", build.add(i, 1), const(4))),
}


@pytest.mark.parametrize("kind", ["pooled", "block"])
@pytest.mark.parametrize("places", RACES.values(), ids=RACES)
@pytest.mark.parametrize("reverse", [False, True])
def test_races_between_iterations(kind: str, places, reverse: bool) -> None:
    x = Buffer("x", float32)
    emit = Emitter()
    with emit.loop(0, 4, kind=kind) as loop:
        write, read = places(loop.index)
        emit.store(x, write, emit.load(x, read))
    with pytest.raises(VerifyError, match=r"parallel iterations race for x\[\d\]"):
        run(function(emit, x), [np.zeros(4, np.float32)], reverse=reverse)


def test_reading_together_and_writing_later_is_no_race() -> None:
    x, y = Buffer("x", float32), Buffer("y", float32)
    emit = Emitter()
    with emit.loop(0, 3):
        with emit.loop(0, 4, kind="pooled") as loop:
            emit.store(y, loop.index, emit.load(x, const(0)))
        with emit.loop(0, 4, kind="pooled") as loop:
            value = emit.load(y, emit.sub(const(3), loop.index))
            emit.store(x, loop.index, emit.op("add", value, build.const(1, F32)))
    data = np.zeros(4, np.float32)
    run(function(emit, x, y), [data, np.zeros(4, np.float32)])
    assert list(data) == [3, 3, 3, 3]


def test_a_buffer_outside_the_tasks_is_not_private_to_them() -> None:
    emit = Emitter()
    own = emit.alloc("own", float32, 1)
    with emit.loop(0, 2, kind="pooled"):
        emit.store(own, const(0), build.const(1, F32))
    with pytest.raises(VerifyError, match="race for own"):
        run(function(emit), [])


def rotate(*, barrier: bool, shared: str = "shared") -> Function:
    """Each thread of a block reads what the next one wrote."""
    x = Buffer("x", float32)
    emit = Emitter()
    with emit.loop(0, 3, kind="block") as block, emit.loop(0, 2, kind="warp") as warp:
        own = emit.alloc("tile", float32, 64, shared)
        with emit.loop(0, 32, kind="thread") as lane:
            thread = emit.add(emit.mul(warp.index, 32), lane.index)
            at = emit.add(emit.mul(block.index, 64), thread)
            emit.store(own, thread, emit.load(x, at))
            if barrier:
                emit.barrier()
            after = emit.op("mod", emit.add(thread, 1), const(64))
            emit.store(x, at, emit.load(own, after))
    return function(emit, x)


@pytest.mark.parametrize("reverse", [False, True])
def test_shared_memory(reverse: bool) -> None:
    data = np.arange(192, dtype=np.float32)
    run(rotate(barrier=True), [data], reverse=reverse)
    np.testing.assert_array_equal(data, np.roll(np.arange(192).reshape(3, 64), -1, 1).ravel())
    with pytest.raises(VerifyError, match="race for tile"):
        run(rotate(barrier=False), [data], reverse=reverse)


def test_a_thread_sees_its_own_memory_alone() -> None:
    data = np.zeros(192, np.float32)
    run(rotate(barrier=False, shared="thread"), [data])
    assert np.isnan(data).all()


def shuffled(name: str, distance: int, threads: int) -> np.ndarray:
    y = Buffer("y", int64)
    emit = Emitter()
    with emit.loop(0, threads, kind="thread") as thread:
        got = Intrinsic(name, (emit.mul(thread.index, 10), const(distance)), I64)
        emit.store(y, thread.index, got)
    result = np.zeros(threads, np.int64)
    run(function(emit, y), [result])
    return result


def test_warp_shuffles() -> None:
    lanes = np.arange(64)
    beyond = lanes % 32 + 5 >= 32
    np.testing.assert_array_equal(
        shuffled("warp_shuffle_down", 5, 64), 10 * np.where(beyond, lanes, lanes + 5)
    )
    np.testing.assert_array_equal(shuffled("warp_shuffle_xor", 9, 64), 10 * (lanes ^ 9))
    idle = shuffled("warp_shuffle_down", 5, 24)
    assert list(idle[:19]) == [10 * (i + 5) for i in range(19)]
    assert set(idle[19:]) == {int64.min}


@pytest.mark.parametrize("shuffle", [False, True])
def test_threads_that_part(shuffle: bool) -> None:
    emit = Emitter()
    with (
        emit.loop(0, 32, kind="thread") as thread,
        emit.when(emit.op("lt", thread.index, const(5))),
    ):
        if shuffle:
            emit.let(Intrinsic("warp_shuffle_xor", (thread.index, const(1)), I64))
        else:
            emit.barrier()
    with pytest.raises(VerifyError, match="the threads of a block part"):
        run(function(emit), [])


def test_a_shuffle_needs_a_warp() -> None:
    emit = Emitter()
    emit.let(Intrinsic("warp_shuffle_xor", (const(0), const(1)), I64))
    with pytest.raises(VerifyError, match="there is no warp to shuffle with"):
        run(function(emit), [])


def test_arguments_must_fit() -> None:
    n, x = Var("n", I64), Buffer("x", float32)
    made = Function("f", (x,), (n,), ())
    good = np.zeros((2, 3), np.float32)
    run(made, [good], [1])
    with pytest.raises(ValueError, match="takes 1 arrays and 1 sizes, not 2 and 1"):
        run(made, [good, good], [1])
    with pytest.raises(ValueError, match="x takes a dense float32"):
        run(made, [good.astype(np.float64)], [1])
    with pytest.raises(ValueError, match="x takes a dense float32"):
        run(made, [good.T], [1])


def test_a_deep_expression_needs_no_recursion() -> None:
    y = Buffer("y", int64)
    value: Expr = Load(y, const(0), I64)
    for _ in range(5000):
        value = Op("add", (value, const(1)), I64)
    emit = Emitter()
    emit.store(y, const(0), value)
    result = np.zeros(1, np.int64)
    run(function(emit, y), [result])
    assert result[0] == 5000
