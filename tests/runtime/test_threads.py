"""Sessions that several threads use at once: one compilation, one initial value, no lost update."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import graphc as gx
from graphc.runtime.local import LocalPrograms

THREADS = 8


def in_threads(work):
    """Call ``work(number)`` in several threads that start together; raises what they raise."""
    barrier = threading.Barrier(THREADS)

    def body(number):
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(body, range(THREADS)))


@pytest.fixture
def sess():
    with gx.Session() as session:
        yield session


def test_a_variable_gets_its_initial_value_once(sess):
    v = gx.Variable(np.zeros(3))
    increments = [v.assign_add(np.full(3, float(i))) for i in range(THREADS)]

    def work(number):
        for _ in range(20):
            sess.run(increments[number])

    in_threads(work)
    np.testing.assert_array_equal(sess.run(v), 20.0 * sum(range(THREADS)))


def test_programs_that_share_a_variable_run_one_after_the_other(sess):
    """Each of them takes long enough to be interrupted by another between reading and storing."""
    size = 1 << 18
    v = gx.Variable(np.zeros(size, np.float32))
    increments = [v.assign_add(np.full(size, 2.0**i, np.float32)) for i in range(THREADS)]
    for increment in increments:
        sess.run(increment.op)

    def work(number):
        for _ in range(20):
            sess.run(increments[number].op)

    in_threads(work)
    np.testing.assert_array_equal(sess.run(v), 21.0 * (2**THREADS - 1))


def test_a_signature_is_compiled_by_the_first_thread_that_asks(sess, monkeypatch):
    x = gx.placeholder(gx.float32, [None])
    y = gx.exp(x) + 1.5
    compiled = []
    compile_ = LocalPrograms._compile
    monkeypatch.setattr(
        LocalPrograms, "_compile", lambda self, key: compiled.append(key) or compile_(self, key)
    )
    in_threads(lambda number: sess.run(y, {x: np.ones(number)}))
    assert len(compiled) == 1
