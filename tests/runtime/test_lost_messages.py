"""Control messages get lost, or come in any order: that ends in an error or does no harm."""

import random
from collections import Counter

import pytest

import graphc as gx
from graphc.compiler import CompileOptions
from graphc.runtime import messages
from graphc.runtime.drivers.network import Network
from graphc.runtime.effects import WORKER_BOX, Tell
from tests.runtime.counting import CLIENTS, EVERYONE, HELPER, PS, STEPS, counting

PATIENCE = 5.0


@pytest.mark.random_cases(quick=20, soak=1000)
def test_a_lost_message_ends_in_an_error_or_does_no_harm(case_seed):
    rng = random.Random(case_seed)
    network = Network(synchronous=bool(rng.randrange(2)), drop=rng.choice([0.003, 0.01, 0.05]))
    model, done = counting(), Counter()
    cluster = model.cluster(case_seed, network, PATIENCE)
    clients = {rank: cluster.client(rank, model.script(rank, done)) for rank in CLIENTS}
    cluster.simulation.run(*clients.values())
    for rank, client in clients.items():
        if client.error is None:
            assert done[rank] == STEPS
        else:
            assert isinstance(client.error, gx.errors.ClusterError)
            assert "waited 5 s for /job:" in str(client.error) or "within 5 s" in str(client.error)
    assert cluster.simulation.now < 10 * PATIENCE
    cluster.wait(0, 40 * PATIENCE)
    model.check(cluster, done, EVERYONE)
    assert not any(serving.done for serving in cluster.serving)


def any_message(rng, register):
    """One that a worker can be told, in no order, of two sessions of which it knows one or none."""
    session, program, step = rng.randrange(1, 3), rng.randrange(2), rng.randrange(3)
    numbers = tuple(rng.sample(range(6), rng.randrange(4)))
    return rng.choice([
        register(session, program),
        messages.Run(session, program, step, rng.randrange(50), (2,)),
        messages.Run(session, program, step, rng.randrange(50), ()),
        messages.Commit(session, step),
        messages.Abort(session, program, step, rng.randrange(50), (2,)),
        messages.Drain(session, step, numbers),
        messages.Inquire(rng.choice(EVERYONE), session, step),
        messages.Standing(rng.choice(EVERYONE), session, step, rng.randrange(4)),
        messages.Close(session),
    ])  # fmt: skip


@pytest.mark.random_cases(quick=20, soak=1000)
def test_a_worker_survives_any_order_of_messages(case_seed):
    rng = random.Random(case_seed)
    model = counting()
    cluster = model.cluster(case_seed, Network(), PATIENCE)
    fetches, targets = model.steps[CLIENTS[0]]
    signature = tuple(fetches), tuple(targets), (model.x,)
    engine = cluster.engines[CLIENTS[0]]
    plan = model.prepared.plan(signature, cluster.spec, CLIENTS[0], engine.target, CompileOptions())

    def noise():
        for _ in range(40):
            rank = rng.choice([*PS, HELPER])
            yield Tell(rank, WORKER_BOX, any_message(rng, plan.parts[rank].message))

    cluster.simulation.run(*(cluster.simulation.spawn(rank, noise()) for rank in CLIENTS))
    cluster.wait(0, 10 * PATIENCE)
    assert not any(serving.done for serving in cluster.serving)
