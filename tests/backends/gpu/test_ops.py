"""Every op's kernel on a GPU against the op's reference, all compiled as one source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from graphc.backends.gpu import nvrtc
from graphc.backends.gpu.compile import to_loops
from graphc.backends.gpu.printer import STATUS_OK, CudaKernel, print_cuda
from graphc.backends.gpu.scalars import PRELUDE
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import Function
from graphc.ir.errors import CompileError
from graphc.ir.graph import Graph, Node
from graphc.ir.scope import graph_scope
from tests.backends.gpu.emulation import EmulatedModule, build
from tests.backends.gpu.launching import ARCHS, is_interpreted
from tests.ops.cases import CASES, Case, all_cases
from tests.ops.evaluate import close

NO_SCHEDULE = {"scatter_add"}
"""Ops that no GPU schedule takes, whatever their attributes."""
NO_FUNCTION = {"sin", "cos", "random_normal"}
"""Ops of functions that loops does not expand yet."""


@dataclass(frozen=True)
class Trial:
    """One op at one case, as the kernel ``cuda``."""

    case: Case
    node: Node
    function: Function
    cuda: CudaKernel

    def run(self, module: EmulatedModule, order: int) -> tuple[list[np.ndarray[Any, Any]], int]:
        """The results and the status word; the interpreter, if it can keep up, has the same."""
        sizes = {name: self.case.sizes[name] for name in self.cuda.sizes}
        inputs = [np.ascontiguousarray(x) for x in self.case.inputs]
        types = [t.substitute(self.case.sizes) for t in self.node.types]
        results = [np.zeros(t.shape, t.dtype.numpy) for t in types]
        copies = [array.copy() for array in (*inputs, *results)]
        status = np.array([STATUS_OK], np.uint64)
        arguments = [*inputs, *results, *map(np.int64, sizes.values())]
        arguments += [status] if self.cuda.has_status else []
        grid, threads = self.cuda.geometry.grid(sizes), self.cuda.geometry.threads
        if all(grid):
            module.launch(self.cuda.name, grid, threads, arguments, order)
        if is_interpreted(self.function, sizes):
            assert run(self.function, copies, sizes) % 2**64 == status[0]
            for emulated, interpreted in zip(results, copies[len(inputs) :], strict=True):
                np.testing.assert_array_equal(emulated, interpreted)
        return results, int(status[0])


def trials(seed: int) -> Iterator[Trial]:
    """A case of every op with a kernel, and of every op that can fail a case that does."""
    random = np.random.default_rng(seed)
    cases = all_cases(seed)
    for op in sorted(CASES.keys() - NO_SCHEDULE - NO_FUNCTION):
        for fails in (False, True):
            some = [c for c in cases if c.op == op and (c.fails is not None) == fails]
            for number in random.permutation(len(some))[:8].tolist():
                trial = _trial(some[number], symbolic=bool(random.integers(2)))
                if trial is not None:
                    yield trial
                    break


def _trial(case: Case, *, symbolic: bool) -> Trial | None:
    """None for an op without a kernel, and for the softmax of a middle axis."""
    with graph_scope(Graph()):
        node = case.node(symbolic)
    if node.op.view:
        return None
    try:
        function = to_loops(node.op.kernel(node))
    except CompileError:
        return None
    named = replace(function, name=f"{case.op}_fails" if case.fails else case.op)
    return Trial(case, node, function, print_cuda(named))


@pytest.mark.gxx
@pytest.mark.random_cases(quick=1, soak=50)
def test_ops_equal_their_references(case_seed: int) -> None:
    found = list(trials(case_seed))
    assert len({trial.case.op for trial in found}) > 60
    source = PRELUDE + "".join(trial.cuda.source.removeprefix(PRELUDE) for trial in found)
    for arch in ARCHS:
        assert nvrtc.compile_cubin(source, arch)
    module = build(source)
    for trial in found:
        case = trial.case
        results, status = trial.run(module, order=case_seed + 2)
        if case.fails is not None:
            assert status != STATUS_OK, case.name
            continue
        assert status == STATUS_OK, case.name
        types = [t.substitute(case.sizes) for t in trial.node.types]
        expected = trial.node.op.reference(trial.node, case.inputs, types)
        for a, b in zip(results, map(np.asarray, expected), strict=True):
            assert close(a, b, tolerance(case, b)), (case.name, a, b)


def tolerance(case: Case, expected: np.ndarray[Any, Any]) -> Any:
    """8 ulp, and 4 for each term of a sum, relative to the largest value."""
    if expected.dtype.kind != "f":
        return 0
    finite = abs(np.where(np.isfinite(expected), expected, 0)).astype(np.longdouble)
    largest = max(1.0, finite.max(initial=0))
    terms = max([1, *(x.size for x in case.inputs)])
    return np.finfo(expected.dtype).eps * (8 * finite + 4 * terms * min(largest, 1e30))


def test_op_that_scatters_is_refused() -> None:
    (op,) = NO_SCHEDULE
    for case in (c for c in all_cases() if c.op == op):
        with graph_scope(Graph()):
            node = case.node()
        with pytest.raises(CompileError, match="it scatters"):
            to_loops(node.op.kernel(node))
