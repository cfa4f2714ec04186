"""Reductions between real ranks, with sends that are buffered and with such that are not."""

import pytest

from tests.runtime.test_mpi import mpiexec

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("synchronous", ["0", "1"])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_plan_reduces_and_aborts(ranks, synchronous):
    spec = {"worker": ["localhost"] * ranks}
    lines = mpiexec("reductions.py", spec, GRAPHC_SYNCHRONOUS_SENDS=synchronous).splitlines()
    assert sorted(lines) == [f"task {rank}: right 20, left 0" for rank in range(ranks)]
