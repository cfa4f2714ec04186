"""Batches that real ranks share: the same bits from any number of them, and one error."""

import pytest

from tests.runtime.test_mpi import mpiexec

pytestmark = pytest.mark.mpi


def trained(ranks, way, synchronous="1"):
    """What the workers print: bits, and whether the bad label was refused; all print the same."""
    spec = {"worker": ["localhost"] * ranks}
    out = mpiexec("shared_batches.py", spec, way, GRAPHC_SYNCHRONOUS_SENDS=synchronous)
    lines = out.splitlines()
    assert len(lines) == (ranks if way == "each" else 1), out
    (line,) = set(lines)
    return line


def test_bits_are_those_of_one_rank():
    wanted = trained(1, "one")
    assert wanted.endswith(" True")
    for ranks, way, synchronous in (
        (2, "one", "0"), (2, "each", "1"), (3, "one", "1"), (3, "each", "0"), (4, "each", "1"),
    ):  # fmt: skip
        assert trained(ranks, way, synchronous) == wanted, (ranks, way)


def test_a_parameter_server_has_no_part_in_it():
    out = mpiexec("strategy_on_server.py", {"ps": ["localhost"], "worker": ["localhost"]})
    assert out.startswith("/job:ps/task:0 does not share batches")
    assert "/job:worker/task:0" in out
