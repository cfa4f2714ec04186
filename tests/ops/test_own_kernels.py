"""Kernels that promise more than closeness: uniform numbers bit by bit, and plain copies."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.host import named_cpu
from graphc.backends.cpu.schedules.general import schedule
from graphc.backends.loops.interpreter import run
from graphc.ir.scope import create


def outputs(node, *arrays):
    """What the node's kernel computes, scheduled for a CPU with AVX2, in the interpreter."""
    function = schedule(node.op.kernel(node), named_cpu("x86-64-v3").target)
    results = [np.zeros(t.shape, t.dtype.numpy) for t in node.types]
    assert run(function, [*arrays, *results], {}) == -1
    return results


@pytest.mark.parametrize("dtype", [gx.float32, gx.float64])
def test_uniform_numbers_are_the_references_bit_by_bit(dtype):
    counter = gx.placeholder(gx.int64, [])
    attrs = {"seed": 7, "op_seed": 2**31, "dtype": dtype, "shape": (3, 11)}
    node = create("random_uniform", [counter], attrs)
    step = np.array(2**33 + 5)
    (found,) = outputs(node, step)
    (expected,) = node.op.reference(node, [step], node.types)
    assert found.tobytes() == expected.tobytes()


def test_a_custom_gradient_copies_its_results():
    x, y = gx.placeholder(gx.float32, [3]), gx.placeholder(gx.int32, [2, 2])
    node = create("custom_gradient", [x, y, x], {"results": 2})
    a, b = np.float32([1, np.nan, -0.0]), np.int32([[1, 2], [3, 4]])
    first, second = outputs(node, a, b, a + 1)
    assert first.tobytes() == a.tobytes()
    np.testing.assert_array_equal(second, b)
