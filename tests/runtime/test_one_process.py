"""A strategy in one process: the numbers of a plain session, without MPI."""

import subprocess
import sys

import numpy as np
import pytest

import graphc as gx

STRATEGIES = [gx.distribute.DataParallel(), gx.distribute.DataParallel(reproducible=3)]


def noisy_regression():
    """Feeds, what is fetched, and a step; both use random numbers, as the first values do."""
    x = gx.placeholder(gx.float32, [None, 4], name="x")
    weights = gx.get_variable("weights", [4, 3])
    noise = gx.random_uniform([1, 3])
    loss = gx.reduce_mean(gx.square(gx.matmul(x, weights) * noise))
    return x, loss, noise, gx.train.AdamOptimizer(0.1).minimize(loss)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_numbers_are_those_of_a_plain_session(strategy, rng):
    x, loss, noise, step = noisy_regression()
    batches = [rng.normal(size=(n, 4)).astype(np.float32) for n in (6, 1, 0, 7)]

    def run(given):
        with gx.Session(strategy=given) as session:
            return [session.run([loss, noise, step], {x: batch})[:2] for batch in batches]

    for (found, numbers), (wanted, same) in zip(run(strategy), run(None), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        np.testing.assert_array_equal(numbers, same)


def test_sessions_have_variables_of_their_own():
    with gx.Graph().as_default():
        counter = gx.Variable(np.float32(0))
        add = counter.assign_add(1.0)
        with (
            gx.Session(strategy=STRATEGIES[0]) as first,
            gx.Session(strategy=STRATEGIES[0]) as second,
        ):
            first.run(add)
            assert (first.run(counter), second.run(counter)) == (1.0, 0.0)


def test_a_step_that_fails_changes_nothing(rng):
    x, labels = gx.placeholder(gx.float32, [None, 3]), gx.placeholder(gx.int32, [None])
    weights = gx.get_variable("weights", [3, 2])
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=gx.matmul(x, weights)
    )
    step = gx.train.GradientDescentOptimizer(0.5).minimize(gx.reduce_mean(losses))
    images = rng.normal(size=(5, 3)).astype(np.float32)
    for strategy in STRATEGIES:
        with gx.Session(strategy=strategy) as session:
            before = session.run(weights)
            with pytest.raises(gx.DataError, match=r"(?s)label out of range.*test_one_process"):
                session.run(step, {x: images, labels: [0, 1, 0, 5, 1]})
            np.testing.assert_array_equal(session.run(weights), before)
            session.run(step, {x: images, labels: [0, 1, 0, 1, 1]})
            assert not np.array_equal(session.run(weights), before)


def test_no_mpi_is_loaded():
    code = (
        "import sys, graphc as gx; x = gx.placeholder(gx.float32, [None]);"
        "s = gx.Session(strategy=gx.distribute.DataParallel());"
        "s.run(gx.reduce_sum(x), {x: [1.0]}); print('mpi4py' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_many_sizes_in_turn_leave_no_memory_of_others(rng):
    """Only the last few sizes keep their memory; steps that fail keep some as well."""
    x, index = gx.placeholder(gx.float32, [None, 3]), gx.placeholder(gx.int32, [None])
    picked = gx.gather(gx.constant([1.0, 2.0]), index)
    total = gx.reduce_sum(x * gx.reshape(picked, [-1, 1]), axis=0)
    with gx.Session(strategy=gx.distribute.DataParallel()) as session:
        for size in [*range(1, 30), *range(1, 30)]:
            rows = rng.normal(size=(size, 3)).astype(np.float32)
            if size % 3 == 0:
                with pytest.raises(gx.DataError, match="out of range"):
                    session.run(total, {x: rows, index: [7] * size})
            found = session.run(total, {x: rows, index: [1] * size})
            np.testing.assert_allclose(found, 2 * rows.sum(0), rtol=1e-4, atol=1e-5)


def test_a_plain_session_loads_nothing_of_clusters():
    code = (
        "import sys, graphc as gx; s = gx.Session(); s.run(gx.constant(1.0));"
        "print([m for m in sys.modules if m.endswith(('.master', '.worker', '.meeting'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
