"""Random programs on random devices of a simulated cluster: the bits of one process."""

import random

import numpy as np
import pytest

import graphc as gx
from tests.passes.random_programs import random_program
from tests.passes.running import assert_same_bits
from tests.runtime.cluster import SimulatedCluster

SPEC = {"ps": ["a", "b"], "worker": ["c", "d"]}
CHIEF = 2
STEPS = 3


def in_one_process(program):
    """What each step fetches, and the variables at the end; None for a program that is refused."""
    with program.graph.as_default(), gx.Session() as session:
        run = session.make_callable([program.fetches, program.targets], list(program.feeds))
        steps = [run(*program.feeds.values())[0] for _ in range(STEPS)]
        return steps, session.run([v.value() for v in gx.global_variables()])


def script_of(program):
    def script(session):
        steps = []
        for _ in range(STEPS):
            found = yield from session.run(program.fetches, program.targets, program.feeds)
            steps.append(found)
        with program.graph.as_default():
            variables = [v.value() for v in gx.global_variables()]
        return steps, (yield from session.run(variables))

    return script


def cluster_for(seed):
    """A cluster, and a device for each node: most alone, some with those before them."""
    cluster = SimulatedCluster(SPEC, seed)
    rng = random.Random(seed)
    devices = ["", *(cluster.spec.device_of(rank) for rank in range(cluster.spec.size))]
    last = [""]

    def place(op):
        if rng.random() < 0.6:
            last[0] = rng.choice(devices)
        return last[0]

    return cluster, place


@pytest.mark.random_cases(quick=40, soak=2000)
def test_random_programs_on_random_devices(case_seed):
    cluster, place = cluster_for(case_seed)
    placed = random_program(case_seed, size=30, place=place)
    try:
        wanted, wanted_variables = in_one_process(random_program(case_seed, size=30))
    except gx.StateError:
        with pytest.raises(gx.StateError, match="no path orders the two"):
            cluster.run(cluster.client(CHIEF, script_of(placed)))
        return
    ((steps, variables),) = cluster.run(cluster.client(CHIEF, script_of(placed)))
    for found, expected in zip([*steps, variables], [*wanted, wanted_variables], strict=True):
        arrays = [list(map(np.asarray, values)) for values in (found, expected)]
        assert_same_bits((arrays[0], {}), (arrays[1], {}))
