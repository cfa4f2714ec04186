"""Graphs as large as users make them: compiled from nothing, run, and right."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.cache import KernelCache
from graphc.backends.reference import run
from graphc.compiler import extract
from graphc.runtime import compiled

WIDTH, BATCH = 32, 16


@pytest.fixture
def cold(monkeypatch):
    """No kernel has been compiled before."""
    cache = KernelCache()
    monkeypatch.setattr(compiled, "default_cache", lambda: cache)


@pytest.fixture(params=[10, pytest.param(1, marks=pytest.mark.soak)], ids=["tenth", "whole"])
def whole_by(request):
    """By how much the whole size is divided."""
    return request.param


def residual_network(layers, rng):
    """Images, labels, the loss and one step of training, about 61 nodes for each layer."""
    images = gx.placeholder(gx.float32, [BATCH, WIDTH])
    labels = gx.placeholder(gx.int32, [BATCH])

    def weights():
        return gx.Variable((rng.standard_normal((WIDTH, WIDTH)) * 0.02).astype(np.float32))

    hidden = images
    for _ in range(layers):
        inner = gx.relu(gx.matmul(hidden, weights()) + gx.Variable(gx.zeros([WIDTH])))
        hidden += gx.matmul(inner, weights()) + gx.Variable(gx.zeros([WIDTH]))
    loss = gx.reduce_mean(
        gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=hidden)
    )
    return images, labels, loss, gx.train.MomentumOptimizer(0.1, 0.9).minimize(loss)


def test_a_residual_training_step_of_10_000_nodes(cold, whole_by, rng):
    images, labels, loss, step = residual_network(-(-164 // whole_by), rng)
    assert len(extract((loss,), (step,), (images, labels)).graph) >= 10_000 // whole_by
    feeds = {
        images: rng.standard_normal((BATCH, WIDTH)).astype(np.float32),
        labels: rng.integers(0, WIDTH, BATCH).astype(np.int32),
    }
    variables = {}
    with gx.Session() as session:
        for _ in range(3):
            found, _ = session.run([loss, step], feeds)
            (wanted,) = run(loss.graph, feeds, [loss], variables, [step])
            np.testing.assert_allclose(found, wanted, rtol=1e-4)
        after = session.run({v.node.name: v.value() for v in gx.trainable_variables()})
    for name, value in after.items():
        np.testing.assert_allclose(value, variables[name], rtol=1e-3, atol=1e-5)


def test_a_chain_of_100_000_elementwise_ops(cold, whole_by, rng):
    x = gx.placeholder(gx.float32, [None])
    fed = rng.standard_normal(1000).astype(np.float32)
    y, wanted = x, fed
    steps = [
        (lambda y: y * 0.999, lambda y: y * np.float32(0.999)),
        (lambda y: y + x, lambda y: y + fed),
        (lambda y: gx.maximum(y, -1.0), lambda y: np.maximum(y, np.float32(-1))),
        (lambda y: y - 0.01, lambda y: y - np.float32(0.01)),
    ]
    for n in range(100_000 // whole_by):
        native, numpy = steps[n % 4]
        y, wanted = native(y), numpy(wanted)
    with gx.Session() as session:
        np.testing.assert_array_equal(session.run(y, {x: fed}), wanted)
