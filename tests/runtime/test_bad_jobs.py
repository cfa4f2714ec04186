"""What is wrong with a job: one clear error, soon, an exit code, and nothing that is left."""

import os

import pytest

from tests.runtime.jobs import Job

TWO = {"worker": 2}
BEGIN = """
import graphc as gx
cluster = gx.train.ClusterSpec.from_environment()
"""
SERVE = BEGIN + "server = gx.train.Server(cluster, timeout=20)\n"
pytestmark = [pytest.mark.mpi, pytest.mark.timeout(180)]


def ended(folder, script, jobs=TWO, limit=60):
    mpiexec = os.environ.get("GRAPHC_TEST_MPIEXEC")
    job = Job(folder, jobs, script, mpiexec=mpiexec)
    try:
        return job.end(limit)
    finally:
        job.kill_all()


WRONG = {
    "fewer ranks than tasks": (
        BEGIN + "gx.train.Server(gx.train.ClusterSpec({'worker': 3}))",
        "the cluster has 3 tasks, but 2 processes were started",
    ),
    "more ranks than tasks": (
        BEGIN + "gx.train.Server(gx.train.ClusterSpec({'worker': 1}))",
        "the cluster has 1 tasks, but 2 processes were started",
    ),
    "clusters that differ": (
        BEGIN + "gx.train.Server(gx.train.ClusterSpec([{'worker': 2}, {'ps': 1, 'w': 1}][rank]))",
        "but those of ranks 1 differ from that of rank 0",
    ),
    "another cluster than was launched": (
        "os.environ['GRAPHC_CLUSTER'] = '{\"worker\": 3}'" + SERVE,
        "but MPI started 2 ranks",
    ),
    "another task": (
        BEGIN + "gx.train.Server(cluster, 'worker', 1 - rank)",
        "this process is /job:worker/task:",
    ),
    "a device that no task has": (
        SERVE
        + """
with gx.device("/job:worker/task:5"):
    x = gx.constant(1.0)
gx.Session(server.target).run(x)
""",
        "/job:worker/task:5",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_rank_is_told(tmp_path, what):
    script, message = WRONG[what]
    # The ranks wait for each other before they end, so that each has the time to tell.
    hook = """
def told(kind, error, trace):
    sys.__excepthook__(kind, error, trace)
    sys.stderr.flush()
    (pathlib.Path(__file__).parent / f"told-{rank}").touch()
    while len(list(pathlib.Path(__file__).parent.glob("told-*"))) < 2: time.sleep(0.01)
import pathlib
sys.excepthook = told
"""
    end = ended(tmp_path, hook + script)
    assert end.code == 1
    for task in ("worker:0", "worker:1"):
        lines = [line for line in end.err.splitlines() if line.startswith(f"{task}| ")]
        assert sum(message in line for line in lines) == 1, end.err
    assert end.seconds < 40


LEAVING = (
    SERVE
    + """
with gx.device("/job:ps/task:0"):
    total = gx.get_variable("total", [], initializer=gx.zeros_initializer())
add = total.assign_add(1.0)
if server.job_name == "ps":
    server.join()
    sys.exit()
session = gx.Session(server.target)
for step in range(50):
    session.run(add)
    if step == 20 and rank == 2: sys.exit(CODE)
print("done", flush=True)
"""
)
PS_AND_TWO = {"ps": 1, "worker": 2}


def test_others_go_on_when_a_client_leaves(tmp_path):
    end = ended(tmp_path, LEAVING.replace("CODE", "0"), PS_AND_TWO)
    assert (end.code, end.out, end.err) == (0, "worker:0| done\n", "")


def test_the_job_ends_when_a_client_fails(tmp_path):
    script = LEAVING.replace("CODE", "6").replace("range(50)", "__import__('itertools').count()")
    end = ended(tmp_path, script, PS_AND_TWO)
    assert end.code == 6
    assert "graphc: worker:1 (rank 2) ended with exit code 6; the job was stopped" in end.err
