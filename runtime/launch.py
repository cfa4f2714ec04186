"""How a job is started: the command line of ``mpiexec`` for the tasks of a cluster.

Consecutive tasks on one host are one application context of ``mpiexec``. Ranks follow the order
of the contexts, so that each rank is on its task's host, in Open MPI and in MPICH.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_jobs import LOCAL, host_of
from graphc.runtime.cluster_spec import CLUSTER_VARIABLE, ClusterSpec
from graphc.runtime.implementations import (
    Context,
    Implementation,
    find_mpiexec,
    implementation_of,
    is_crowded,
)
from graphc.runtime.timeline import TIMELINE_VARIABLE, checked

THREADS_VARIABLE = "GRAPHC_NUM_THREADS"
_THREADS = (THREADS_VARIABLE, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FORWARDED = ("GRAPHC_", "PYTHON", "MPI4PY_", *_THREADS)
"""What the environment variables begin with that other hosts get as well."""


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


def plan(
    cluster: ClusterSpec,
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    mpiexec: str | Path | None = None,
    mpi_args: Sequence[str] = (),
    resolve: bool = True,
    timeline: str | Path | None = None,
) -> Plan:
    """How to run ``script`` on every task of ``cluster``.

    Args:
        cluster: the tasks; ports of their addresses do not matter to MPI.
        script: a file of Python.
        arguments: the script's own.
        mpiexec: the program; by default that of this Python's environment, or else that on PATH.
        mpi_args: further options for it.
        resolve: whether to refuse hosts whose names nobody knows.
        timeline: the file for the job's timeline; the launcher makes it out of the ranks' own.

    Raises:
        GraphcError: the timeline cannot be written.
        ClusterError: no tasks, no script, no ``mpiexec``, or an unknown host.
    """
    if not cluster:
        raise ClusterError("the cluster has no tasks to launch")
    if not Path(script).is_file():
        raise ClusterError(f"there is no script {str(script)!r}")
    program = find_mpiexec(mpiexec)
    mpi = implementation_of(program)
    contexts = _contexts(cluster, cores := len(os.sched_getaffinity(0)), resolve)
    environment = _environment(cluster, program, mpi, contexts, cores)
    traced = checked(Path(timeline)) if timeline is not None else None
    if traced is not None:
        environment[TIMELINE_VARIABLE] = str(traced)
    command = [str(program), *mpi.options(contexts, cores), *mpi_args]
    command += _ranks(mpi, contexts, _forwarded(contexts, environment), [str(script), *arguments])
    hosts = frozenset(context.host for context in contexts) - {LOCAL}
    return Plan(cluster, tuple(command), environment, hosts, traced)


def _ranks(
    mpi: Implementation,
    contexts: Sequence[Context],
    forwarded: Sequence[str],
    script: Sequence[str],
) -> list[str]:
    """What every task runs, as ``mpiexec`` is told it for each context."""
    command: list[str] = []
    for number, context in enumerate(contexts):
        command += [":"] * (number > 0) + mpi.context(context, forwarded)
        command += [sys.executable, "-m", "graphc.runtime.rank", *script]
    return command


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
    found = dict.fromkeys(_THREADS, threads)
    if is_crowded(contexts, cores):
        found |= mpi.crowded
    if all(context.host == LOCAL for context in contexts):
        found |= mpi.one_host
    if library := mpi.library_of(program):
        found["MPI4PY_LIBMPI"] = str(library)  # the ranks' MPI is that of their mpiexec
    found = {name: value for name, value in found.items() if name not in os.environ}
    return {CLUSTER_VARIABLE: cluster.to_json(), **found}


def _forwarded(contexts: Sequence[Context], environment: Mapping[str, str]) -> list[str]:
    """The names of variables that other hosts have to be told; this one's ranks inherit all."""
    if all(context.host == LOCAL for context in contexts):
        return []
    own = {name for name in os.environ if name.startswith(_FORWARDED)}
    own |= {name for name in environment if name.startswith("GRAPHC_")}
    return sorted(own | {*_THREADS})
