"""Timelines of real jobs: all ranks on one clock, whatever becomes of them."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.runtime.jobs import MARK, Job
from tests.runtime.test_mpi import SPEC, mpiexec
from tests.runtime.traces import check, slices, transfers

PROGRAM = (Path(__file__).parent / "programs" / "in_graph.py").read_text()
SERVE = """
import graphc as gx
server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=30)
"""
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(120)]


@pytest.fixture
def job(tmp_path):
    jobs = []

    def start(script, **options):
        path = tmp_path / "trace.json"
        jobs.append(Job(tmp_path, SPEC, script, options=["--timeline", str(path)], **options))
        return jobs[-1], path

    yield start
    for one in jobs:
        one.kill_all()
        one.process.communicate()


def expect_a_whole_trace(path):
    trace = json.loads(path.read_text())
    check(trace)
    assert trace["otherData"]["missing"] == []
    bound = 2 * trace["otherData"]["clock_bound_us"]
    assert bound < 1e5
    found = transfers(trace)
    assert len(found) > 300
    for send, receive in found:
        assert send["name"] == receive["name"]
        assert send["args"]["bytes"] == receive["args"]["bytes"]
        assert receive["ts"] + receive["dur"] >= send["ts"] - bound
    for rank, name in ((1, "matmul"), (2, "matmul_1")):
        steps = {e["args"]["step"] for e in slices(trace) if (e["pid"], e["name"]) == (rank, name)}
        assert len(steps) >= 40
    written = [e for e in slices(trace, "compute") if e["name"].startswith("commit Gradient")]
    assert {e["pid"] for e in written} == {0}
    assert slices(trace, "wait")


def test_a_launched_job(job):
    started, path = job(PROGRAM, preamble=False)
    ended = started.end()
    assert (ended.code, ended.err) == (0, "")
    expect_a_whole_trace(path)
    assert not list(path.parent.glob("*.part"))


def test_a_job_of_mpiexec_alone(tmp_path):
    path = tmp_path / "trace.json"
    mpiexec("in_graph.py", SPEC, GRAPHC_TIMELINE=str(path))
    expect_a_whole_trace(path)
    assert list(tmp_path.iterdir()) == [path]


TRAIN = """
with gx.device("/job:ps/task:0"):
    step = gx.Variable(0.0).assign_add(1.0)
if server.is_chief:
    with gx.Session(server.target) as session:
        for _ in range(50):
            session.run(step)
time.sleep(0.1)
"""
FAIL = """
while rank == 2 and not mark.with_name("mark-1").exists():
    time.sleep(0.01)
if rank == 2:
    raise ValueError
time.sleep(60)
"""
WAIT = "time.sleep(60)"


@pytest.mark.parametrize("way", ["exception", "kill"])
def test_a_job_that_fails(job, way):
    """What was recorded is there; a rank that was killed has not compared its clock again."""
    started, path = job(SERVE + TRAIN + MARK + (FAIL if way == "exception" else WAIT))
    if way == "kill":
        ranks = started.await_ranks(3)
        os.kill(ranks[2], signal.SIGKILL)
    ended = started.end()
    assert ended.code == (1 if way == "exception" else 137)
    trace = json.loads(path.read_text())
    check(trace)
    assert len(slices(trace, "send")) > 40
    assert trace["otherData"]["missing"] == []
    assert not list(path.parent.glob("*.part"))


def test_without_a_server_there_is_none(job):
    started, path = job("")
    ended = started.end()
    assert ended.code == 0
    assert "there is no timeline" in ended.err
    assert not path.exists()


def test_a_wrong_path_is_refused_before_the_start(tmp_path):
    wrong = tmp_path / "no" / "trace.json"
    ended = Job(tmp_path, SPEC, "print('started')", options=["--timeline", str(wrong)]).end()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"graphc: the timeline cannot be written to {wrong}")
