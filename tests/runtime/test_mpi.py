"""The same roles in processes of their own: real ranks, sends that end when they are received."""

import os
import subprocess
from pathlib import Path

import pytest

from graphc.runtime import launch
from graphc.runtime.cluster_spec import ClusterSpec
from tests.runtime.replicated import expect_training

PROGRAMS = Path(__file__).parent / "programs"
SPEC = {"ps": ["localhost"], "worker": ["localhost", "localhost"]}
pytestmark = pytest.mark.mpi


def mpiexec(program, spec, seconds=90, **environment):
    """What the ranks of a job print, in no order; the job has to end well, and in time."""
    found = launch.plan(
        ClusterSpec(spec), PROGRAMS / program, mpiexec=os.environ.get("GRAPHC_TEST_MPIEXEC")
    )
    given = {
        "GRAPHC_NUM_THREADS": "1",
        "GRAPHC_SYNCHRONOUS_SENDS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        found.command, env=os.environ | found.environment | given | environment,
        capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("synchronous", ["0", "1"])
def test_replicas_train_as_one_and_survive_bad_data(synchronous):
    expect_training(mpiexec("in_graph.py", SPEC, GRAPHC_SYNCHRONOUS_SENDS=synchronous))


def test_every_update_of_every_client_is_applied_once():
    assert mpiexec("counters.py", SPEC).strip() == "counter 400.0"


def test_clients_whose_variables_disagree_are_refused():
    assert mpiexec("disagreeing.py", SPEC).strip() == "refused True True"


def test_messages_of_any_length_keep_their_order():
    assert mpiexec("control.py", SPEC).split("\n") == ["heard all"] * 3 + [""]


def test_a_step_does_not_wait_for_what_is_compiled_for_another_client():
    assert mpiexec("compiling.py", SPEC).strip() == "steps meanwhile True"
