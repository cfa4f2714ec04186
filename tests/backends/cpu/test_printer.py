"""Statements, memory and threads in machine code, against NumPy and the interpreter of loops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.cpu.jit import Compiler, compile_object, link
from graphc.backends.cpu.kernel import CompiledKernel, call
from graphc.backends.cpu.pool import ThreadPool
from graphc.backends.cpu.printer import POSITION_BITS, print_llvm, print_module
from graphc.backends.cpu.symbols import undefined_symbols
from graphc.backends.cpu.targets import target_named
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import (
    BOOL,
    I64,
    Alloc,
    Barrier,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Intrinsic,
    Lanes,
    Let,
    Load,
    Shuffle,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.walk import map_statements
from graphc.ir.dtypes import DTYPES, bfloat16, bool_, float16, float32, float64, int8, int32, int64
from graphc.ir.errors import CompileError
from tests.backends.cpu.compiled import LEVELS, in_two_steps, run_compiled, same_bits, target_here
from tests.backends.cpu.guarded import guarded
from tests.backends.loops.random_functions import random_arrays, random_function

HOST = "host"


def size() -> Var:
    return Var("n", I64)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(3)
    yield pool
    pool.close()


# Random functions


def rolled(function: Function) -> Function:
    """`function` with serial loops for unrolled ones, which mean the same."""

    def change(stmt: Stmt) -> tuple[Stmt, ...]:
        unrolled = isinstance(stmt, For) and stmt.kind == "unrolled"
        return (replace(stmt, kind="serial"),) if unrolled else (stmt,)

    return replace(function, body=map_statements(function.body, change))


@pytest.mark.random_cases(quick=25, soak=1000)
@pytest.mark.parametrize("level", LEVELS)
def test_random_functions_compute_what_the_interpreter_does(
    case_seed: int, level: str, pool: ThreadPool
) -> None:
    target, rng = target_here(level), random.Random(case_seed)
    function, tasks = rolled(random_function(rng)), rng.choice([0, 1, 2, 5])
    arrays = random_arrays(rng, tasks)
    expected = [array.copy() for array in arrays]
    status = run(function if target.has_fma else in_two_steps(function), expected, [tasks])
    for threads in (None, pool):
        found = [array.copy() for array in arrays]
        assert run_compiled(function, found, [tasks], target=target, pool=threads) == status
        for a, b in zip(found, expected, strict=True):
            assert same_bits(a, b)


# Memory


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_access_stays_inside(dtype: Any, level: str) -> None:
    """Vectors that end at the last element of a page whose successor cannot be touched."""
    emit, n = Emitter(), size()
    x, y = Buffer("x", dtype), Buffer("y", dtype)
    lanes = 16
    with emit.loop(0, n, lanes) as loop:
        index = emit.op("add", emit.wide(loop.index, lanes), emit.let(Lanes(I64.with_lanes(lanes))))
        mask = emit.op("lt", index, emit.wide(n, lanes))
        emit.store(y, loop.index, emit.load(x, loop.index, lanes, mask), mask)
    function = Function("masked", (x, y), (n,), emit.block)
    for count in (1, 5, 15, 16, 17, 31):
        source = np.random.default_rng(count).integers(0, 2, count).astype(dtype.numpy)
        given_, found = guarded(source), guarded(np.zeros_like(source))
        assert run_compiled(function, [given_, found], [count], target=target_here(level)) == -1
        assert np.array_equal(found, source)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [bool_, int8, int32, int64, float32, float64], ids=str)
@pytest.mark.parametrize("lanes", [4, 16])
def test_gather_and_scatter(dtype: Any, lanes: int, level: str) -> None:
    emit = Emitter()
    x, at, to, keep, y = (
        Buffer(name, d)
        for name, d in zip("xatky", (dtype, int64, int64, bool_, dtype), strict=True)
    )
    with emit.loop(0, 32, lanes) as loop:
        mask = emit.load(keep, loop.index, lanes)
        source = emit.load(at, loop.index, lanes)
        value = emit.load(x, source, lanes, mask)
        all_ = emit.load(x, emit.op("mod", source, build.const(8, source.type)), lanes)
        target = emit.load(to, loop.index, lanes)
        emit.store(y, target, value, mask)
        emit.store(y, emit.op("add", target, build.const(32, target.type)), all_)
    function = Function("gather", (x, at, to, keep, y), (), emit.block)
    rng = np.random.default_rng(lanes)
    x_ = rng.integers(0, 2, 8).astype(dtype.numpy)
    at_ = rng.integers(0, 8, 32)
    keep_ = rng.integers(0, 2, 32).astype(bool)
    wild = np.where(keep_, at_, at_ + 8 * (1 << 40))  # masked lanes may point anywhere
    to_ = rng.permutation(32)
    found = np.ones(64, dtype.numpy)
    assert run_compiled(function, [x_, wild, to_, keep_, found], target=target_here(level)) == -1
    expected = np.ones(64, dtype.numpy)
    expected[to_[keep_]] = x_[at_[keep_]]
    expected[32 + to_] = x_[at_]
    assert np.array_equal(found, expected)


def test_scalar_access_under_a_mask() -> None:
    """One element at a time, out of bounds where the mask is false."""
    emit, n = Emitter(), size()
    x, y = Buffer("x", float32), Buffer("y", float32)
    with emit.loop(0, 8) as loop:
        mask = emit.op("lt", loop.index, n)
        emit.store(y, loop.index, emit.load(x, loop.index, 1, mask), mask)
    function = Function("masked", (x, y), (n,), emit.block)
    source, found = np.arange(3, dtype=np.float32) + 1, np.zeros(8, np.float32)
    given_ = guarded(source)
    assert run_compiled(function, [given_, found], [3], target=target_here(HOST)) == -1
    assert found.tolist() == [1, 2, 3, 0, 0, 0, 0, 0]


def test_bools_are_bytes() -> None:
    emit, x, y = Emitter(), Buffer("x", bool_), Buffer("y", bool_)
    with emit.loop(0, 32, 8) as loop:
        emit.store(y, loop.index, emit.op("not", emit.load(x, loop.index, 8)))
    source = np.random.default_rng(0).integers(0, 2, 32).astype(bool)
    found = np.full(32, 7, np.uint8)
    run_compiled(Function("no", (x, y), (), emit.block), [source, found], target=target_here(HOST))
    assert np.array_equal(found, (~source).astype(np.uint8))


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_floats_of_16_bits_are_moved(dtype: Any) -> None:
    emit, x, y = Emitter(), Buffer("x", dtype), Buffer("y", dtype)
    with emit.loop(0, 32, 8) as loop:
        value = emit.load(x, loop.index, 8)
        ones = Const(1.0, value.type)
        mask = emit.op("lt", emit.let(Lanes(I64.with_lanes(8))), build.const(6, I64.with_lanes(8)))
        emit.store(y, loop.index, emit.op("select", mask, value, ones))
    source = np.arange(32).astype(dtype.numpy)
    found = np.zeros(32, dtype.numpy)
    run_compiled(Function("f", (x, y), (), emit.block), [source, found], target=target_here(HOST))
    expected = np.where(np.arange(32) % 8 < 6, source.astype(np.float32), 1)
    assert np.array_equal(found.astype(np.float32), expected)


def test_alignment_is_claimed_where_it_is_sure() -> None:
    emit, n = Emitter(), size()
    x = Buffer("x", float32, alignment=64)
    y = Buffer("y", float32)
    with emit.loop(0, n, 24) as loop:
        emit.store(y, loop.index, emit.load(x, loop.index, 8))
        emit.store(y, loop.index, emit.load(x, emit.add(loop.index, 16), 8))
        emit.store(y, loop.index, emit.load(x, emit.add(loop.index, 1), 8))
        emit.store(y, loop.index, emit.load(x, emit.mul(loop.index, 2), 8))
        emit.store(y, loop.index, emit.load(x, emit.add(loop.index, n), 8))
    text = print_llvm(Function("f", (x, y), (n,), emit.block), target_named(HOST), "f")
    loads = [line for line in text.splitlines() if "load <8 x float>" in line]
    found = [int(line.split("align ")[1].split(",")[0]) for line in loads]
    assert found == [32, 32, 4, 64, 4]
    assert all("align 4" in line for line in text.splitlines() if "store <8 x float>" in line)


def test_neighbours_share_an_address() -> None:
    emit, n = Emitter(), size()
    x, y = Buffer("x", float32), Buffer("y", float32)
    with emit.loop(0, n, 4) as loop:
        total = emit.load(x, emit.sub(emit.mul(loop.index, n), 1), 1)
        for i in range(3):
            total = emit.op("add", total, emit.load(x, emit.add(emit.mul(loop.index, n), i), 1))
        emit.store(y, loop.index, total)
    text = print_llvm(Function("f", (x, y), (n,), emit.block), target_named(HOST), "f")
    addresses = [line for line in text.splitlines() if "getelementptr float" in line]
    constant = [line for line in addresses if line.split("i64 ")[1].lstrip("-").isdigit()]
    assert (len(addresses), len(constant)) == (5, 3)


def test_shuffles_of_scalars_and_vectors() -> None:
    emit, x, y = Emitter(), Buffer("x", float32), Buffer("y", float32)
    four = ValueType(float32, 4)
    a, b = emit.load(x, build.const(0), 4), emit.load(x, build.const(4), 4)
    scalar = emit.load(x, build.const(8))
    emit.store(y, build.const(0), Shuffle(a, b, (7, 0, 3, 4, 1), ValueType(float32, 5)))
    emit.store(y, build.const(5), Shuffle(scalar, emit.load(x, build.const(1)), (1, 0, 1, 1), four))
    emit.store(y, build.const(9), Shuffle(a, b, (6,), ValueType(float32)))
    emit.store(y, build.const(10), build.extract(b, 1))
    emit.store(y, build.const(11), build.across("add", a))
    found = np.zeros(12, np.float32)
    function = Function("f", (x, y), (), emit.block)
    run_compiled(function, [np.arange(9, dtype=np.float32), found], target=target_here(HOST))
    assert found.tolist() == [7, 0, 3, 4, 1, 1, 8, 1, 1, 6, 5, 6]


def test_in_place_results_may_overlap_their_parameter_alone() -> None:
    emit = Emitter()
    x, z, y = (Buffer(name, float32) for name in "xzy")
    with emit.loop(0, 64, 8) as loop:
        a, b = emit.load(x, loop.index, 8), emit.load(z, loop.index, 8)
        emit.store(y, loop.index, emit.op("add", a, b))
    apart = print_llvm(Function("f", (x, z, y), (), emit.block), target_named(HOST), "f")
    in_place = Function("f", (x, z, y), (), emit.block, in_place=((2, 0),))
    together = print_llvm(in_place, target_named(HOST), "f")
    assert [_noalias(apart, kind) for kind in ("load", "store")] == [[2, 2], [2]]
    assert [_noalias(together, kind) for kind in ("load", "store")] == [[1, 2], [1]]
    memory = np.arange(64, dtype=np.float32)
    run_compiled(in_place, [memory, memory.copy(), memory], target=target_here(HOST))
    assert np.array_equal(memory, 2 * np.arange(64))


def _noalias(text: str, kind: str) -> list[int]:
    """How many buffers each load or store of vectors cannot overlap."""
    nodes = dict(line.split(" = ") for line in text.splitlines() if line.startswith("!"))
    lines = [line for line in text.splitlines() if f"{kind} <8 x float>" in line]
    return [nodes[line.split("!noalias ")[1]].count("!") - 1 for line in lines]


# Loops


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_carried_values(count: int) -> None:
    """Fibonacci: values that take each other's place at once."""
    emit, n, y = Emitter(), size(), Buffer("y", int64)
    with emit.loop(0, n, carry=(build.const(0), build.const(1))) as loop:
        a, b = loop.values
        loop.carry(b, emit.op("add", a, b))
    for i, result in enumerate(loop.results):
        emit.store(y, build.const(i), result)
    found = np.zeros(2, np.int64)
    run_compiled(Function("f", (y,), (n,), emit.block), [found], [count], target=target_here(HOST))
    fibonacci = [0, 1, 1, 2, 3, 5, 8, 13, 21]
    assert found.tolist() == fibonacci[count : count + 2]


