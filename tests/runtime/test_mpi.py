"""The same roles in processes of their own: real ranks, sends that end when they are received."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.replicated import batch, in_numpy

PROGRAMS = Path(__file__).parent / "programs"
SPEC = {"ps": ["localhost"], "worker": ["localhost", "localhost"]}
pytestmark = pytest.mark.mpi


def mpiexec(program, spec, seconds=90, **environment):
    """What the ranks of a job print, in no order; the job has to end well, and in time."""
    size = sum(map(len, spec.values()))
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    command = [
        str(Path(sys.executable).with_name("mpiexec")), *root, "--oversubscribe", "--bind-to",
        "none", "-n", str(size), sys.executable, "-m", "mpi4py", str(PROGRAMS / program),
    ]  # fmt: skip
    given = {
        "GRAPHC_CLUSTER": json.dumps(spec),
        "GRAPHC_NUM_THREADS": "1",
        "GRAPHC_SYNCHRONOUS_SENDS": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        command, env=os.environ | given | environment, capture_output=True, text=True,
        timeout=seconds, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("synchronous", ["0", "1"])
def test_replicas_train_as_one_and_survive_bad_data(synchronous):
    lines = mpiexec("in_graph.py", SPEC, GRAPHC_SYNCHRONOUS_SENDS=synchronous).splitlines()
    assert lines[:3] == [
        "refused by /job:worker/task:0",
        "refused by /job:worker/task:1",
        "unchanged True",
    ]
    wanted, _ = in_numpy(*batch(np.random.default_rng(0)), 40)
    np.testing.assert_allclose([float(v) for v in lines[3].split()[1:]], wanted, rtol=1e-4)


def test_every_update_of_every_client_is_applied_once():
    assert mpiexec("counters.py", SPEC).strip() == "counter 400.0"


def test_clients_whose_variables_disagree_are_refused():
    assert mpiexec("disagreeing.py", SPEC).strip() == "refused True True"


def test_messages_of_any_length_keep_their_order():
    assert mpiexec("control.py", SPEC).split("\n") == ["heard all"] * 3 + [""]


def test_a_step_does_not_wait_for_what_is_compiled_for_another_client():
    assert mpiexec("compiling.py", SPEC).strip() == "steps meanwhile True"
