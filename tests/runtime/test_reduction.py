"""Reductions on a simulated cluster: right, counted, and without a trace when aborted."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest

from graphc.compiler.collectives import direct, library, ring, scattered, shared, tree
from graphc.ir.dtypes import DTYPES, as_dtype, int64
from graphc.ir.errors import ClusterError
from graphc.runtime.drivers.gathering import Mixed
from graphc.runtime.drivers.network import Network
from graphc.runtime.drivers.simulation import Simulation
from graphc.runtime.effects import Stop
from graphc.runtime.operands import Arrays
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.timeline import Recorder
from graphc.runtime.trace import merge
from graphc.runtime.transfers import Peer, Transfers

PATIENCE = 60.0
NAMES = [f"/job:worker/task:{n}" for n in range(12)]
KINDS = ("ring", "direct", "scattered", "tree", "mpi", "shared")
COMBINERS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def case(seed):
    """A cluster's size, the plans of its members and the bounds of their shards, at random."""
    rng = random.Random(seed)
    members, elements = rng.randint(1, 9), rng.choice([0, 1, 5, 40, 333])
    kind = KINDS[seed % len(KINDS)]
    count = members + rng.randint(0, 8) if kind == "tree" else members
    bounds = [0, *sorted(rng.sample(range(1, count), members - 1)), count]
    pieces = rng.randint(1, 4)
    make = {
        "ring": lambda m: ring(m, members, elements, pieces),
        "direct": lambda m: direct(m, members, elements),
        "scattered": lambda m: scattered(m, members, elements),
        "mpi": lambda m: library(m, members, elements),
        "shared": lambda m: shared(m, members, elements),
        "tree": lambda m: tree(m, bounds, elements),
    }[kind]
    return rng, [make(m) for m in range(members)], bounds


def operands(seed, bounds, elements, dtype=np.int64):
    values = np.random.default_rng(seed).integers(-9, 9, (bounds[-1], elements)).astype(dtype)
    return values, [list(values[a:b].copy()) for a, b in pairwise(bounds)]


class Member:
    """A reduction and the transfers of its step."""

    def __init__(self, plan, rows, ranks, tag, combiner, seconds):
        peers = tuple(Peer(rank, name) for rank, name in zip(ranks, NAMES, strict=False))
        dtype = as_dtype(rows[0].dtype)
        self.planned = Planned(plan, peers, dtype, combiner, "gradients", first=3, group=0)
        self.transfers = Transfers(0, tag, seconds)
        self.run = Reduction(self.planned, Arrays(rows, combiner), self.transfers).run

    @property
    def sent(self):
        return self.transfers.sent

    def drain(self, sent):
        planned = self.planned
        return self.transfers.drain(sent, planned.expected(), planned.collectives())


def reductions(plans, rows, ranks, tag, combiner="sum", seconds=PATIENCE):
    return [Member(p, rows[m], ranks, tag, combiner, seconds) for m, p in enumerate(plans)]


def left_over(simulation):
    """What is under way on any channel."""
    channels = [*simulation._arrived.values(), *simulation._expected.values()]
    return [ticket for channel in channels for ticket in channel] + simulation._gathering.left


def finish(simulation, running):
    simulation.run(*running)
    for role in running:
        if role.error is not None:
            raise role.error


@pytest.mark.random_cases(quick=80, soak=3000)
def test_reduces_and_sends_what_the_formula_says(case_seed):
    rng, plans, bounds = case(case_seed)
    values, rows = operands(case_seed, bounds, plans[0].elements)
    ranks = rng.sample(range(12), len(plans))
    simulation = Simulation(case_seed, Network(synchronous=rng.random() < 0.5))
    roles = reductions(plans, rows, ranks, 100)
    finish(simulation, [simulation.spawn(ranks[m], role.run()) for m, role in enumerate(roles)])
    for row in rows:
        np.testing.assert_array_equal(row[0], values.sum(0))
    assert simulation.bytes_sent == 8 * sum(plan.elements_sent for plan in plans)
    assert not left_over(simulation)


@pytest.mark.random_cases(quick=80, soak=3000)
def test_an_aborted_reduction_leaves_no_message(case_seed):
    rng, plans, bounds = case(case_seed)
    elements = plans[0].elements
    ranks = list(range(len(plans)))
    network = Network(synchronous=rng.random() < 0.5, slowness={0: 3.0})
    simulation = Simulation(case_seed, network)
    _, rows = operands(case_seed, bounds, elements)
    aborted = reductions(plans, rows, ranks, 0)
    running = [simulation.spawn(m, role.run()) for m, role in enumerate(aborted)]
    # some members never began, as in a step that was told late
    for role in rng.sample(running, rng.randint(0, len(plans) - 1)):
        role.done = True
    interrupt(simulation, rng.randint(0, 40 * len(plans)))

    sent = set()
    for role, handle in zip(aborted, running, strict=True):
        finish(simulation, [simulation.spawn(0, stop(handle))])
        sent.update(role.sent)
    finish(simulation, [simulation.spawn(m, r.drain(sent)) for m, r in enumerate(aborted)])
    assert not left_over(simulation)

    values, rows = operands(case_seed + 1, bounds, elements)
    again = reductions(plans, rows, ranks, plans[0].messages)
    finish(simulation, [simulation.spawn(m, role.run()) for m, role in enumerate(again)])
    for row in rows:
        np.testing.assert_array_equal(row[0], values.sum(0))
    assert not left_over(simulation)


def stop(handle):
    yield Stop(handle)


def interrupt(simulation, events):
    """Go on for so many events, if there are as many."""
    for _ in range(events):
        if simulation._events:
            simulation.step()


