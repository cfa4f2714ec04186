"""Predictions: what formulas say where there are some, and what follows from the topology."""

import time

import numpy as np
import pytest

from graphc.compiler.collectives import Costs, direct, ring, scattered, tree
from graphc.compiler.collectives.cost import direct_seconds, ring_seconds, scattered_seconds
from graphc.ir.dtypes import float32
from graphc.runtime.drivers.cost import CostSimulation, Lockstep
from graphc.runtime.drivers.simulation import Stuck
from graphc.runtime.drivers.topology import Hosts, Uniform, Wire
from graphc.runtime.effects import Await, Hear, Post, Tell, Work
from graphc.runtime.messages import Leave
from graphc.runtime.operands import Sizes
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.transfers import Peer, Transfers

COSTS = Costs(latency=5e-6, message=1e-6, byte=1e-10, combine=1e-10)
WIRE = Wire(latency=5e-6, message=1e-6, bandwidth=1e10)
FAST = Wire(latency=1e-6, message=5e-7, bandwidth=4e10)


def role(plan):
    members = tuple(Peer(n, f"task {n}") for n in range(plan.members))
    planned = Planned(plan, members, float32, "sum", "gradients")
    return Reduction(planned, Sizes(4, COSTS.combine), Transfers(0, 0, 60.0)).run()


def simulated(make, members, topology, slowness=None):
    simulation = CostSimulation(topology, slowness)
    running = [simulation.spawn(m, role(make(m))) for m in range(members)]
    simulation.run(*running)
    assert all(r.error is None for r in running)
    return simulation


def in_lockstep(plan, topology, slowness=None):
    lockstep = Lockstep(topology, plan.members, slowness)
    lockstep.run(role(plan))
    return lockstep


@pytest.mark.parametrize(
    ("elements", "pieces"), [(64 * 100, 1), (64 * 20_000, 1), (64 * 20_000, 2)]
)
def test_a_ring_of_64_takes_what_the_formula_says(elements, pieces):
    wanted = ring_seconds(4 * elements, 64, COSTS, pieces)
    found = simulated(lambda m: ring(m, 64, elements, pieces), 64, Uniform(WIRE))
    assert found.now == pytest.approx(wanted, rel=0.03)
    assert found.bytes_sent == 2 * 63 * elements * 4


@pytest.mark.parametrize(
    ("make", "formula"), [(direct, direct_seconds), (scattered, scattered_seconds)]
)
@pytest.mark.parametrize("elements", [32 * 10, 32 * 10_000])
def test_all_to_all_takes_what_the_formula_says(make, formula, elements):
    found = simulated(lambda m: make(m, 32, elements), 32, Uniform(WIRE))
    assert found.now == pytest.approx(formula(4 * elements, 32, COSTS), rel=0.03)


@pytest.mark.parametrize(
    "make", [lambda m, n: ring(m, 12, n, 3), lambda m, n: scattered(m, 12, n)],
    ids=["ring", "scattered"],
)  # fmt: skip
@pytest.mark.parametrize(
    "topology", [Uniform(WIRE), Hosts(4, FAST, WIRE)], ids=["uniform", "hosts"]
)
def test_lockstep_tells_what_the_events_tell(make, topology):
    events = simulated(lambda m: make(m, 12 * 5000), 12, topology)
    lockstep = in_lockstep(make(0, 12 * 5000), topology)
    assert lockstep.now.max() == pytest.approx(events.now, rel=1e-6)
    assert lockstep.bytes_sent == events.bytes_sent


@pytest.mark.parametrize(
    "topology", [Uniform(WIRE), Hosts(4, FAST, WIRE)], ids=["uniform", "hosts"]
)
def test_a_straggler_holds_up_a_ring_by_as_much_in_lockstep(topology):
    slowness = {5: 10.0}
    events = simulated(lambda m: ring(m, 12, 12 * 5000, 3), 12, topology, slowness)
    lockstep = in_lockstep(ring(0, 12, 12 * 5000, 3), topology, slowness)
    assert lockstep.now.max() == pytest.approx(events.now, rel=1e-6)
    assert events.now > 1.5 * simulated(lambda m: ring(m, 12, 12 * 5000, 3), 12, topology).now


def test_a_ring_of_1024_is_predicted_in_seconds():
    elements = 25_000_000
    begin = time.process_time()
    found = in_lockstep(ring(0, 1024, elements), Uniform(WIRE))
    assert time.process_time() - begin < 10
    assert found.messages == 1024 * 2 * 1023
    assert found.now.max() == pytest.approx(ring_seconds(4 * elements, 1024, COSTS), rel=0.01)


def test_hosts_share_their_links():
    """Four tasks send to another host at once: the last one's message waits for three."""

    def send(rank):
        ticket = yield Post(rank + 4, 0, 10**6, sends=True)
        yield Await(ticket)

    def receive(rank):
        ticket = yield Post(rank - 4, 0, 10**6, sends=False)
        yield Await(ticket)

    simulation = CostSimulation(Hosts(4, FAST, WIRE))
    running = [simulation.spawn(r, send(r) if r < 4 else receive(r)) for r in range(8)]
    simulation.run(*running)
    assert simulation.now == pytest.approx(4 * WIRE.busy(10**6) + WIRE.latency)


def test_fixed_trees_cost_what_they_send():
    bounds = [0, 3, 6, 9, 12]
    plans = [tree(m, bounds, 4000) for m in range(4)]
    found = simulated(lambda m: plans[m], 4, Uniform(WIRE))
    assert found.bytes_sent == 4 * sum(plan.elements_sent for plan in plans)


def test_a_slow_task_computes_slowly_and_control_messages_take_their_time():
    def tells():
        yield Work(lambda: None, 1.0)
        yield Tell(1, 0, Leave())

    def hears():
        return (yield Hear(0))

    simulation = CostSimulation(Uniform(WIRE), {0: 3.0})
    heard = simulation.spawn(1, hears())
    simulation.spawn(0, tells())
    simulation.run(heard)
    assert heard.result == (0, Leave())
    assert 3.0 < simulation.now < 3.0001


def test_lockstep_says_when_all_wait_for_nothing():
    def waits():
        yield Await((yield Post(1, 0, 8, sends=True)))

    with pytest.raises(Stuck, match="no other task has begun"):
        Lockstep(Uniform(WIRE), 2).run(waits())


def test_lockstep_keeps_a_clock_for_each():
    def works():
        yield Work(lambda: None, 2.0)

    lockstep = Lockstep(Uniform(WIRE), 3, {1: 2.0})
    lockstep.run(works())
    np.testing.assert_array_equal(lockstep.now, [2.0, 4.0, 2.0])
