"""Plans of clusters: those that are made end, and those that would not are refused."""

import re

import numpy as np
import pytest

import graphc as gx
from graphc.backends.loops.instructions import instructions_of
from graphc.compiler import CompileOptions, compile_part
from graphc.runtime import engine, master
from graphc.runtime.checker import check_plan
from graphc.runtime.compiled import target_here
from graphc.runtime.in_flight import check_memory
from graphc.runtime.order import strands_of
from graphc.runtime.planning import make_plan
from tests.passes.random_programs import random_program
from tests.runtime.circles import greedy, ring, spec_of
from tests.runtime.cluster import SimulatedCluster
from tests.runtime.test_mpi import mpiexec
from tests.runtime.test_random_placement import CHIEF, cluster_for

WAITED_FOR = r"(did not come from|was not taken by|waited [0-9.]+ s for) /job:worker/task:\d"


def strands_for(plan):
    """What the tasks of a plan would find and answer, without their machine code."""
    found = {}
    for rank, part in plan.parts.items():
        target = target_here("host")
        program = compile_part(part.graph, target, apart=bool(part.once), fetched=part.fetched)
        instructions = instructions_of(program)
        check_memory(program, instructions)
        found[rank] = strands_of(instructions, part.routes)
    return found


@pytest.mark.random_cases(quick=50, soak=1000)
def test_plans_that_are_made_raise_no_alarm(case_seed):
    cluster, place = cluster_for(case_seed)
    program = random_program(case_seed, size=30, place=place)
    signature = tuple(program.fetches), tuple(program.targets), tuple(program.feeds)
    try:
        plan = make_plan(signature, cluster.spec, CHIEF, target_here("host"), CompileOptions())
    except gx.StateError:
        return
    check_plan(plan, cluster.spec, strands_for(plan))


def script_of(fed, sums):
    def script(session):
        return (yield from session.run(sums, feeds={fed: [1.0, 1.0]}))

    return script


@pytest.mark.random_cases(quick=8, soak=100)
def test_circles_are_refused_and_would_hang(case_seed, monkeypatch):
    tasks = 2 + case_seed % 7
    fed, sums, wanted = ring(case_seed, tasks)

    def run():
        cluster = SimulatedCluster(spec_of(tasks), case_seed)
        (values,) = cluster.run(cluster.client(0, script_of(fed, sums)))
        return values

    np.testing.assert_allclose(np.concatenate(run()), wanted, rtol=1e-6)
    monkeypatch.setattr(engine, "instructions_of", greedy)
    with pytest.raises(gx.PlanError, match="wait in a circle") as refused:
        run()
    waits = re.findall(
        r"^  /job:worker/task:(\d) waits for /job:worker/task:(\d) to (?:send|receive) \S+ "
        r"\(\w+, .*circles\.py:\d+\)$",
        str(refused.value), re.MULTILINE,
    )  # fmt: skip
    assert len(waits) == str(refused.value).count("\n")
    assert [on for _, on in waits] == [who for who, _ in [*waits[1:], waits[0]]]
    monkeypatch.setattr(master, "check_plan", lambda *_: None)
    with pytest.raises(gx.ClusterError, match=WAITED_FOR):
        run()


@pytest.mark.mpi
@pytest.mark.random_cases(quick=2, soak=12)
def test_circles_hang_under_mpi(case_seed):
    tasks = 2 + case_seed % 4
    lines = mpiexec("circle.py", spec_of(tasks), SEED=str(case_seed)).splitlines()
    assert re.fullmatch(r"refused [2-5]", lines[0])
    assert re.match(rf"stuck .*{WAITED_FOR}", lines[1])