def test_bools_and_vectors_are_carried() -> None:
    emit, x, y, any_ = Emitter(), Buffer("x", float32), Buffer("y", float32), Buffer("a", bool_)
    zero, no = Const(0.0, ValueType(float32, 8)), Const(False, BOOL.with_lanes(8))
    with emit.loop(0, 64, 8, carry=(zero, no)) as loop:
        value = emit.load(x, loop.index, 8)
        large = emit.op("gt", value, build.const(60.0, value.type))
        loop.carry(emit.op("add", loop.values[0], value), emit.op("or", loop.values[1], large))
    emit.store(y, build.const(0), loop.results[0])
    emit.store(any_, build.const(0), loop.results[1])
    sums, some = np.zeros(8, np.float32), np.zeros(8, bool)
    source = np.arange(64, dtype=np.float32)
    function = Function("f", (x, y, any_), (), emit.block)
    run_compiled(function, [source, sums, some], target=target_here(HOST))
    assert np.array_equal(sums, source.reshape(8, 8).sum(0))
    assert some.tolist() == [False] * 5 + [True] * 3


def test_branches_and_scratch() -> None:
    emit, n = Emitter(), size()
    x, y = Buffer("x", float64), Buffer("y", float64)
    scratch = emit.alloc("s", float64, 4)
    with emit.loop(0, n, 4) as loop:
        with emit.when(emit.op("eq", emit.op("mod", loop.index, build.const(8)), build.const(0))):
            emit.store(scratch, build.const(0), emit.load(x, loop.index, 4))
        emit.forget_loads()
        emit.store(y, loop.index, emit.load(scratch, build.const(0), 4))
    source, found = np.arange(32.0), np.zeros(32)
    function = Function("f", (x, y), (n,), emit.block)
    run_compiled(function, [source, found], [32], target=target_here(HOST))
    assert np.array_equal(found.reshape(4, 8), np.tile(source.reshape(4, 8)[:, :4], 2))