def test_many_at_once_do_not_mix():
    simulation, running, wanted = Simulation(3), [], []
    tag = 0
    for seed, members in enumerate((3, 3, 3, 3)):
        plans = [ring(m, members, 50, 2) for m in range(members)]
        values, rows = operands(seed, range(members + 1), 50)
        roles = reductions(plans, rows, range(members), tag)
        tag += plans[0].messages
        running += [simulation.spawn(m, role.run()) for m, role in enumerate(roles)]
        wanted.append((values.sum(0), rows))
    finish(simulation, running)
    for total, rows in wanted:
        assert all(np.array_equal(row[0], total) for row in rows)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if not d.is_bool], ids=lambda d: d.name)
@pytest.mark.parametrize("combiner", COMBINERS)
def test_combiners_round_each_time(combiner, dtype):
    rows = np.random.default_rng(0).uniform(1, 100, (3, 20)).astype(dtype.numpy)
    wanted = rows[0].copy()
    with np.errstate(over="ignore"):
        for row in rows[1:]:
            wanted = COMBINERS[combiner](wanted, row).astype(dtype.numpy)
    given = [[row.copy()] for row in rows]
    simulate([direct(m, 3, 20) for m in range(3)], given, combiner)
    for (row,) in given:
        assert row.tobytes() == wanted.tobytes()


def test_bools():
    rows = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], bool)
    for combiner, wanted in (("any", rows.any(0)), ("all", rows.all(0))):
        given = [[row.copy()] for row in rows]
        simulate([ring(m, 2, 4) for m in range(2)], given, combiner)
        np.testing.assert_array_equal(given[1][0], wanted)


def simulate(plans, rows, combiner):
    simulation = Simulation(0)
    roles = reductions(plans, rows, range(len(plans)), 0, combiner)
    finish(simulation, [simulation.spawn(m, role.run()) for m, role in enumerate(roles)])


@pytest.mark.parametrize("shards", [1, 2, 7, 12])
def test_tree_gives_the_same_bits_for_any_number_of_members(shards, rng):
    values = rng.standard_normal((shards, 57)).astype(np.float32)
    found = set()
    for members in range(1, shards + 1):
        cuts = sorted(rng.choice(np.arange(1, shards), members - 1, replace=False).tolist())
        bounds = [0, *cuts, shards]
        rows = [list(values[a:b].copy()) for a, b in pairwise(bounds)]
        plans = [tree(m, bounds, 57) for m in range(members)]
        simulate(plans, rows, "sum")
        found.update(row[0].tobytes() for row in rows)
    assert len(found) == 1


def test_members_that_reduce_different_things_are_found_out():
    plans = [library(m, 2, 5) for m in range(2)]
    rows = operands(0, range(3), 5)[1]
    one, other = (reductions(plans, rows, range(2), 0, combiner)[m]
                  for m, combiner in enumerate(("sum", "max")))  # fmt: skip
    simulation = Simulation(0)
    running = [simulation.spawn(m, role.run()) for m, role in enumerate((one, other))]
    with pytest.raises(Mixed, match=r"'sum'.*'max'"):
        simulation.run(*running)


def test_a_timeline_shows_reductions_by_mpi(tmp_path):
    path = tmp_path / "timeline.json"
    recorders = {0: Recorder(path, 0, "first")}
    simulation = Simulation(0, recorders=recorders)
    roles = reductions([library(m, 2, 5) for m in range(2)], operands(0, range(3), 5)[1],
                       range(2), 0)  # fmt: skip
    finish(simulation, [simulation.spawn(m, role.run()) for m, role in enumerate(roles)])
    recorders[0].close()
    merge(path, ["first", "second"])
    slices = [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X"]
    assert sorted((e["cat"], e["name"]) for e in slices) == [
        ("reduce", "gradients"), ("wait", "gradients"),
    ]  # fmt: skip


def test_all_who_may_be_missing_from_a_reduction_by_mpi_are_named():
    (role, *_) = reductions(
        [library(m, 3, 9) for m in range(3)], operands(0, range(4), 9)[1], range(3), 0, seconds=5.0
    )
    simulation = Simulation(0)
    running = simulation.spawn(0, role.run())
    names = ", ".join(NAMES[:3])
    with pytest.raises(
        ClusterError, match=f"^step 0: gradients was not combined over {names} within 5 s$"
    ):
        finish(simulation, [running])


def test_who_is_late_is_named():
    (role, *_) = reductions(
        [ring(m, 3, 9) for m in range(3)], operands(0, range(4), 9)[1], range(3), 0, seconds=5.0
    )
    simulation = Simulation(0)
    running = simulation.spawn(0, role.run())
    with pytest.raises(
        ClusterError,
        match=r"^step 0: a part of gradients did not come from /job:worker/task:2 within 5 s$",
    ):
        finish(simulation, [running])


@pytest.mark.parametrize(
    ("rows", "combiner", "text"),
    [
        ([np.zeros(4)[::2]], "sum", "contiguous"),
        ([np.zeros(4), np.zeros(3)], "sum", "alike"),
        ([np.zeros(4), np.zeros(4, np.float32)], "sum", "alike"),
        ([np.zeros(4)], "mean", "no reduction 'mean' of float64"),
        ([np.zeros(4)], "any", "no reduction 'any' of float64"),
        ([np.zeros(4, bool)], "sum", "no reduction 'sum' of bool"),
        ([np.zeros(4)], "sum", "for 1 rows of 5 elements, not for 1 of 4"),
    ],
)
def test_what_does_not_fit_is_refused(rows, combiner, text):
    with pytest.raises(ValueError, match=text):
        reductions([direct(0, 1, 5)], [rows], [0], 0, combiner)


def test_names_for_all_members():
    with pytest.raises(ValueError, match="are not 2 tasks"):
        Planned(direct(0, 2, 1), (Peer(0, "x"),), int64, "sum", "x")
