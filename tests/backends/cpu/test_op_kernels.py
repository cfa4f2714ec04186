"""Every op's kernel in machine code gives the bits that the interpreter of loops gives."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.cpu.pool import ThreadPool
from graphc.backends.cpu.schedules.general import schedule
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.ir.graph import Graph
from graphc.ir.scope import graph_scope
from tests.backends.cpu.compiled import equal_bits, in_two_steps, run_compiled, target_here
from tests.ops.cases import CASES, Case, all_cases

WITHOUT = {"constant", "placeholder", "variable", "read_variable", "assign", "assign_add",
           "assign_sub", "no_op"}  # fmt: skip
OPS = sorted(CASES.keys() - WITHOUT)
LEVELS = ("x86-64-v2", "host")
QUICK = 4
"""How many cases of an op a quick run takes, on one level each."""


def check(case: Case, level: str, symbolic: bool, pool: ThreadPool | None) -> None:
    target = target_here(level)
    with graph_scope(Graph()):
        node = case.node(symbolic)
    if node.op.view:
        return
    function = schedule(node.op.kernel(node), target)
    function = expand_math(function, fused=target.has_fma)
    types = [t.substitute(case.sizes) for t in node.types]
    inputs = [np.ascontiguousarray(x) for x in case.inputs]
    sizes = [case.sizes[var.name] for var in function.sizes]
    results = [[np.full(t.shape, 3).astype(t.dtype.numpy) for t in types] for _ in range(2)]
    meant = function if target.has_fma else in_two_steps(function)
    status = run(meant, [*inputs, *results[0]], sizes)
    assert run_compiled(function, [*inputs, *results[1]], sizes, target=target, pool=pool) == status
    if status != -1:
        return
    for expected, found in zip(*results, strict=True):
        assert equal_bits(found, expected).all(), (case.name, symbolic, found, expected)


@pytest.mark.parametrize("op", OPS)
def test_kernel_equals_interpreter(op: str, request: pytest.FixtureRequest) -> None:
    cases = [case for case in all_cases() if case.op == op]
    soak = request.config.getoption("--soak")
    if not soak:
        cases = cases[:: -(-len(cases) // QUICK)]
    pool = ThreadPool(2)
    for number, case in enumerate(cases):
        for level in LEVELS if soak else LEVELS[number % 2 :: 2]:
            for symbolic in (False, True):
                check(case, level, symbolic, pool if symbolic else None)
    pool.close()
