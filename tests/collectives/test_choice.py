"""Which plan is chosen, and that it is the one that a simulated cluster carries out fastest."""

import pytest

from graphc.compiler.collectives import (
    ONE_HOST,
    Choice,
    Costs,
    choose,
    direct,
    library,
    ring,
    scattered,
    shared,
)
from graphc.compiler.collectives.cost import Library, Shared, library_seconds, shared_seconds
from graphc.ir.dtypes import float32
from graphc.runtime.drivers.cost import CostSimulation
from graphc.runtime.drivers.topology import Hosts, Uniform, Wire
from graphc.runtime.operands import Sizes
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.transfers import Peer, Transfers

WIRE = Wire(latency=5e-6, message=1e-6, bandwidth=1e10)
COSTS = Costs(latency=5e-6, message=1e-6, byte=1e-10, combine=5e-11)


def simulated(make, members, elements, topology):
    """Seconds until the last member has ended."""
    simulation = CostSimulation(topology)
    running = []
    for member in range(members):
        everyone = tuple(Peer(n, f"task {n}") for n in range(members))
        planned = Planned(make(member), everyone, float32, "sum", "x")
        role = Reduction(planned, Sizes(4, COSTS.combine), Transfers(0, 0, 60.0)).run()
        running.append(simulation.spawn(member, role))
    simulation.run(*running)
    assert all(role.error is None for role in running)
    return simulation.now


def candidates(members, elements):
    return {
        "direct": lambda m: direct(m, members, elements),
        "scattered": lambda m: scattered(m, members, elements),
        "ring": lambda m: ring(m, members, elements),
        "ring in pieces": lambda m: ring(m, members, elements, 4),
    }


@pytest.mark.parametrize("members", [2, 8, 16])
@pytest.mark.parametrize("elements", [16, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("sharers", [1, 4])
def test_the_cheapest_by_formula_is_nearly_the_fastest(members, elements, sharers):
    topology = Uniform(WIRE) if sharers == 1 else Hosts(sharers, WIRE, WIRE)
    costs = Costs(COSTS.latency, COSTS.message, COSTS.byte, COSTS.combine, sharers)
    if members <= sharers:
        pytest.skip("one host")
    choice = choose(elements, 4, members, costs)
    times = {
        name: simulated(make, members, elements, topology)
        for name, make in candidates(members, elements).items()
    }
    chosen = simulated(choice.plan, members, elements, topology)
    assert chosen <= 1.1 * min(times.values()), (choice, times)


def test_small_large_and_shared():
    assert choose(1, 4, 4).algorithm == "direct"
    assert choose(10**5, 4, 4).algorithm == "scattered"
    assert choose(10**7, 4, 4).algorithm == "ring"
    own, shared = (Costs(5e-6, 1e-6, 1e-10, 5e-11, sharers) for sharers in (1, 4))
    assert choose(10**6, 4, 16, own).algorithm == "scattered"
    assert choose(10**6, 4, 16, shared).algorithm == "ring"


@pytest.mark.parametrize("members", [2, 3, 4])
def test_mpi_itself_reduces_what_is_small(members):
    found = [choose(elements, 4, members, own=True).algorithm for elements in (1, 2000, 10**6)]
    assert found[:2] == ["mpi", "mpi"]
    assert found[2] != "mpi"
    assert choose(1, 4, members).algorithm == "direct"
    assert choose(1, 4, members, COSTS, own=True).algorithm == "direct"  # who knows what it takes
    assert choose(5, 4, members, own=True).plan(1) == library(1, members, 5)


def test_what_mpi_itself_takes():
    own = Library(call=1.0, round=10.0, byte=100.0)
    assert library_seconds(7, 1, own) == 0
    assert library_seconds(2, 2, own) == 1 + 10 + 200
    assert library_seconds(5, 5, own) == 1 + 30 + 800


@pytest.mark.parametrize("members", [2, 3, 16])
def test_what_is_on_one_host_is_combined_over_memory(members):
    for elements in (1, 2000, 10**6, 10**8):
        found = choose(elements, 4, members, own=True, shares=True)
        assert found.algorithm == "shared"
        assert found.plan(1) == shared(1, members, elements)
    assert choose(5, 4, members, COSTS, shares=True).algorithm != "shared"


def test_what_shared_memory_takes():
    costs = Shared(call=1.0, member=10.0, byte=100.0)
    assert shared_seconds(7, 1, costs) == 0
    assert shared_seconds(2, 2, costs) == 1 + 10 + 200
    assert shared_seconds(5, 5, costs) == 1 + 40 + 800


def test_a_choice_makes_its_plans():
    assert Choice("ring", 3, 10, 0.0, 2).plan(1) == ring(1, 3, 10, 2)
    assert Choice("direct", 3, 10, 0.0).plan(1) == direct(1, 3, 10)
    assert Choice("scattered", 3, 10, 0.0).plan(1) == scattered(1, 3, 10)


@pytest.mark.parametrize("elements", [0, 1, 100])
def test_one_member_needs_no_message(elements):
    choice = choose(elements, 4, 1)
    assert choice.seconds == 0
    assert choice.plan(0).moves == ()


def test_numbers_are_checked():
    with pytest.raises(ValueError, match="0 members"):
        choose(1, 4, 0)
    assert choose(10, 4, 2, ONE_HOST).seconds > 0
