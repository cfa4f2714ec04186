"""Jobs of four ranks that are started, stopped and killed many times over."""

import os
import random
import signal
import time

import pytest

from tests.runtime.jobs import MARK, Job

TASKS = {"ps": 1, "worker": 3}
SERVE = """
import graphc as gx
server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=30)
with gx.device("/job:ps/task:0"):
    total = gx.get_variable("total", [], initializer=gx.zeros_initializer())
add = total.assign_add(1.0)
"""
ONE_STEP = (
    SERVE
    + """
if server.job_name == "worker":
    with gx.Session(server.target) as session: session.run(add)
server.join()
"""
)
FOR_EVER = (
    SERVE
    + MARK
    + """
if server.job_name == "worker":
    with gx.Session(server.target) as session:
        while True: session.run(add)
server.join()
"""
)
NAMES = ["ps:0", "worker:0", "worker:1", "worker:2"]
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(180)]


@pytest.fixture
def job(tmp_path):
    jobs = []

    def start(script):
        mpiexec = os.environ.get("GRAPHC_TEST_MPIEXEC")
        jobs.append(Job(tmp_path, TASKS, script, mpiexec=mpiexec))
        return jobs[-1]

    yield start
    for one in jobs:
        one.kill_all()
        one.process.communicate()


@pytest.mark.random_cases(quick=1, soak=200)
def test_a_job_starts_and_stops(job, case_seed):
    ended = job(ONE_STEP).end(90)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.random_cases(quick=2, soak=50)
def test_a_rank_is_killed_at_a_moment_of_its_own(job, case_seed):
    moment = random.Random(case_seed)
    started = job(FOR_EVER)
    ranks = started.await_ranks(4)
    time.sleep(moment.uniform(0, 1))
    victim = moment.randrange(4)
    os.kill(ranks[victim], signal.SIGKILL)
    begin = time.monotonic()
    ended = started.end(30)
    assert time.monotonic() - begin < 5
    assert ended.code == 137, ended.err
    told = f"graphc: {NAMES[victim]} (rank {victim}) was killed by signal 9 (SIGKILL)"
    assert f"{told}; the job was stopped" in ended.err.splitlines()
