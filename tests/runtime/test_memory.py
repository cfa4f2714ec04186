"""The arena in use: what is planned is what is used, and a replay with poison gives the same."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.executable import POISON, address_of
from graphc.backends.loops.memory import Layout


def training_step(width=32):
    x = gx.placeholder(gx.float32, [None, 20])
    y = gx.placeholder(gx.int32, [None])
    rng = np.random.default_rng(0)
    sizes, h = [20, width, width, 5], x
    for i, (a, b) in enumerate(pairwise(sizes)):
        w = gx.Variable(rng.normal(size=(a, b)).astype(np.float32) * 0.2)
        h = gx.matmul(h, w) + gx.Variable(np.zeros(b, np.float32))
        h = gx.tanh(h) if i < 2 else h
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h)
    loss = gx.reduce_mean(losses)
    return x, y, loss, gx.train.MomentumOptimizer(0.1, 0.9).minimize(loss)


@pytest.fixture
def binding():
    x, y, loss, _ = training_step()
    grads = gx.gradients(loss, gx.trainable_variables())
    rng = np.random.default_rng(1)
    feeds = [rng.normal(size=(16, 20)).astype(np.float32), rng.integers(0, 5, 16).astype(np.int32)]
    with gx.Session() as sess:
        executor = sess.executor([loss, *grads], [x, y])
        executor.run(feeds)
        yield executor.binding(feeds), feeds


def test_replay_with_poison_gives_the_same(binding):
    bound, feeds = binding
    addresses = [address_of(f) for f in feeds]
    for a, b in zip(bound.run(addresses), bound.replay(addresses), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_planned_peak_is_the_peak_in_use(binding):
    bound, feeds = binding
    assert bound.layout.peak == bound.arena.size > 0
    bound.arena[:] = POISON
    bound.run([address_of(f) for f in feeds])
    (written,) = np.nonzero(bound.arena != POISON)
    assert written.max() < bound.layout.peak
    assert written.max() >= bound.layout.peak - 64


def test_replay_finds_a_planted_overlap(binding):
    bound, feeds = binding
    addresses = [address_of(f) for f in feeds]
    expected = bound.run(addresses)
    by_start = sorted(range(len(bound.intervals)), key=lambda i: bound.intervals[i].first)
    wrong = 0
    for i, j in pairwise(by_start):
        room = bound.layout.offsets[i] + bound.intervals[j].bytes <= bound.layout.peak
        if bound.intervals[i].last < bound.intervals[j].first or not room:
            continue
        kept = bound.layout
        offsets = list(kept.offsets)
        offsets[j] = offsets[i]
        bound.layout = replace(kept, offsets=tuple(offsets))
        bound.place_temporaries()
        wrong += any(
            not np.array_equal(a, b) for a, b in zip(expected, bound.replay(addresses), strict=True)
        )
        bound.layout = kept
        bound.place_temporaries()
    assert isinstance(bound.layout, Layout)
    assert wrong
