"""Reductions between real ranks: by plans, with sends buffered or not, and in one call."""

import pytest

from tests.runtime.test_mpi import mpiexec

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("synchronous", ["0", "1"])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_plan_reduces_and_aborts(ranks, synchronous):
    spec = {"worker": ["localhost"] * ranks}
    lines = mpiexec("reductions.py", spec, GRAPHC_SYNCHRONOUS_SENDS=synchronous).splitlines()
    assert sorted(lines) == [f"task {rank}: right 30, left 0" for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 3, 4, 5])
def test_mpi_itself_gives_all_the_same_bits_and_always_the_same(ranks):
    """What its standard demands and what it recommends: the default relies on both."""
    lines = mpiexec("same_bits.py", {"worker": ["localhost"] * ranks}).splitlines()
    assert lines == ["20 reductions, each with one result: True"]


@pytest.mark.parametrize("algorithm", ["mpi", "shared"])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_sessions_that_reduce_in_one_call(ranks, algorithm):
    """Every worker has one, steps fail in between, two are open at one time."""
    spec = {"worker": ["localhost"] * ranks}
    lines = mpiexec("in_one_call.py", spec, algorithm, GRAPHC_SYNCHRONOUS_SENDS="0")
    assert sorted(lines.splitlines()) == [
        f"task {rank}: right 24, refused 8, left 0" for rank in range(ranks)
    ]


@pytest.mark.parametrize("algorithm", ["mpi", "shared"])
def test_one_session_feeds_for_all_and_reduces_in_one_call(algorithm):
    spec = {"ps": ["localhost"], "worker": ["localhost"] * 2}
    lines = mpiexec("in_one_call.py", spec, algorithm).splitlines()
    assert lines == ["task 1: right 24, refused 8, left 0"]


def test_a_task_without_room_fails_the_step_everywhere():
    lines = mpiexec("no_room.py", {"worker": ["localhost"] * 2}).splitlines()
    why = "the machine has too little memory left for the step: 32 bytes for a reduction"
    assert sorted(lines) == [why, why, "then True", "then True"]


def test_memory_that_is_not_shared_is_told_of():
    spec = {"worker": ["localhost"] * 2}
    lines = mpiexec("not_shared.py", spec, GRAPHC_SHARED_MEMORY="0").splitlines()
    why = "the workers are not all on one host, or cannot read each other's memory there"
    assert lines == [f"refused: {why}"] * 2
