"""Optimizers against their formulas in NumPy, and their slots, steps and errors."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.reference import run

STEPS = 6


def gradient_descent(w, grads):
    for g in grads:
        w = w - 0.1 * g(w)
    return w


def momentum(w, grads, nesterov=False):
    m = 0.0
    for g in grads:
        now = g(w)
        m = 0.9 * m + now
        w = w - 0.1 * (now + 0.9 * m if nesterov else m)
    return w


def adam(w, grads):
    """As the paper states it first, with both averages corrected."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        now = g(w)
        m, v = 0.9 * m + 0.1 * now, 0.999 * v + 0.001 * now**2
        corrected = m / (1 - 0.9**t), v / (1 - 0.999**t)
        # The efficient form adds epsilon to the root before its correction.
        w = w - 0.1 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8 / np.sqrt(1 - 0.999**t))
    return w


OPTIMIZERS = {
    "gradient descent": (lambda: gx.train.GradientDescentOptimizer(0.1), gradient_descent),
    "momentum": (lambda: gx.train.MomentumOptimizer(0.1, 0.9), momentum),
    "nesterov": (
        lambda: gx.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        lambda w, grads: momentum(w, grads, nesterov=True),
    ),
    "adam": (lambda: gx.train.AdamOptimizer(0.1), adam),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [gx.float32, gx.float64])
def test_updates_are_those_of_the_formula(name, dtype, rng):
    make, expected = OPTIMIZERS[name]
    targets = rng.standard_normal((STEPS, 2, 3))
    start = rng.standard_normal((2, 3))
    w = gx.Variable(start.astype(dtype.numpy), name="w")
    target = gx.placeholder(dtype, [2, 3])
    train = make().minimize(gx.reduce_sum(gx.square(w - target)))
    variables = {}
    for values in targets:
        run(w.graph, {target: values.astype(dtype.numpy)}, [], variables, [train])
    wanted = expected(start, [lambda w, t=t: 2 * (w - t) for t in targets])
    assert variables["w"].dtype == dtype.numpy
    np.testing.assert_allclose(variables["w"], wanted, rtol=1e-9 if dtype is gx.float64 else 2e-4)


def test_slots_are_variables_on_the_variables_device():
    with gx.device("/job:ps/task:1"):
        w = gx.get_variable("layer/w", [2])
    b = gx.Variable(0.0, name="b")
    loss = gx.reduce_sum(gx.square(w)) + b
    with gx.name_scope("anywhere"), gx.device("/job:worker/task:0"):
        momentum = gx.train.MomentumOptimizer(0.1, 0.9)
        momentum.minimize(loss)
        optimizer = gx.train.AdamOptimizer(0.1)
        optimizer.minimize(loss)
    slot = momentum.get_slot(w, "Momentum")
    assert (slot.name, slot.device, slot.trainable) == (
        "layer/w/Momentum:0", "/job:ps/task:1", False,
    )  # fmt: skip
    assert momentum.get_slot_names() == ["Momentum"]
    assert momentum.get_slot(w, "Adam") is None
    assert [v.name for v in optimizer.variables()] == [
        "beta1_power:0", "beta2_power:0",
        "layer/w/Adam:0", "layer/w/Adam_1:0", "b/Adam:0", "b/Adam_1:0",
    ]  # fmt: skip
    assert gx.trainable_variables() == [w, b]
    updates = [n for n in w.graph.nodes if n.op.name == "assign_sub" and n.inputs[0] is w.handle]
    assert [n.device for n in updates] == ["/job:ps/task:1"] * 2


def test_the_learning_rate_may_be_a_tensor_of_another_dtype():
    rate = gx.placeholder(gx.float32, [])
    w = gx.Variable(np.float64(1), name="w")
    train = gx.train.GradientDescentOptimizer(rate).minimize(w * 2.0)
    variables = {}
    for value in (0.5, 0.25):
        run(w.graph, {rate: value}, [], variables, [train])
    assert variables["w"] == 1 - 2 * 0.75