# Pooled loops


def spread(n: Var, begin: Expr, step: int) -> Function:
    """Tasks that use scalars, vectors, masks, sizes, workspace and scratch of the caller."""
    emit = Emitter()
    x, y = Buffer("x", float32), Buffer("y", float32)
    packed = Buffer("w", float32, "packed", build.mul(n, 1))
    vector = emit.load(x, build.const(0), 4)
    odd = emit.load(x, build.const(0), 3)
    mask = emit.op("gt", vector, build.const(1.5, vector.type))
    truth = emit.op("gt", emit.load(x, build.const(3)), build.const(0.5, ValueType(float32)))
    with emit.loop(begin, n, step, kind="pooled") as loop:
        private = emit.alloc("p", float32, 8)
        emit.store(private, build.const(0), vector)
        total = emit.op("add", build.across("add", emit.load(private, build.const(0), 4)),
                        build.extract(emit.op("mul", odd, odd), 2))  # fmt: skip
        total = emit.op("select", truth, total, build.const(0.0, total.type))
        total = emit.op("add", total, emit.load(x, loop.index))
        with emit.loop(0, 3, kind="serial", carry=(total,)) as inner:
            some = build.extract(emit.op("select", mask, vector, build.const(0.0, vector.type)), 3)
            inner.carry(emit.op("add", inner.values[0], some))
        emit.store(packed, loop.index, inner.results[0])
        emit.forget_loads()
        emit.store(y, loop.index, emit.load(packed, loop.index))
    return Function("spread", (x, y), (n,), emit.block, (packed,))


