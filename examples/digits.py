"""A network for handwritten digits: what demo.py trains, and what `graphc compile` can be given.

graphc compile examples/digits.py:training --output training.graphc
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import graphc as gx

PIXELS, CLASSES = 64, 10
HIDDEN = (128, 64)
LEARNING_RATE, MOMENTUM = 0.05, 0.9


class Data(NamedTuple):
    """Images float32 [n, 64] from 0 to 1, and their digits int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Network:
    """The tensors of the graph that a user feeds and fetches."""

    images: gx.Tensor
    labels: gx.Tensor
    logits: gx.Tensor
    loss: gx.Tensor
    accuracy: gx.Tensor
    step: gx.Operation


def load(test_images: int = 360, seed: int = 0) -> tuple[Data, Data]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, shuffled: those to train on, those to test."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    images, labels = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int32)
    cut = len(digits) - test_images
    return Data(images[:cut], labels[:cut]), Data(images[cut:], labels[cut:])


def build() -> Network:
    """Add the network, its loss and its training step to the default graph."""
    images = gx.placeholder(gx.float32, [None, PIXELS], name="images")
    labels = gx.placeholder(gx.int32, [None], name="labels")
    hidden = images
    for number, width in enumerate(HIDDEN):
        hidden = gx.nn.relu(dense(hidden, width, f"hidden{number}"))
    logits = gx.identity(dense(hidden, CLASSES, "output"), name="logits")
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = gx.reduce_mean(losses, name="loss")
    right = gx.equal(gx.argmax(logits, 1), gx.cast(labels, gx.int64))
    accuracy = gx.reduce_mean(gx.cast(right, gx.float32), name="accuracy")
    step = gx.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM).minimize(loss)
    return Network(images, labels, logits, loss, accuracy, step)


def dense(inputs: gx.Tensor, width: int, name: str) -> gx.Tensor:
    """``inputs @ weights + bias``: [n, k] to [n, width]."""
    with gx.variable_scope(name):
        weights = gx.get_variable("weights", [inputs.shape[1], width])
        bias = gx.get_variable("bias", [width], initializer=gx.zeros_initializer())
        return gx.matmul(inputs, weights) + bias


def training() -> tuple[list[object], list[gx.Tensor]]:
    """For `graphc compile`: a training step and its loss, from images and labels."""
    network = build()
    return [network.step, network.loss], [network.images, network.labels]
