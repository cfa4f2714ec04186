"""Sessions that end in the middle of something: the others go on, and nothing is kept for them."""

from collections import Counter

import pytest

import graphc as gx
from graphc.runtime.drivers.network import Network
from tests.runtime.counting import CLIENTS, EVERYONE, STEPS, counting

PATIENCE = 5.0
FIRST, *OTHERS = CLIENTS


def script_that_ends(model, done, after, *, closes):
    def pause(session, number):
        if number == after:
            if closes:
                yield from session.master.close()
            raise RuntimeError("the user's script fails")
        yield from ()

    return model.script(FIRST, done, pause)


@pytest.mark.random_cases(quick=10, soak=200)
def test_other_clients_go_on_when_a_script_fails_between_steps(case_seed):
    model, done = counting(), Counter()
    cluster = model.cluster(case_seed, Network(), PATIENCE)
    closes = bool(case_seed % 2)
    script = script_that_ends(model, done, case_seed % STEPS + 1, closes=closes)
    failing = cluster.client(FIRST, script)
    cluster.run(*(cluster.client(rank, model.script(rank, done)) for rank in OTHERS))
    cluster.simulation.run(failing)
    assert isinstance(failing.error, RuntimeError)
    cluster.wait(FIRST, 1.0)
    model.check(cluster, done, EVERYONE, tried=0)
    sessions = set().union(*(worker.sessions for worker in cluster.workers))
    assert sessions == {(rank, 1) for rank in (OTHERS if closes else CLIENTS)}


def test_other_clients_go_on_when_a_client_is_refused():
    """Its variable has another shape; what it had registered elsewhere goes with its session."""
    model, done = counting(), Counter()
    cluster = model.cluster(1, Network(), PATIENCE)
    with gx.Graph().as_default():
        with gx.device("/job:ps/task:0"):
            wrong = gx.Variable(gx.zeros([3]), name="all-0")
        with gx.device("/job:ps/task:1"):
            fetched = wrong.value() * 2.0

    def script(session):
        with pytest.raises(gx.StateError, match=r"'all-0' is float32 \[2\] here.*\n.*ps/task:0"):
            yield from session.run([fetched])
        yield from session.master.close()

    early, late = OTHERS
    cluster.run(cluster.client(early, model.script(early, done)))
    cluster.run(cluster.client(FIRST, script), cluster.client(late, model.script(late, done)))
    cluster.wait(FIRST, 1.0)
    model.check(cluster, done, EVERYONE, tried=0)
    assert all((FIRST, 1) not in worker.sessions for worker in cluster.workers)
