"""Python's indexing against NumPy's, on random keys; and what sizes known only in a run change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc.ops as gx
from graphc.ir.dtypes import float32
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.scope import reset_default_graph
from tests.ops.evaluate import evaluate

BOUND = st.none() | st.integers(-6, 6)
STEP = st.none() | st.sampled_from([1, 2, 3, -1, -2])
SLICE = st.builds(slice, BOUND, BOUND, STEP)
SHAPE = st.lists(st.integers(0, 4), max_size=3)


@given(SHAPE, st.data())
def test_keys_mean_what_they_mean_to_numpy(shape, data):
    reset_default_graph()
    axes = data.draw(st.integers(0, len(shape)))
    item = {n: st.integers(-n, n - 1) | SLICE if n else SLICE for n in range(5)}
    key = [data.draw(item[n]) for n in shape[:axes]]
    for _ in range(data.draw(st.integers(0, 2))):
        key.insert(data.draw(st.integers(0, len(key))), None)
    if data.draw(st.booleans()):
        key.append(Ellipsis)
    value = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    tensor = gx.constant(value)[tuple(key)]
    expected = value[tuple(key)]
    assert tensor.shape == expected.shape
    np.testing.assert_array_equal(evaluate([tensor], {})[0], expected)


@given(st.integers(4, 9), st.builds(slice, BOUND, BOUND, STEP))
def test_slices_of_unknown_sizes(size, key):
    """Where the bounds lie within the axis, the size in the run decides as in NumPy."""
    reset_default_graph()
    x = gx.placeholder(float32, ["n"])
    value = np.arange(size, dtype=np.float32)
    expected = value[key]
    tensor = x[key]
    holds = all(c.holds({"n": size}) for c in tensor.node.constraints)
    if holds:
        found = evaluate([tensor], {x: value}, {"n": size})[0]
        np.testing.assert_array_equal(found, expected)
    else:
        last = size if (key.step or 1) > 0 else size - 1
        bounds = [b for b in (key.start, key.stop) if b is not None]
        assert expected.size == 0 or any(not -size <= b <= last for b in bounds)


@pytest.mark.parametrize("step", [2**70, -(2**70)])
def test_a_stride_beyond_all_takes_one_element(step):
    np.testing.assert_array_equal(evaluate([gx.constant([1, 2, 3])[1::step]], {})[0], [2])


def test_a_size_of_the_shape_bounds_a_slice():
    x, y = gx.placeholder(float32, ["n"]), gx.placeholder(float32, ["m"])
    found = x[: y.shape[0]]
    assert found.shape == y.shape
    assert not all(c.holds({"n": 3, "m": 4}) for c in found.node.constraints)


def test_indices_drop_axes_and_none_adds_them():
    x = gx.placeholder(float32, ["n", 3])
    assert [str(s) for s in x[:, 1, None].shape] == ["n", "1"]
    assert x[:] is x
    assert x[...] is x
    assert not x[-1].node.inputs[0].node.constraints[0].holds({"n": 0})


@pytest.mark.parametrize("key", [True, 1.5, "a", [0, 1], np.array([0, 1]), slice(0.5, 1)])
def test_other_keys_are_refused(key):
    with pytest.raises(GraphError, match="no index"):
        gx.constant([1, 2, 3])[key]


def test_tensors_as_keys_are_refused_and_gather_recommended():
    with pytest.raises(GraphError, match="gather"):
        gx.constant([1, 2, 3])[gx.constant(1)]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (3, r"strided_slice.*\[3, 2\].*axis 0"), (-4, "axis 0"), ((0, 2), "axis 1"),
        ((0, 0, 0), "too many"), ((..., ...), "two ellipses"), (slice(0, 3, 0), "step"),
    ],
)  # fmt: skip
def test_keys_out_of_range_are_refused(key, rule):
    x = gx.placeholder(float32, [3, 2])
    with pytest.raises(ShapeError, match=rule) as caught:
        x[key]
    assert "test_indexing.py" in str(caught.value)
