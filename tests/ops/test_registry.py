"""Every registered op: it has cases, its reference gives what its type rule promises, its kernel
computes what the reference does, and its traits are true."""

import numpy as np
import pytest

from graphc.ir.compute import interpret
from graphc.ir.errors import DataError
from graphc.ir.graph import Graph
from graphc.ir.op import OPS
from graphc.ir.scope import graph_scope
from tests.ops.cases import CASES, all_cases
from tests.ops.evaluate import close

EXEMPT = {
    "placeholder": "it is fed",
    "fused": "passes make it: tested with fusion",
    "custom_gradient": "its gradient is the user's: tested with gradients",
    "no_op": "it computes nothing",
    "read_variable": "it is state: tested with variables",
}
SUMS = {"reduce_sum", "reduce_prod", "matmul", "scatter_add"}
ALL = all_cases(large=True)


def of_op(op):
    return [case for case in ALL if case.op == op]


def test_every_op_has_cases():
    state = {name for name, op in OPS.items() if op.stateful}
    assert OPS.keys() - state - EXEMPT.keys() <= CASES.keys()
    assert CASES.keys() <= OPS.keys()
    assert all(of_op(name) for name in CASES)


@pytest.mark.parametrize("name", CASES)
def test_cases_cover_the_dtypes(name):
    op = OPS[name]
    if name in {"size", "shape", "where", "scatter_add", "random_uniform", "random_normal"}:
        return  # the dtypes of these are not those of the first operand
    tried = {case.node().types[0].dtype if not op.operands else case.inputs[0].dtype
             for case in of_op(name)}  # fmt: skip
    assert {np.dtype(getattr(d, "numpy", d)) for d in tried} == {d.numpy for d in op.dtypes}


class Run:
    """A case's node, what its reference gives and what its kernel gives."""

    def __init__(self, case, symbolic, first_only=False):
        self.case = case
        self.sizes = case.sizes if symbolic else {}
        with graph_scope(Graph()):
            self.node = case.node(symbolic, first_only)
        self.types = [t.substitute(self.sizes) for t in self.node.types]

    def reference(self):
        return self.node.op.reference(self.node, self.case.inputs, self.types)

    def kernel(self):
        """Its results; the rule that a guard found broken is raised, as a backend does."""
        kernel = self.node.op.kernel(self.node)
        results, error = interpret.run(kernel, self.case.inputs, self.sizes)
        if error is not None:
            raise DataError(kernel.guards[error[0]])
        return results

    def bounds(self, expected):
        """How far the kernel may be off: nothing if exact, 4 ulp if elementwise, as much as a sum
        of so many terms of these sizes can be, or an ulp of the largest result per term."""
        op = self.node.op
        if op.exact:
            return [0] * len(expected)
        if op.elementwise:
            return [4 * _eps(r) * np.abs(r) for r in expected]
        terms = 8 + max((x.size for x in self.case.inputs), default=0)
        if op.name in SUMS:
            sizes = [np.abs(x) if x.dtype.kind == "f" else x for x in self.case.inputs]
            largest = op.reference(self.node, sizes, self.types)
        else:
            largest = [1 + np.max(np.abs(r), initial=0, where=np.isfinite(r)) for r in expected]
        pairs = zip(expected, largest, strict=True)
        return [terms * _eps(r) * np.abs(m) for r, m in pairs]


def _eps(values):
    return np.finfo(values.dtype).eps if values.dtype.kind == "f" else 0


@pytest.mark.parametrize(
    "hidden",
    [(False,), (True,), (True, True)],
    ids=["static", "symbolic", "the first operand's symbolic"],
)
@pytest.mark.parametrize("name", CASES)
def test_kernel_and_reference(name, hidden):
    for case in of_op(name):
        if len(hidden) > 1 and len(case.inputs) < 2:
            continue  # that is the same as all of them
        run = Run(case, *hidden)
        assert all(c.holds(run.sizes) for c in run.node.constraints), case.name
        if case.fails is not None:
            for compute in (run.reference, run.kernel):
                with pytest.raises(DataError) as caught:
                    compute()
                assert str(caught.value) == case.fails, case.name
            continue
        expected, found = run.reference(), run.kernel()
        for value, want, bound, type_ in zip(
            found, expected, run.bounds(expected), run.types, strict=True
        ):
            assert (want.dtype, want.shape) == (type_.dtype.numpy, type_.shape), case.name
            assert close(np.asarray(value), np.asarray(want), bound), (case.name, value, want)


def ordinary(name):
    """Small cases without special values."""
    return [case for case in of_op(name) if case.fails is None]


@pytest.mark.parametrize("name", [name for name in CASES if OPS[name].view])
def test_views_keep_the_bytes(name):
    for case in ordinary(name):
        (found,) = Run(case, symbolic=False).reference()
        assert found.tobytes() == case.inputs[0].tobytes(), case.name


@pytest.mark.parametrize("name", [name for name in CASES if OPS[name].commutative])
def test_commutative_ops_do_not_mind_the_order(name):
    for case in ordinary(name):
        (found,) = Run(case, symbolic=False).reference()
        a, b = case.inputs
        swapped = type(case)(name, (b, a), case.attrs)
        np.testing.assert_array_equal(found, Run(swapped, symbolic=False).reference()[0])


@pytest.mark.parametrize("name", [name for name in CASES if OPS[name].elementwise])
def test_elementwise_ops_do_not_mind_the_shape(name):
    """The op of broadcast and flattened operands is the result flattened."""
    for case in ordinary(name):
        (found,) = Run(case, symbolic=False).reference()
        flat = tuple(x.ravel() for x in np.broadcast_arrays(*case.inputs))
        assert flat[0].size == found.size
        (again,) = Run(type(case)(name, flat, case.attrs), symbolic=False).reference()
        np.testing.assert_array_equal(found.ravel(), again)
