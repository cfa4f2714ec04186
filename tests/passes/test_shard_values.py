"""Shards compute what the undivided graph does: random training steps over ragged batches."""

import random

import numpy as np
import pytest

import graphc as gx
from tests.passes.batch_programs import BatchMaker
from tests.passes.running import outcome
from tests.passes.shards import extracted, ragged, refusal, run_shards, sharded


def program(seed, safe):
    """An extracted program with its axes, feeds and variables."""
    rows = random.Random(seed).choice([1, 2, 3, 5, 8, 13])
    maker = BatchMaker(seed, rows, safe)
    made = maker.made()
    graph = extracted(made.fetches, made.targets, list(made.feeds))
    return graph, maker.axes, list(made.feeds.values()), made.variables, rows


def assert_equal(graph, found, feeds, variables, rows, rng):
    wanted, state = outcome(graph, feeds, variables)
    for counts in ([rows], ragged(rng, rows), ragged(rng, rows)):
        outputs, assigned = run_shards(found, feeds, counts, variables)
        assert state.keys() == assigned.keys()
        pairs = [*zip(outputs, wanted, strict=True)]
        pairs += [(assigned[name], state[name]) for name in state]
        for a, b in pairs:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.random_cases(quick=40, soak=1000)
def test_training_steps_are_those_of_the_undivided_graph(case_seed, rng):
    graph, axes, feeds, variables, rows = program(case_seed, safe=True)
    assert_equal(graph, sharded(graph, axes), feeds, variables, rows, rng)


@pytest.mark.random_cases(quick=40, soak=1000)
def test_whatever_is_not_refused_is_right(case_seed, rng):
    graph, axes, feeds, variables, rows = program(case_seed, safe=False)
    refused = refusal(graph, axes)
    if refused:
        assert "rows of the batch are needed from other workers" in refused
    else:
        assert_equal(graph, sharded(graph, axes), feeds, variables, rows, rng)


@pytest.mark.parametrize("batch_axis", [0, 1])
def test_sequences_of_open_length(batch_axis, rng):
    """Two sizes are open, and axes are merged: each worker has whole sequences."""
    x = gx.placeholder(gx.float64, [None, None, 4])
    w = gx.Variable(np.zeros((4, 3)), name="w")
    rows = gx.transpose(x, [1, 0, 2]) if batch_axis else x
    flat = gx.tanh(gx.matmul(gx.reshape(rows, [-1, 4]), w))
    loss = gx.reduce_mean(flat) + gx.reduce_mean(gx.reduce_max(rows, axis=1))
    (grad,) = gx.gradients(loss, [w])
    targets = [w.assign_sub(grad + gx.reduce_mean(flat, axis=0)).node]
    graph = extracted([loss, flat], targets, [x])
    shape = (6, 5, 4) if batch_axis == 0 else (5, 6, 4)
    feeds = [rng.standard_normal(shape)]
    found = sharded(graph, [batch_axis])
    assert_equal(graph, found, feeds, {"w": rng.standard_normal((4, 3))}, 6, rng)