@pytest.mark.parametrize("step", [1, 3, 16])
@pytest.mark.parametrize("begin", [0, 2])
@pytest.mark.parametrize("count", [0, 1, 4, 100])
def test_pooled_loops(count: int, begin: int, step: int, pool: ThreadPool) -> None:
    n = size()
    function = spread(n, build.const(begin), step)
    x = np.arange(max(count, 4), dtype=np.float32)
    expected = np.full(count, -1, np.float32)
    expected[begin::step] = 6 + 4 + 9 + x[begin:count:step]
    for threads in (None, pool):
        found = np.full(count, -1, np.float32)
        target = target_here(HOST)
        assert run_compiled(function, [x, found], [count], target=target, pool=threads) == -1
        assert np.array_equal(found, expected)


def test_tasks_run_on_the_pool(pool: ThreadPool) -> None:
    """The pool is called, once, unless there is a single task."""
    text = print_llvm(spread(size(), build.const(0), 1), target_named(HOST), "f")
    assert text.count("define internal void @f.task") == 1
    assert text.count("ptr @f.task0, ptr") == 1
    assert "ptr %env" in text


def test_pooled_loops_inside_tasks_are_serial(pool: ThreadPool) -> None:
    emit, y = Emitter(), Buffer("y", int64)
    i, j = Var("i", I64), Var("j", I64)
    emit.store(y, build.add(build.mul(i, 5), j), build.add(i, j))
    inner = For(j, build.const(0), build.const(5), 1, "pooled", emit.block)
    outer = For(i, build.const(0), build.const(4), 1, "pooled", (inner,))
    text = print_llvm(Function("f", (y,), (), (outer,)), target_named(HOST), "f")
    assert text.count("define internal") == 1
    found = np.zeros((4, 5), np.int64)
    data = compile_object(text, target_here(HOST))
    library = link({"f": data})
    call(CompiledKernel("f", library.address("f"), data, library), [found], (), pool)
    assert np.array_equal(found, np.add.outer(np.arange(4), np.arange(5)))


