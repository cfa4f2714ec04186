"""Runs functions in loops as machine code: what the tests of printer, JIT and schedules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from graphc.backends.cpu.executable import aligned
from graphc.backends.cpu.jit import compile_object, link
from graphc.backends.cpu.kernel import CompiledKernel, call
from graphc.backends.cpu.pool import ThreadPool
from graphc.backends.cpu.printer import print_llvm
from graphc.backends.cpu.symbols import undefined_symbols
from graphc.backends.cpu.targets import runs_here, target_named
from graphc.backends.loops.ir import Expr, Function, Op
from graphc.backends.loops.program import evaluate_size
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import map_expressions
from graphc.ir.target import Target

Array = np.ndarray[Any, Any]

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "host")


@cache
def target_here(level: str) -> Target:
    """The target called ``level``; skips the test if this machine does not run its code."""
    target = target_named(level)
    if not runs_here(target):
        pytest.skip(f"this machine does not run code for {level}")
    return target


def compiled(function: Function, target: Target, name: str = "kernel") -> CompiledKernel:
    """``function`` in machine code that calls nothing, verified before."""
    verify_function(function)
    data = compile_object(print_llvm(function, target, name), target)
    assert undefined_symbols(data) == frozenset()
    library = link({name: data})
    return CompiledKernel(name, library.address(name), data, library)


def run_compiled(
    function: Function,
    arrays: Sequence[Array],
    sizes: Sequence[int] = (),
    *,
    target: Target,
    pool: ThreadPool | None = None,
) -> int:
    """Run ``function`` on ``arrays``, one for each buffer; its status."""
    named = {size.name: value for size, value in zip(function.sizes, sizes, strict=True)}
    workspace = [
        aligned(max(1, evaluate_size(buffer.size, named)), buffer.dtype.numpy)
        for buffer in function.workspace
        if buffer.size is not None
    ]
    for array in workspace:
        array.fill(77)
    return call(compiled(function, target), [*arrays, *workspace], sizes, pool)


def in_two_steps(function: Function) -> Function:
    """`function` with the multiplications and additions that a target without fma has for it."""

    def change(expr: Expr) -> Expr:
        if not isinstance(expr, Op) or expr.op != "fma":
            return expr
        a, b, c = expr.args
        return Op("add", (Op("mul", (a, b), expr.type), c), expr.type)

    return replace(function, body=map_expressions(function.body, change))


def equal_bits(found: Array, expected: Array) -> Array:
    """Where two arrays are equal, signs of zeros included; any NaN equals any other."""
    if found.dtype.kind != "f":
        return np.asarray(found == expected)
    nan = np.isnan(found) & np.isnan(expected)
    return nan | ((found == expected) & (np.signbit(found) == np.signbit(expected)))


def same_bits(found: Array, expected: Array) -> bool:
    """Whether that is so everywhere."""
    return found.shape == expected.shape and bool(equal_bits(found, expected).all())