def test_the_global_step_is_counted_after_the_updates():
    w = gx.Variable(1.0, name="w")
    step = gx.train.get_or_create_global_step()
    assert gx.train.get_or_create_global_step() is step
    train = gx.train.GradientDescentOptimizer(0.5).minimize(w * w, global_step=step)
    variables = {}
    for _ in range(3):
        run(w.graph, {}, [], variables, [train])
    assert variables["global_step"] == 3
    assert variables["global_step"].dtype == np.int64
    assert variables["w"] == 0
    with pytest.raises(gx.GraphError, match="has a global step"):
        gx.train.create_global_step()
    other = gx.Graph()
    assert gx.train.get_global_step(other) is None
    assert gx.train.create_global_step(other).graph is other


def test_updates_keep_the_control_dependencies_in_force():
    w, seen = gx.Variable(3.0, name="w"), gx.Variable(0.0, name="seen")
    with gx.control_dependencies([seen.assign(w.value())]):
        train = gx.train.AdamOptimizer(0.1).minimize(w * w)
    variables = {}
    run(w.graph, {}, [], variables, [train])
    assert variables["seen"] == 3


def test_gradients_can_be_changed_between_the_two_halves():
    w, v = gx.Variable(1.0, name="w"), gx.Variable(1.0, name="v")
    optimizer = gx.train.GradientDescentOptimizer(1.0)
    found = optimizer.compute_gradients(w * 100.0)
    assert found[1] == (None, v)
    train = optimizer.apply_gradients((None if g is None else g / 1000.0, x) for g, x in found)
    variables = {}
    run(w.graph, {}, [], variables, [train])
    assert variables["w"] == pytest.approx(0.9)
    assert "v" not in variables


def test_only_the_listed_variables_change():
    w, v, n = gx.Variable(1.0, name="w"), gx.Variable(1.0, name="v"), gx.Variable(1, name="n")
    train = gx.train.GradientDescentOptimizer(1.0).minimize(w * v, var_list=[v, n])
    variables = {}
    run(w.graph, {}, [], variables, [train])
    assert variables == {"w": 1, "v": 0}
    train = gx.train.GradientDescentOptimizer(1.0).minimize(w * v, var_list=w)
    run(w.graph, {}, [], variables := {}, [train])
    assert variables == {"w": 0, "v": 1}
    with pytest.raises(gx.GraphError, match=r"(?s)is no variable.*test_optimizers\.py"):
        gx.train.GradientDescentOptimizer(1.0).minimize(w * v, var_list=[w.value()])


def test_gradients_to_apply_may_be_numbers():
    w = gx.Variable([1.0, 2.0], name="w")
    train = gx.train.GradientDescentOptimizer(1.0).apply_gradients([([0.5, 1], w)])
    run(w.graph, {}, [], variables := {}, [train])
    np.testing.assert_array_equal(variables["w"], [0.5, 1])


def test_a_loss_that_depends_on_nothing_is_refused():
    w = gx.Variable(1.0, name="w")
    optimizer = gx.train.GradientDescentOptimizer(1.0)
    with pytest.raises(gx.GraphError, match=r"(?s)none of the variables \['w:0'\].*test_optim"):
        optimizer.minimize(gx.constant(1.0))
    with pytest.raises(gx.GraphError, match="no gradients"):
        optimizer.apply_gradients([(None, w)])
    with pytest.raises(gx.DTypeError, match="not of the dtype"):
        optimizer.apply_gradients([(gx.constant(1.0, gx.float64), w)])


def test_softmax_regression_learns_as_in_numpy(rng):
    x = rng.standard_normal((50, 4))
    y = (x @ rng.standard_normal((4, 3))).argmax(axis=1)
    images, labels = gx.placeholder(gx.float64, [None, 4]), gx.placeholder(gx.int64, [None])
    w = gx.get_variable("w", [4, 3], gx.float64, gx.zeros_initializer())
    logits = images @ w
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    train = gx.train.GradientDescentOptimizer(0.5).minimize(gx.reduce_mean(losses))
    variables, expected = {}, np.zeros((4, 3))
    for _ in range(20):
        run(w.graph, {images: x, labels: y}, [], variables, [train])
        p = np.exp(x @ expected)
        p /= p.sum(axis=1, keepdims=True)
        expected -= 0.5 * x.T @ (p - np.eye(3)[y]) / 50
    np.testing.assert_allclose(variables["w"], expected, rtol=1e-9)
