"""Every op in a session against its reference, over all of its cases.

The cases of one op are one graph and one compilation. Operands are aligned to 16 bytes and no
more: kernels may not count on what NumPy happens to give.
"""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.targets import host_target
from graphc.ir.op import OPS
from tests.native.bounds import misfit
from tests.ops.cases import CASES, all_cases

ALL = all_cases(large=True)
FAILING = [case for case in ALL if case.fails is not None]
MANY = 100
"""Of more cases than these a quick run takes each one way: sizes known or unknown, in turn."""
FUSED = host_target().has_fma


def barely_aligned(array):
    """A copy that begins at a multiple of 16 bytes and of no more."""
    memory = np.empty(array.nbytes + 96, np.uint8)
    start = -memory.ctypes.data % 64 + 16
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    assert found.size == 0 or found.ctypes.data % 32 == 16
    return found


@pytest.mark.parametrize("op", sorted(CASES))
def test_op_is_its_reference(op, request):
    cases = [case for case in ALL if case.op == op and case.fails is None]
    ways = [(case, symbolic) for case in cases for symbolic in (False, True)]
    if len(cases) > MANY and not request.config.getoption("--soak"):
        ways = [(case, n % 2 == 1) for n, case in enumerate(cases)]
    check(ways)


def check(ways):
    graph = gx.Graph()
    with graph.as_default():
        built = [(case, case.node(symbolic)) for case, symbolic in ways]
    feeds = {
        tensor: barely_aligned(value)
        for case, node in built
        for tensor, value in zip(node.inputs, case.inputs, strict=True)
    }
    with gx.Session(graph=graph) as session:
        found = session.run([list(node.outputs) for _, node in built], feeds)
    for (case, node), outputs in zip(built, found, strict=True):
        problem = misfit(node, case.inputs, [np.asarray(x) for x in outputs], FUSED)
        assert problem is None, f"{case.name}, {node.types}: {problem}"
        for tensor, value in zip(node.inputs, case.inputs, strict=True):
            assert feeds[tensor].tobytes() == value.tobytes(), f"{case.name} wrote to its feed"


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_data_that_break_a_rule_fail_the_step(case):
    for symbolic in (False, True):
        with gx.Graph().as_default():
            node = case.node(symbolic)
            feeds = dict(zip(node.inputs, map(barely_aligned, case.inputs), strict=True))
            with gx.Session() as session, pytest.raises(gx.DataError, match=case.fails) as caught:
                session.run(list(node.outputs), feeds)
            assert str(caught.value).startswith(f"{case.op} ")


def test_no_op_is_left_out():
    rest = {name for name, op in OPS.items() if not op.stateful} - CASES.keys()
    assert rest == {"fused", "custom_gradient"}
