"""Every scalar operation that CUDA C has gives the bits that ``ir.compute.scalar`` says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from graphc.backends.gpu.scalars import literal, operation
from graphc.backends.loops.ir import (
    I64,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Load,
    Op,
    Store,
    ValueType,
    Var,
)
from graphc.ir import dtypes
from graphc.ir.compute.scalar import SCALAR_OPS, evaluate, result_dtype
from graphc.ir.dtypes import DType
from graphc.ir.errors import CompileError
from tests.backends.gpu.launching import run_everywhere

pytestmark = pytest.mark.gxx

DTYPES = (
    dtypes.bool_, dtypes.int32, dtypes.int64, dtypes.uint32, dtypes.uint64, dtypes.float32,
    dtypes.float64,
)  # fmt: skip
GIVEN = ("cast", "bitcast")
PLAIN = [name for name, op in SCALAR_OPS.items() if op.exact and name not in GIVEN]


def interesting(dtype: DType, count: int) -> np.ndarray[Any, Any]:
    """Edge cases of ``dtype``, then random values of all magnitudes."""
    random = np.random.default_rng(dtype.bits)
    if dtype.is_bool:
        return random.integers(0, 2, count).astype(bool)
    if dtype.is_integer:
        edges = [0, 1, 2, 3, 7, 31, 32, 33, 63, 64, dtype.max, dtype.max - 1, dtype.min]
        edges += [-1, -2, -7, dtype.min + 1] if dtype.kind == "int" else []
        values = random.integers(dtype.min, dtype.max, count, dtype.numpy, endpoint=True)
        values[::3] %= 97
    else:
        tiny = float(np.finfo(dtype.numpy).smallest_subnormal)
        edges = [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, np.nan, np.inf, -np.inf, tiny, -tiny]
        edges += [dtype.max, dtype.min, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 2.0**64, 3e9]
        values = random.standard_normal(count) * 2.0 ** random.integers(-90, 90, count)
    values = values.astype(dtype.numpy)
    values[: len(edges)] = np.array(edges, dtype.numpy)
    return values


def operands_of(op: str, dtype: DType) -> list[np.ndarray[Any, Any]]:
    """Every pair of edge cases among the first; three operands are shuffled copies."""
    arity = SCALAR_OPS[op].arity
    if arity == 1:
        return [interesting(dtype, 200)]
    base = interesting(dtype, 30)
    pairs = np.array(list(itertools.product(base, base)), dtype.numpy).T
    if op == "select":
        return [interesting(dtypes.bool_, 900), pairs[0].copy(), pairs[1].copy()]
    third = np.random.default_rng(3).permutation(pairs[1])
    return [pairs[0].copy(), pairs[1].copy(), third][:arity]


def function_of(cases: list[tuple[str, tuple[DType, ...], DType]], count: int) -> Function:
    """Per case, ``result[i] = op(operands[i])`` for i < ``count``, one thread for each i."""
    block, thread = Var("block", I64), Var("thread", I64)
    index: Expr = Op("add", (Op("mul", (block, Const(50, I64)), I64), thread), I64)
    buffers: list[Buffer] = []
    stores = []
    for number, (op, operands, result) in enumerate(cases):
        inputs = [Buffer(f"x{number}_{k}", dtype) for k, dtype in enumerate(operands)]
        output = Buffer(f"y{number}", result)
        loads = tuple(Load(b, index, ValueType(b.dtype)) for b in inputs)
        stores.append(Store(output, index, Op(op, loads, ValueType(result))))
        buffers += [*inputs, output]
    threads = For(thread, Const(0, I64), Const(50, I64), 1, "thread", tuple(stores))
    blocks = For(block, Const(0, I64), Const(count // 50, I64), 1, "block", (threads,))
    return Function("scalars", tuple(buffers), (), (blocks,))


def check(cases: list[tuple[str, tuple[DType, ...], DType]]) -> None:
    data: list[list[np.ndarray[Any, Any]]] = []
    for op, operands, result in cases:
        values = operands_of(op, operands[-1])
        data.append([*(np.resize(v, 900) for v in values), np.zeros(900, result.numpy)])
    run_everywhere(function_of(cases, 900), [array for row in data for array in row])
    for (op, operands, result), (*values, got) in zip(cases, data, strict=True):
        want = evaluate(op, tuple(values), result)
        np.testing.assert_array_equal(got, want, err_msg=f"{op} of {operands}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_operations_give_the_bits_of_the_table(dtype: DType) -> None:
    cases = []
    for op in PLAIN:
        rule = SCALAR_OPS[op]
        if dtype.kind not in rule.kinds or (op == "mulhi" and dtype is not dtypes.uint32):
            continue
        operands = (dtypes.bool_, dtype, dtype) if op == "select" else (dtype,) * rule.arity
        cases.append((op, operands, result_dtype(op, operands)))
    check(cases)


def test_casts_give_the_bits_of_the_table() -> None:
    check([("cast", (source,), target) for source in DTYPES for target in DTYPES])


def test_bitcasts_keep_the_bits() -> None:
    pairs = [(a, b) for a in DTYPES for b in DTYPES if a.bits == b.bits and not a.is_bool]
    check([("bitcast", (a,), b) for a, b in pairs])


@pytest.mark.parametrize("op", [name for name, op in SCALAR_OPS.items() if not op.exact])
def test_transcendentals_are_refused(op: str) -> None:
    operands = [("x", dtypes.float32)] * SCALAR_OPS[op].arity
    with pytest.raises(CompileError, match=f"no CUDA C for {op} of float32"):
        operation(op, dtypes.float32, operands)


def test_dtype_without_arithmetic_is_refused() -> None:
    with pytest.raises(CompileError, match="does not compute in bfloat16"):
        operation("add", dtypes.bfloat16, [("x", dtypes.bfloat16), ("y", dtypes.bfloat16)])


def test_literals_are_exact() -> None:
    constants = [(value, dtype) for dtype in DTYPES for value in interesting(dtype, 60).tolist()]
    outputs = [Buffer(f"y{dtype.short}", dtype) for dtype in DTYPES]
    stores = tuple(
        Store(outputs[DTYPES.index(dtype)], Const(n % 60, I64), Const(value, ValueType(dtype)))
        for n, (value, dtype) in enumerate(constants)
    )
    results = [np.zeros(60, dtype.numpy) for dtype in DTYPES]
    run_everywhere(Function("literals", tuple(outputs), (), stores), results)
    for dtype, result in zip(DTYPES, results, strict=True):
        assert result.tobytes() == interesting(dtype, 60).tobytes(), dtype
    assert literal(0.1, dtypes.float64) == "0x1.999999999999ap-4"
