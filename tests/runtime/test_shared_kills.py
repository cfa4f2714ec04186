"""Workers that share batches die at any moment: they are named, and the others end alike."""

import random
import re

import numpy as np
import pytest

import graphc as gx
from graphc.distribute import DataParallel
from graphc.runtime.drivers.network import Network
from tests.runtime.cluster import Prepared, SimulatedCluster

PATIENCE = 5.0
USUAL = 0.04
"""About how long all steps take, in virtual seconds."""
STEPS = 4
PREPARED = Prepared()
"""What is compiled serves all seeds."""


class Model:
    """Two variables that hold the number of steps, if these were whole."""

    def __init__(self):
        self.x = gx.placeholder(gx.float32, [None], name="x")
        total = gx.reduce_sum(self.x)
        self.a = gx.get_variable("a", [], initializer=gx.zeros_initializer())
        self.b = gx.get_variable("b", [3], initializer=gx.zeros_initializer())
        done = [self.a.assign_add(total), self.b.assign_add(total * gx.ones([3]))]
        self.step = gx.group(*done)


def killed(seed, members, everywhere):
    """A cluster in which a worker died, which, its clients by rank, and steps that ended there."""
    rng, model, done = random.Random(seed), Model(), dict.fromkeys(range(members), 0)
    network = Network(synchronous=bool(rng.randrange(2)), detection=rng.choice([1e-4, 1.0, 20.0]))
    shared = rng.random() < 0.5
    spec = {"worker": ["a"] * members}
    cluster = SimulatedCluster(spec, seed, network, PATIENCE, PREPARED, share_memory=shared)

    def script(rank):
        def steps(session):
            for _ in range(STEPS):
                rows = 1 if everywhere else members
                yield from session.run((), (model.step,), {model.x: np.ones(rows, np.float32)})
                done[rank] += 1
            yield from session.close()

        return steps

    taking = range(members) if everywhere else [0]
    if not everywhere:
        cluster.join(*range(1, members))
    clients = {rank: cluster.sharing(rank, script(rank), DataParallel()) for rank in taking}
    victim = rng.randrange(members)
    cluster.simulation.kill(victim, rng.uniform(0, USUAL))
    cluster.simulation.run(*clients.values())
    living = [rank for rank in range(members) if rank != victim]
    cluster.wait(living[0], 100.0)
    return cluster, victim, clients, done


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.random_cases(quick=10, soak=200)
def test_the_dead_one_is_named_and_the_others_end_alike(case_seed, everywhere):
    members = 2 + case_seed % 4
    cluster, victim, clients, done = killed(case_seed, members, everywhere)
    living = [rank for rank in range(members) if rank != victim]
    name = re.escape(cluster.spec.name_of(victim))
    for rank in living:
        error = clients[rank].error if rank in clients else None
        if error is not None:
            assert isinstance(error, gx.ClusterError)
            assert re.search(name, str(error)), error
        elif rank in clients:
            assert done[rank] == STEPS
    values = {rank: (cluster.value("a", rank), cluster.value("b", rank)) for rank in living}
    found = [
        None if a is None or b is None else (float(a), *b.tolist()) for a, b in values.values()
    ]
    known = {value for value in found if value is not None}
    assert len(known) <= 1, values
    for value in known:
        assert len(set(value)) == 1, "a step was committed by half"
        assert value[0] / members in range(STEPS + 1)
        if not clients or 0 in living:
            assert value[0] / members >= max(done[rank] for rank in living if rank in clients)


@pytest.mark.parametrize("share_memory", [False, True])
@pytest.mark.random_cases(quick=20, soak=1000)
def test_who_waits_in_vain_ends_like_the_others(case_seed, share_memory):
    """Many waits are overdue just before their end, though a question is answered in time."""
    rng, model, members = random.Random(case_seed), Model(), 2 + case_seed % 3
    network = Network(jitter=rng.choice([0.3, 0.4, 0.49]), synchronous=bool(rng.randrange(2)))
    cluster = SimulatedCluster(
        {"worker": ["a"] * members}, case_seed, network, 1.0, PREPARED, share_memory=share_memory
    )
    errors = {}

    def script(rank):
        def steps(session):
            try:
                for _ in range(STEPS):
                    yield from session.run((), (model.step,), {model.x: np.ones(1, np.float32)})
            except gx.ClusterError as error:
                errors[rank] = error
            yield from session.close()

        return steps

    clients = [cluster.sharing(rank, script(rank), DataParallel()) for rank in range(members)]
    cluster.simulation.run(*clients)
    cluster.wait(0, 100.0)
    values = [(cluster.value("a", rank), cluster.value("b", rank)) for rank in range(members)]
    values = {(float(a), *b.tolist()) for a, b in values if a is not None and b is not None}
    assert len(values) <= 1, values
    assert [client.error for client in clients] == [None] * members
