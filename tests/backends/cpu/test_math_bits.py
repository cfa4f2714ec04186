"""Machine code of transcendental functions gives the interpreter's bits, on every level."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphc.backends.cpu.jit import compile_object, link
from graphc.backends.cpu.kernel import CompiledKernel, call
from graphc.backends.cpu.printer import print_module
from graphc.backends.cpu.targets import runs_here, target_named
from graphc.backends.loops.ir import (
    I64,
    Buffer,
    Const,
    For,
    Function,
    Load,
    Op,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.ir.compute.scalar import SCALAR_OPS
from graphc.ir.dtypes import DType
from graphc.ir.target import Target
from tests.backends.loops.math_samples import CASE_NAMES, CASES, Array, computed, samples, specials

LEVELS = ("host", "x86-64-v2", "x86-64-v3", "x86-64-v4")


def vectors(name: str, dtype: DType, lanes: int) -> Function:
    """y[i] = name(x[i], ...), a vector at a time."""
    sources = [Buffer(f"x{i}", dtype) for i in range(SCALAR_OPS[name].arity)]
    y, n, index = Buffer("y", dtype), Var("n", I64), Var("i", I64)
    loads = tuple(Load(source, index, ValueType(dtype, lanes)) for source in sources)
    body = (Store(y, index, Op(name, loads, loads[0].type)),)
    loop = For(index, Const(0, I64), n, lanes, "serial", body)
    return Function("f", (*sources, y), (n,), (loop,))


def compiled(name: str, dtype: DType, target: Target) -> CompiledKernel:
    function = expand_math(vectors(name, dtype, target.lanes(dtype.size)), fused=target.has_fma)
    data = compile_object(print_module({"kernel": function}, target), target)
    library = link({"kernel": data})
    return CompiledKernel("kernel", library.address("kernel"), data, library)


def arguments(name: str, dtype: DType, lanes: int) -> list[Array]:
    """Whole vectors of special and of random arguments."""
    if SCALAR_OPS[name].arity == 1:
        found = [samples(name, dtype, 50)]
    else:
        pairs = itertools.product(specials(dtype)[::4], repeat=2)
        found = [np.array(column) for column in zip(*pairs, strict=True)]
    size = len(found[0]) // lanes * lanes
    return [np.ascontiguousarray(column[:size]) for column in found]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("name", "dtype"), CASES, ids=CASE_NAMES)
def test_machine_code_gives_the_interpreters_bits(name: str, dtype: DType, level: str) -> None:
    target = target_named(level)
    if not runs_here(target):
        pytest.skip(f"this machine does not execute {level}")
    args = arguments(name, dtype, target.lanes(dtype.size))
    result = np.zeros_like(args[0])
    call(compiled(name, dtype, target), [*args, result], [len(result)])
    expected = computed(name, dtype, *args, fused=target.has_fma)
    np.testing.assert_array_equal(result, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result[known]), np.signbit(expected[known]))
