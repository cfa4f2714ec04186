"""A network for handwritten digits. It says nothing of where it runs: the programs here do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import graphc as gx

PIXELS, HIDDEN, CLASSES = 64, 32, 10
BATCH, EPOCHS = 64, 10
LEARNING_RATE, MOMENTUM = 0.1, 0.9


class Data(NamedTuple):
    """Images float32 [n, 64] from 0 to 1, and their digits int32 [n]."""

    images: np.ndarray
    labels: np.ndarray

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole batches of 64 in a fixed order, ten times over."""
        for _ in range(EPOCHS):
            for first in range(0, len(self.labels) - BATCH + 1, BATCH):
                chosen = slice(first, first + BATCH)
                yield self.images[chosen], self.labels[chosen]


def load() -> tuple[Data, Data]:
    """scikit-learn's 1,797 digits, shuffled: those to train on, and 360 to test with."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    images, labels = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int32)
    return Data(images[:-360], labels[:-360]), Data(images[-360:], labels[-360:])


def inputs() -> tuple[gx.Tensor, gx.Tensor]:
    """Placeholders for images float32 [n, 64] and their digits int32 [n]."""
    images = gx.placeholder(gx.float32, [None, PIXELS], name="images")
    return images, gx.placeholder(gx.int32, [None], name="labels")


def logits_of(images: gx.Tensor) -> gx.Tensor:
    """The network: [n, 64] to [n, 10]. Called again, it uses the same variables again."""
    with gx.variable_scope("network", reuse=gx.AUTO_REUSE):
        hidden = gx.nn.relu(dense(images, HIDDEN, "hidden"))
        return dense(hidden, CLASSES, "output")


def dense(inputs: gx.Tensor, width: int, name: str) -> gx.Tensor:
    """``inputs @ weights + bias``: [n, k] to [n, width]."""
    with gx.variable_scope(name):
        start = gx.glorot_uniform_initializer(seed=width)
        weights = gx.get_variable("weights", [inputs.shape[1], width], initializer=start)
        bias = gx.get_variable("bias", [width], initializer=gx.zeros_initializer())
        return gx.matmul(inputs, weights) + bias


def loss_of(logits: gx.Tensor, labels: gx.Tensor) -> gx.Tensor:
    """The mean cross-entropy of a batch."""
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return gx.reduce_mean(losses)


def accuracy_of(logits: gx.Tensor, labels: gx.Tensor) -> gx.Tensor:
    """Which part of a batch is recognised."""
    right = gx.equal(gx.argmax(logits, 1), gx.cast(labels, gx.int64))
    return gx.reduce_mean(gx.cast(right, gx.float32))


def training(loss: gx.Tensor) -> gx.Operation:
    """One step of training: gradients, and updates of all variables."""
    return gx.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM).minimize(loss)
