"""Tasks die at any moment: the error names them, and what is left is whole."""

import random
import re
from collections import Counter

import pytest

import graphc as gx
from graphc.runtime.drivers.network import Network
from tests.runtime.counting import CLIENTS, EVERYONE, STEPS, WRITERS, counting

PATIENCE = 5.0
USUAL = 0.03
"""About how long all steps of all clients take, in virtual seconds."""


def killed(seed, deaths):
    """A cluster in which tasks die, which ones, the clients, and their steps that ended well."""
    rng = random.Random(seed)
    network = Network(synchronous=bool(rng.randrange(2)), detection=rng.choice([1e-4, 1.0, 20.0]))
    model, done = counting(), Counter()
    cluster = model.cluster(seed, network, PATIENCE)
    clients = {rank: cluster.client(rank, model.script(rank, done)) for rank in CLIENTS}
    victims = rng.sample(EVERYONE, deaths)
    at = rng.uniform(0, USUAL)
    for victim in victims:
        cluster.simulation.kill(victim, at)
        at += rng.choice([1e-4, 1e-3, 1.0])
    cluster.simulation.run(*clients.values())
    return cluster, victims, clients, done


def check(cluster, victims, done):
    """What is left is whole, and nobody keeps anything for sessions of the dead."""
    living = [rank for rank in EVERYONE if rank not in victims]
    cluster.wait(living[0], 100.0)
    counting().check(cluster, done, living)
    for rank in living:
        assert not cluster.serving[rank].done
        assert all(client not in victims for client, _ in cluster.workers[rank].sessions)


@pytest.mark.random_cases(quick=40, soak=2000)
def test_what_is_left_is_whole_and_the_dead_task_is_named(case_seed):
    cluster, (victim,), clients, done = killed(case_seed, deaths=1)
    assert cluster.simulation.now < USUAL + 4 * PATIENCE
    name = re.escape(cluster.spec.name_of(victim))
    for rank, client in clients.items():
        if client.error is not None:
            assert victim in WRITERS
            assert isinstance(client.error, gx.errors.ClusterError)
            found = re.search(rf"(for|from) {name}(/cpu:0)? (to|within) ", str(client.error))
            assert found, client.error
        elif rank != victim:
            assert done[rank] == STEPS
    check(cluster, [victim], done)


@pytest.mark.random_cases(quick=40, soak=2000)
def test_what_is_left_is_whole_after_several_deaths(case_seed):
    cluster, victims, clients, done = killed(case_seed, deaths=2 + case_seed % 3)
    for client in clients.values():
        assert client.error is None or isinstance(client.error, gx.errors.ClusterError)
    check(cluster, victims, done)
