"""Every op's kernel, scheduled for CPUs, against the op's reference: in the loops interpreter."""

import numpy as np
import pytest

from graphc.backends.cpu.host import named_cpu
from graphc.backends.cpu.schedules.general import schedule
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.verify import verify_function
from graphc.ir.graph import Graph
from graphc.ir.scope import graph_scope
from tests.ops.cases import CASES, all_cases
from tests.ops.evaluate import close

LEVELS = ("x86-64-v2", "x86-64-v4")
NO_KERNEL = {"constant", "placeholder", "variable", "read_variable", "assign", "assign_add",
             "assign_sub", "no_op"}  # fmt: skip


def tolerance(op: str, expected: np.ndarray, terms: int) -> np.ndarray:
    """A few ulp, and one for each term of a sum relative to the largest value."""
    if expected.dtype.kind != "f":
        return np.zeros(())
    eps = np.finfo(expected.dtype).eps
    finite = np.minimum(np.abs(np.where(np.isfinite(expected), expected, 0)), np.float64(1e300))
    largest = min(1e30, max(1.0, float(finite.max(initial=0))))
    return eps * (8 * finite + 4 * terms * largest)


def interpret(node, arrays, sizes, target):
    """The node's results and status through schedule and interpreter."""
    function = schedule(node.op.kernel(node), target)
    verify_function(function)
    types = [t.substitute(sizes) for t in node.types]
    results = [np.zeros(t.shape, t.dtype.numpy) for t in types]
    named = {var.name: sizes[var.name] for var in function.sizes}
    status = run(function, [*map(np.ascontiguousarray, arrays), *results], named)
    return results, status


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", sorted(CASES.keys() - NO_KERNEL))
def test_kernel_equals_reference(op, level):
    target = named_cpu(level).target
    for case in (c for c in all_cases() if c.op == op):
        for symbolic in (False, True):
            with graph_scope(Graph()):
                node = case.node(symbolic)
            if node.op.view:
                continue
            found, status = interpret(node, case.inputs, case.sizes, target)
            if case.fails is not None:
                assert status >= 0, case.name
                continue
            types = [t.substitute(case.sizes) for t in node.types]
            expected = node.op.reference(node, case.inputs, types)
            assert status == -1, case.name
            terms = max([1, *(x.size for x in case.inputs)])
            for a, b in zip(found, expected, strict=True):
                assert close(a, np.asarray(b), tolerance(op, np.asarray(b), terms)), (
                    case.name, symbolic, a, b)  # fmt: skip
