"""A cluster of 64 tasks with twelve clients at once, thousands of times."""

import gc
import random
from functools import cache

import numpy as np
import pytest

import graphc as gx
from graphc.runtime.drivers.network import Network
from tests.runtime.cluster import Prepared, SimulatedCluster

SERVERS, WORKERS, CLIENTS, STEPS = 8, 56, 12, 2
SPEC = {"ps": SERVERS, "worker": WORKERS}
EACH = WORKERS // CLIENTS
"""So many workers compute for each client, of which it is the first."""


class Crowd:
    """Twelve clients with a graph each, over variables that they share on eight servers.

    A step adds up what three workers compute, takes the next number of a counter, and adds the sum
    to a total on another server.
    """

    def __init__(self):
        self.prepared = Prepared()
        with gx.Graph().as_default():
            self.x = gx.placeholder(gx.float32, [None])
            self.counters = [self._variable("counter", task) for task in range(SERVERS)]
            self.totals = [self._variable("total", task) for task in range(SERVERS)]
            self.steps = [self._step(client) for client in range(CLIENTS)]

    def _variable(self, name, task):
        with gx.device(f"/job:ps/task:{task}"):
            return gx.Variable(np.float32(0), name=f"{name}{task}")

    def _step(self, client):
        parts = []
        for task in range(client * EACH, client * EACH + 3):
            with gx.device(f"/job:worker/task:{task}"):
                parts.append(gx.reduce_sum(self.x * float(task)))
        found = parts[0] + parts[1] + parts[2]
        take = self.counters[client % SERVERS].assign_add(1.0)
        add = self.totals[(client + 1) % SERVERS].assign_add(found)
        return (found, take), (add.node,)

    def script(self, client):
        """What numbers a client takes."""
        fetches, targets = self.steps[client]

        def run(session):
            taken = []
            for number in range(1, STEPS + 1):
                feeds = {self.x: np.full(2, number, np.float32)}
                found, number_taken = yield from session.run(fetches, targets, feeds)
                assert found == number * weight(client)
                taken.append(int(number_taken))
            return taken

        return run


def weight(client):
    """What a client's step adds for a feed of ones."""
    return 2 * sum(range(client * EACH, client * EACH + 3))


@cache
def crowd():
    """Made once: plans and programs serve all seeds, and no collection of garbage walks them."""
    made = Crowd()
    simulate(made, 0, Network())
    gc.collect()
    gc.freeze()
    return made


def simulate(model, seed, network):
    """The cluster after all clients have ended, and what numbers they took."""
    cluster = SimulatedCluster(SPEC, seed, network, prepared=model.prepared)
    ranks = [SERVERS + client * EACH for client in range(CLIENTS)]
    return cluster, cluster.run(*(cluster.client(r, model.script(k)) for k, r in enumerate(ranks)))


@pytest.fixture(autouse=True)
def _uncollected():
    """A cluster that is over is freed at once: nobody has to look for garbage meanwhile."""
    gc.disable()
    yield
    gc.enable()


def test_a_cluster_that_is_over_leaves_no_garbage():
    model = crowd()
    gc.collect()
    simulate(model, 1, Network())
    assert gc.collect() == 0


@pytest.mark.random_cases(quick=5, soak=1000)
def test_every_update_of_a_crowd_is_applied_once(case_seed):
    rng = random.Random(case_seed)
    slow = dict.fromkeys(rng.sample(range(SERVERS + WORKERS), 4), 100.0)
    network = Network(synchronous=bool(case_seed % 2), compute=1e-4, slowness=slow)
    cluster, taken = simulate(crowd(), case_seed, network)
    for task in range(SERVERS):
        numbers = [n for client in range(task, CLIENTS, SERVERS) for n in taken[client]]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert cluster.value(f"counter{task}", task) == len(numbers)
        adding = [client for client in range(CLIENTS) if (client + 1) % SERVERS == task]
        wanted = sum(map(weight, adding)) * STEPS * (STEPS + 1) // 2
        assert cluster.value(f"total{task}", task) == wanted
