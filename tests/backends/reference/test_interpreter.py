"""What the reference backend itself promises: pruning, feeds, sizes, errors."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.reference import run


def test_only_what_is_fetched_runs():
    x = gx.placeholder(gx.float32, [])
    unfed = gx.placeholder(gx.float32, [])
    y = x + 1.0
    _ = unfed * y
    assert run(x.graph, {x: 2.0}, [y, x, y]) == [3, 2, 3]
    with pytest.raises(gx.FeedError, match=r"(?s)placeholder 'placeholder_1': needs a feed.*at"):
        run(x.graph, {x: 2.0}, [unfed])


def test_any_tensor_may_be_fed_and_cuts_what_is_before_it():
    x = gx.placeholder(gx.float32, [None])
    y = x * 2.0
    z = y + x
    np.testing.assert_array_equal(
        run(x.graph, {x: np.float32([1]), y: np.float32([10])}, [z])[0], [11]
    )
    assert run(x.graph, {z: np.float32([5])}, [gx.reduce_sum(z)]) == [5]
    with pytest.raises(gx.FeedError, match=r"shape \[None\] cannot be fed \[2\]"):
        run(x.graph, {x: np.float32([1]), y: np.float32([1, 2])}, [z])


def test_fetches_are_fresh_and_feeds_are_not_written():
    v = gx.Variable([1.0, 2.0], name="v")
    x = gx.placeholder(gx.float32, [2])
    fed = np.float32([3, 4])
    variables = {}
    same, read = run(x.graph, {x: fed}, [gx.identity(x), v.value()], variables)
    same += 1
    read += 1
    run(x.graph, {x: fed}, [], variables, [v.assign(x).node])
    fed += 1
    np.testing.assert_array_equal(fed, [4, 5])
    np.testing.assert_array_equal(variables["v"], [3, 4])


def test_sizes_are_held_against_the_graph():
    a, b = gx.placeholder(gx.float32, [None]), gx.placeholder(gx.float32, [None])
    n = gx.placeholder(gx.float32, ["n", "n"])
    total = a + b
    feeds = {a: np.zeros(2, np.float32), b: np.zeros(3, np.float32)}
    with pytest.raises(gx.ShapeError, match=r"(?s)add.*must broadcast.*test_interpreter\.py"):
        run(a.graph, feeds, [total])
    with pytest.raises(gx.FeedError, match=r"\[n, n\] cannot be fed \[2, 3\]"):
        run(n.graph, {n: np.zeros((2, 3), np.float32)}, [n])
    with pytest.raises(gx.FeedError, match=r"cannot be fed \[2, 2, 2\]"):
        run(n.graph, {n: np.zeros((2, 2, 2), np.float32)}, [n])
    with pytest.raises(gx.FeedError, match="no feed tells the size"):
        run(n.graph, {}, [gx.zeros(n.shape)])


def test_feeds_and_fetches_are_checked():
    x = gx.placeholder(gx.float32, [])
    v = gx.Variable(1.0, name="v")
    with pytest.raises(gx.FeedError, match="converts nothing"):
        run(x.graph, {x: np.ones((), np.float64)}, [x])
    with pytest.raises(gx.FeedError, match="is a variable"):
        run(x.graph, {v.handle: 1.0}, [x])
    with pytest.raises(gx.FetchError, match="cannot be fetched"):
        run(x.graph, {}, [v.handle])
    with pytest.raises(gx.FetchError, match="cannot be fetched"):
        run(gx.Graph(), {}, [x])
    with pytest.raises(gx.StateError, match=r"holds float64 \[2\]"):
        run(x.graph, {}, [v.value()], {"v": np.zeros(2)})


def test_labels_out_of_range_fail_the_step_even_if_only_the_gradient_is_fetched():
    logits = gx.placeholder(gx.float32, [2, 3])
    labels = gx.placeholder(gx.int32, [2])
    loss = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    (grad,) = gx.gradients(loss, logits)
    feeds = {logits: np.zeros((2, 3), np.float32), labels: np.int32([0, 3])}
    for fetch in (loss, grad):
        with pytest.raises(gx.DataError, match=r"(?s)label out of range.*test_interpreter\.py"):
            run(loss.graph, feeds, [fetch])


def test_a_long_chain_runs():
    x = y = gx.placeholder(gx.int32, [])
    for _ in range(5000):
        y = gx.negative(y)
    assert run(x.graph, {x: 3}, [y]) == [3]
