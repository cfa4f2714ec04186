"""Every scalar operation in machine code, for every dtype, on every level, to the last bit.

The oracle is `graphc.ir.compute.scalar.evaluate`, in NumPy.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from graphc.backends.cpu.printer import print_llvm
from graphc.backends.cpu.targets import target_named
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Buffer, Function, Lanes, Op, ValueType
from graphc.ir.compute.scalar import SCALAR_OPS, evaluate, result_dtype
from graphc.ir.dtypes import (
    DTYPES,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint32,
)
from graphc.ir.errors import CompileError
from graphc.ir.target import Target
from tests.backends.cpu.compiled import equal_bits, run_compiled, same_bits, target_here

Signature = tuple[tuple[DType, ...], DType]

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
BITS_ONLY = (float16, bfloat16)
PLAIN = tuple(d for d in DTYPES if d not in BITS_ONLY)
EXACT = [name for name, op in SCALAR_OPS.items() if op.exact and name not in ("cast", "bitcast")]
INEXACT = [name for name, op in SCALAR_OPS.items() if not op.exact]
ZEROS_MAY_DIFFER = ("min", "max")


def values(dtype: DType) -> np.ndarray[Any, Any]:
    """Ordinary and special numbers."""
    if dtype.is_bool:
        return np.array([False, True])
    if dtype.is_float:
        info = np.finfo(np.float32 if dtype is not float64 else np.float64)
        near = [0.5, 1.5, 2.5, -0.5, -2.5, 1e-3, 3.999, 127.5, 128.0, 255.0, 256.5, 2.0**31,
                -(2.0**31), 2.0**32, 2.0**63, -(2.0**63), 2.0**64, 1e20, -1e20]  # fmt: skip
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny,
                   info.smallest_subnormal, -info.smallest_subnormal, 1 / 3, -7.25]  # fmt: skip
        with np.errstate(over="ignore"):
            return np.array(near + special).astype(dtype.numpy)
    low, high = dtype.min, dtype.max
    some = {0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 100, high, high - 1, high // 2, low, low + 1}
    some |= {-1, -2, -3, -7, -8, -100, low // 2} if dtype.kind == "int" else set()
    return np.array(sorted(v for v in some if low <= v <= high), dtype.numpy)


def operands(dtypes: tuple[DType, ...]) -> list[np.ndarray[Any, Any]]:
    """Every pair of values; of triples, a random choice. Padded to a multiple of 192."""
    columns = [values(dtype) for dtype in dtypes]
    indices = np.array(list(product(*(range(len(c)) for c in columns))))
    if len(indices) > 1500:
        indices = indices[np.random.default_rng(0).permutation(len(indices))[:1500]]
    indices = np.resize(indices, (-(-len(indices) // 192) * 192, len(columns)))
    return [np.ascontiguousarray(c[indices[:, i]]) for i, c in enumerate(columns)]


def signatures(op: str) -> list[Signature]:
    found: list[Signature] = []
    for dtype in PLAIN:
        dtypes = (dtype,) * SCALAR_OPS[op].arity
        dtypes = (bool_, *dtypes[1:]) if op == "select" else dtypes
        try:
            found.append((dtypes, result_dtype(op, dtypes)))
        except TypeError:
            continue
    return [s for s in found if op != "mulhi" or s[1] in (int32, uint32)]


def lane_counts(target: Target, dtypes: tuple[DType, ...]) -> tuple[int, ...]:
    return 1, 3, target.vector_bytes // max(d.size for d in dtypes)


def function_of(op: str, cases: list[Signature], target: Target) -> Function:
    """One loop for each signature and lane count; inputs, then outputs for each lane count."""
    emit, buffers = Emitter(), []
    for number, (dtypes, result) in enumerate(cases):
        count = len(operands(dtypes)[0])
        sources = [Buffer(f"x{number}_{i}", d) for i, d in enumerate(dtypes)]
        buffers += sources
        for lanes in lane_counts(target, dtypes):
            out = Buffer(f"y{number}_{lanes}", result)
            buffers.append(out)
            with emit.loop(0, count, lanes) as loop:
                args = tuple(emit.load(x, loop.index, lanes) for x in sources)
                emit.store(out, loop.index, Op(op, args, ValueType(result, lanes)))
    return Function(op, tuple(buffers), (), emit.block)


def expected_of(
    op: str, args: list[np.ndarray[Any, Any]], result: DType, target: Target
) -> np.ndarray[Any, Any]:
    if op == "fma" and not target.has_fma:
        with np.errstate(all="ignore"):
            return np.asarray(args[0] * args[1] + args[2])
    return np.asarray(evaluate(op, tuple(args), result))


def check(op: str, cases: list[Signature], target: Target) -> None:
    arrays: list[np.ndarray[Any, Any]] = []
    outputs = []
    for dtypes, result in cases:
        args = operands(dtypes)
        arrays += args
        expected = expected_of(op, args, result, target)
        for lanes in lane_counts(target, dtypes):
            arrays.append(np.full(len(args[0]), 1, result.numpy))
            outputs.append((dtypes, result, lanes, args, arrays[-1], expected))
    assert run_compiled(function_of(op, cases, target), arrays, target=target) == -1
    for dtypes, result, lanes, args, found, expected in outputs:
        no_sign = 0.0 if op in ZEROS_MAY_DIFFER and result.is_float else -0.0
        as_is = not result.is_float
        equal = equal_bits(*(x if as_is else x + x.dtype.type(no_sign) for x in (found, expected)))
        wrong = np.flatnonzero(~equal)
        shown = [(*(a[i] for a in args), found[i], expected[i]) for i in wrong[:5]]
        assert not shown, (op, dtypes, result, lanes, target.name, shown)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", EXACT)
def test_operation(op: str, level: str) -> None:
    check(op, signatures(op), target_here(level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("source", PLAIN, ids=str)
def test_cast(source: DType, level: str) -> None:
    check("cast", [((source,), result) for result in PLAIN], target_here(level))


@pytest.mark.parametrize("level", LEVELS)
def test_bitcast(level: str) -> None:
    pairs = [((a,), b) for a in PLAIN for b in PLAIN if a.size == b.size and not b.is_bool]
    check("bitcast", pairs, target_here(level))


@pytest.mark.parametrize("level", LEVELS)
def test_cast_of_bfloat16(level: str) -> None:
    cases = [((bfloat16,), d) for d in (float32, float64, int32, bool_)]
    cases += [((d,), bfloat16) for d in (float32, bool_)]
    target = target_here(level)
    for (source,), result in cases:
        args = np.resize(values(source), 192)
        found = np.zeros(192, result.numpy)
        function = function_of_one("cast", source, result, 8)
        assert run_compiled(function, [args, found], target=target) == -1
        expected = evaluate("cast", (args,), result)
        assert np.array_equal(found.astype(np.float64), expected.astype(np.float64), True)
        signs = [np.signbit(x.astype(np.float64)) for x in (found, expected)]
        assert np.array_equal(*signs) or np.isnan(args.astype(np.float64)).any()


@pytest.mark.parametrize("level", LEVELS[1:])
def test_cast_of_float16(level: str) -> None:
    target = target_here(level)
    for source, result in ((float16, float32), (float32, float16)):
        args = np.resize(values(source), 192)
        found = np.zeros(192, result.numpy)
        function = function_of_one("cast", source, result, 8)
        assert run_compiled(function, [args, found], target=target) == -1
        with np.errstate(over="ignore"):
            assert same_bits(found, args.astype(result.numpy))


def function_of_one(op: str, source: DType, result: DType, lanes: int) -> Function:
    emit, x, y = Emitter(), Buffer("x", source), Buffer("y", result)
    with emit.loop(0, 192, lanes) as loop:
        value = emit.load(x, loop.index, lanes)
        emit.store(y, loop.index, Op(op, (value,), ValueType(result, lanes)))
    return Function(op, (x, y), (), emit.block)


DIVISORS = (0, 1, 2, 3, 7, 8, 10, 1 << 20, -1, -3, -8)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", ["floordiv", "mod", "shl", "shr", "min", "max"])
def test_operation_with_a_constant(op: str, level: str) -> None:
    target = target_here(level)
    for dtype in (int32, int64, uint32, float32):
        if dtype.kind not in SCALAR_OPS[op].kinds:
            continue
        numbers = [d for d in DIVISORS if d >= 0 or dtype.kind != "uint"]
        constants = [float("nan"), 0.0, 1.5] if dtype.is_float else numbers
        xs = np.resize(values(dtype), 192)
        for lanes in (1, 8):
            emit, x = Emitter(), Buffer("x", dtype)
            outs = [Buffer(f"y{i}", dtype) for i in range(len(constants))]
            with emit.loop(0, 192, lanes) as loop:
                value = emit.load(x, loop.index, lanes)
                for out, number in zip(outs, constants, strict=True):
                    args = (value, build.const(number, value.type))
                    emit.store(out, loop.index, Op(op, args, value.type))
            found = [np.zeros(192, dtype.numpy) for _ in outs]
            function = Function(op, (x, *outs), (), emit.block)
            assert run_compiled(function, [xs, *found], target=target) == -1
            zero = dtype.numpy.type(0)
            for y, number in zip(found, constants, strict=True):
                expected = evaluate(op, (xs, np.full(192, number, dtype.numpy)), dtype)
                assert same_bits(y + zero, expected + zero), (dtype, number)


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("op", ["floordiv", "mod"])
def test_division_of_indices(op: str, lanes: int) -> None:
    """Indices are not negative, and often small: they divide unsigned and narrow."""
    emit, y, count = Emitter(), Buffer("y", int64), 48
    divisors = (1, 3, 8, 48, 1 << 40)
    with emit.loop(0, count, lanes) as loop:
        index = emit.wide(loop.index, lanes)
        if lanes > 1:
            index = emit.add(index, Lanes(I64.with_lanes(lanes)))
        for row, divisor in enumerate(divisors):
            scaled = emit.mul(index, build.const(10**row, index.type))
            dividend = emit.add(scaled, build.const(row, index.type))
            value = Op(op, (dividend, build.const(divisor, index.type)), index.type)
            emit.store(y, emit.add(loop.index, row * count), value)
    found = np.zeros((len(divisors), count), np.int64)
    function = Function(op, (y,), (), emit.block)
    assert run_compiled(function, [found], target=target_here("host")) == -1
    for row, divisor in enumerate(divisors):
        dividends = np.arange(count) * 10**row + row
        expected = dividends // divisor if op == "floordiv" else dividends % divisor
        assert np.array_equal(found[row], expected), divisor


@pytest.mark.parametrize("op", INEXACT)
def test_what_has_to_be_expanded_is_refused(op: str) -> None:
    function = function_of(op, [((float32,) * SCALAR_OPS[op].arity, float32)], target_named("host"))
    with pytest.raises(CompileError, match=rf"kernel {op}: .* {op} of float32"):
        print_llvm(function, target_named("host"), "k")


def test_arithmetic_of_16_bits_is_refused() -> None:
    function = function_of("add", [((float16, float16), float16)], target_named("host"))
    with pytest.raises(CompileError, match="add of float16"):
        print_llvm(function, target_named("host"), "k")


def test_float16_needs_instructions() -> None:
    function = function_of_one("cast", float16, float32, 8)
    with pytest.raises(CompileError, match="x86-64-v2 has no instruction"):
        print_llvm(function, target_named("x86-64-v2"), "k")


def test_min_and_max_of_zeros_are_the_same_everywhere() -> None:
    """Of zeros with different signs it is the second operand, as documented."""
    a, b = np.resize([0.0, -0.0], 16).astype(np.float32), np.zeros(16, np.float32)
    b[::2] = -0.0
    for level in LEVELS:
        for op in ("min", "max"):
            for lanes in (1, 16):
                emit, x, z, y = Emitter(), *(Buffer(n, float32) for n in "xzy")
                with emit.loop(0, 16, lanes) as loop:
                    args = emit.load(x, loop.index, lanes), emit.load(z, loop.index, lanes)
                    emit.store(y, loop.index, emit.op(op, *args))
                found = np.ones(16, np.float32)
                function = Function(op, (x, z, y), (), emit.block)
                run_compiled(function, [a, b, found], target=target_here(level))
                assert same_bits(found, b)