# Guards


@pytest.mark.parametrize("lanes", [1, 8])
def test_the_smallest_error_is_reported(lanes: int, pool: ThreadPool) -> None:
    emit, n = Emitter(), size()
    x = Buffer("x", int32)
    with emit.loop(0, n, lanes, kind="pooled") as loop:
        value = emit.load(x, loop.index, lanes)
        index = emit.wide(loop.index, lanes)
        if lanes > 1:
            index = emit.op("add", index, emit.let(Lanes(I64.with_lanes(lanes))))
        emit.guard(emit.op("ge", value, build.const(0, value.type)), 1, index)
        emit.guard(emit.op("lt", value, build.const(9, value.type)), 0, index)
    function = Function("f", (x,), (n,), emit.block, guards=2)
    for wrong, status in (
        ({}, -1),
        ({40: -1, 16: -1}, (1 << POSITION_BITS) + 16),
        ({40: 9, 3: -1, 41: 10}, 40),
        ({0: 9}, 0),
    ):
        values = np.full(64, 4, np.int32)
        values[list(wrong)] = list(wrong.values())
        for threads in (None, pool):
            found = run_compiled(function, [values], [64], target=target_here(HOST), pool=threads)
            assert found == status


# What a CPU has not


def _refused(*body: Stmt, match: str) -> None:
    x = Buffer("x", float32)
    with pytest.raises(CompileError, match=f"kernel odd: {match}"):
        print_llvm(Function("odd", (x,), (), tuple(body)), target_named(HOST), "k")


