"""Softmax regression in parts: variables on a server, half of the batch for each of two workers."""

import numpy as np

import graphc as gx


def replicated():
    """Images, labels, the weights, the loss and a step of training."""
    x, y = gx.placeholder(gx.float32, [None, 4]), gx.placeholder(gx.int32, [None])
    with gx.device("/job:ps/task:0"):
        w, b = gx.Variable(gx.zeros([4, 3])), gx.Variable(gx.zeros([3]))
    parts = []
    halves = zip(gx.split(x, 2, axis=0), gx.split(y, 2, axis=0), strict=True)
    for task, (rows, labels) in enumerate(halves):
        with gx.device(f"/job:worker/task:{task}"):
            logits = gx.matmul(rows, w) + b
            losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            parts.append(gx.reduce_mean(losses))
    loss = (parts[0] + parts[1]) / 2.0
    return x, y, w, loss, gx.train.GradientDescentOptimizer(0.5).minimize(loss)


def batch(rng):
    return rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8).astype(np.int32)


def in_numpy(images, labels, steps):
    """Losses and weights of the same training in float64."""
    w, b, losses = np.zeros((4, 3)), np.zeros(3), []
    for _ in range(steps):
        z = images @ w + b
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(8), labels]).mean())
        p[np.arange(8), labels] -= 1
        w, b = w - 0.5 * images.T @ p / 8, b - 0.5 * p.mean(0)
    return losses, w


def expect_training(output):
    """What `programs/in_graph.py` prints: two bad batches are refused, the rest is as in NumPy."""
    lines = output.splitlines()
    assert lines[:3] == [
        "refused by /job:worker/task:0",
        "refused by /job:worker/task:1",
        "unchanged True",
    ]
    wanted, _ = in_numpy(*batch(np.random.default_rng(0)), 40)
    np.testing.assert_allclose([float(v) for v in lines[3].split()[1:]], wanted, rtol=1e-4)