@pytest.mark.parametrize("kind", ["vector", "unrolled", "block", "warp", "thread"])
def test_loops_of_other_kinds_are_refused(kind: str) -> None:
    emit = Emitter()
    with emit.loop(0, 4, kind=kind, hint="axis"):
        pass
    _refused(*emit.block, match=f"there is no CPU code for the {kind} loop axis")


def test_statements_and_values_of_gpus_are_refused() -> None:
    _refused(Barrier(), match="there is no CPU code for the statement Barrier")
    shared = Buffer("s", float32, "shared", build.const(4))
    _refused(Alloc(shared), match="there is no CPU code for the shared buffer s")
    one = Const(1.0, ValueType(float32))
    value = Intrinsic("warp_shuffle_down", (one, build.const(1)), one.type)
    let = Let(Var("v", one.type), value)
    _refused(let, match="there is no CPU code for the intrinsic warp_shuffle_down")


def test_large_scratch_is_refused() -> None:
    buffer = Buffer("s", float32, "thread", build.const(1 << 24))
    _refused(Alloc(buffer), match="67108864 bytes of s are too much")


def test_a_variable_that_is_not_there_is_named() -> None:
    x = Buffer("x", float32)
    store = Store(x, Var("lost", I64), Const(1.0, ValueType(float32)))
    _refused(store, match="lost is used before it is defined")


# Other machines


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.random_cases(quick=5, soak=200)
def test_objects_for_every_level_need_nothing(level: str, case_seed: int) -> None:
    target = target_named(level)
    seeds = [random.Random(100 * case_seed + i) for i in range(4)]
    functions = {f"f{i}": rolled(random_function(seed)) for i, seed in enumerate(seeds)}
    data = compile_object(print_module(functions, target), target)
    assert undefined_symbols(data) == frozenset()


def test_scratch_beyond_a_page_is_probed() -> None:
    """A stack that is exhausted faults, instead of reaching other memory."""
    emit, y = Emitter(), Buffer("y", float32)
    scratch = emit.alloc("s", float32, 1 << 16)
    with emit.loop(0, 1 << 16, 16) as loop:
        emit.store(scratch, loop.index, emit.load(y, build.const(0), 16))
    emit.store(y, build.const(16), Load(scratch, build.const(100), ValueType(float32, 16)))
    text = print_llvm(Function("f", (y,), (), emit.block), target_named(HOST), "f")
    assert '"probe-stack"="inline-asm"' in text
    assert "f:" in Compiler(target_named(HOST)).assembly(text)
    found = np.arange(32, dtype=np.float32)
    run_compiled(Function("f", (y,), (), emit.block), [found], target=target_here(HOST))
    assert found[16:].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3]


@given(st.integers(-5, 40), st.integers(-5, 40), st.integers(1, 9))
def test_trip_counts(begin: int, end: int, step: int) -> None:
    """Begin and end may be negative, though sizes are not."""
    emit, a, b, y = Emitter(), Var("a", I64), Var("b", I64), Buffer("y", int64)
    first, last = emit.sub(a, 5), emit.sub(b, 5)
    with emit.loop(first, last, step, carry=(build.const(0),)) as loop:
        loop.carry(emit.add(loop.values[0], 1))
    emit.store(y, build.const(0), loop.results[0])
    with emit.loop(first, last, step, kind="pooled") as tasks:
        emit.store(y, build.add(tasks.index, 8), tasks.index)
    found = np.full(64, -9, np.int64)
    function = Function("f", (y,), (a, b), emit.block)
    run_compiled(function, [found], [begin + 5, end + 5], target=target_here(HOST))
    expected = np.full(64, -9, np.int64)
    expected[[8 + i for i in range(begin, end, step)]] = range(begin, end, step)
    expected[0] = len(range(begin, end, step))
    assert np.array_equal(found, expected)
