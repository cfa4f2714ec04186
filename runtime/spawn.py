"""``Server.spawn``: a cluster for a plain Python process or a notebook, through MPI_Comm_spawn.

    a. The process opens the socket of its crew (``graphc.runtime.crew``), begins MPI if nobody has,
       and spawns one process for each other task; these are ``graphc.runtime.spawned``.
    b. Each connects to the socket, and is told the cluster.
    c. All processes merge into one communicator, ordered by the cluster's ranks; each makes its
       server on it. The crew serves until the process here has left.
    d. Then each tells of its exit; when all have, all disconnect, and the processes end.

Whatever else happens, the processes end as their lifelines do. What MPI reads from the environment
is set only while it is read.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphc.backends.cpu.pool import NUM_THREADS_VARIABLE, available_threads, set_num_threads
from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_jobs import host_of
from graphc.runtime.cluster_spec import ClusterSpec, Task, world_size
from graphc.runtime.crew import Crew
from graphc.runtime.implementations import Implementation, find_mpiexec, implementation_of
from graphc.runtime.launch import is_here
from graphc.runtime.server import Server, check_unserved

_TO_START, _TO_EXIT, _TO_DISCONNECT = 60.0, 5.0, 2.0
"""Seconds that tasks have to start, to come to their end, and to disconnect."""
_NAP = 1e-3
_AS_ROOT = {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def spawn(
    cluster: ClusterSpec,
    job_name: str | None,
    task_index: int | None,
    timeout: float,
    mpiexec: str | Path | None,
) -> Server:
    """See ``Server.spawn``."""
    _check(cluster)
    task = _task(cluster, job_name, task_index)
    program = find_mpiexec(mpiexec)
    mpi = implementation_of(program)
    environment = _environment(program, mpi, cluster.size)
    threads = max(1, available_threads() // cluster.size)
    crew = Crew(cluster, _settings(cluster, timeout, threads))
    try:
        with _assigned(environment), _helper_apart(program, mpi):
            communicators = _begin(crew, cluster.size, cluster.rank_of(*task))
        return _SpawningServer(cluster, task, timeout, crew, communicators, threads)
    except BaseException:
        crew.end()
        raise


class _SpawningServer(Server):
    """The server of the process that spawned the others; closing it ends them."""

    def __init__(
        self,
        cluster: ClusterSpec,
        task: Task,
        timeout: float,
        crew: Crew,
        communicators: tuple[Any, Any],
        threads: int,
    ) -> None:
        self._crew, self._communicators = crew, communicators
        self._closed, self._process = False, os.getpid()
        self._threads_before = available_threads()
        set_num_threads(threads)
        super().__init__(cluster, *task, timeout, communicators[1])
        crew.failed = self.driver.fail
        if crew.lost:
            self.driver.fail(crew.lost)

    def close(self) -> None:
        """End the other tasks; those that do not end by themselves are killed."""
        if self._closed or os.getpid() != self._process:
            return  # what a fork of the process ends is not ours
        self._closed = True
        self._crew.let_go()
        try:
            self._hear_farewells()
            super().close()
            self._disconnect()
        finally:
            self._crew.end()
            set_num_threads(self._threads_before)

    def _hear_farewells(self) -> None:
        """Let what the others told at their start come in: MPI is to end without messages."""
        deadline = time.monotonic() + _TO_EXIT
        while not (self._serving.done or self.driver.lost) and time.monotonic() < deadline:
            time.sleep(_NAP)

    def _disconnect(self) -> None:
        """Step d. Without it, MPI would wait for the others at the end of the process."""
        intercommunicator, communicator = self._communicators
        others = self.cluster.size - 1
        if not self._crew.lost and self._crew.await_exits(others, _TO_EXIT):
            communicator.Free()
            if others:
                _within(_TO_DISCONNECT, intercommunicator.Disconnect)
            self._crew.await_deaths(_TO_EXIT)


def _check(cluster: ClusterSpec) -> None:
    """Refuse what cannot be spawned from here."""
    if world_size() is not None:
        raise ClusterError(
            "this process was started by `graphc launch` or mpiexec, which started the other tasks "
            "too: use gx.train.Server(cluster)"
        )
    if not cluster:
        raise ClusterError("the cluster has no tasks to spawn")
    check_unserved()
    for task in cluster.tasks:
        host = host_of(cluster.task_address(*task))
        if not is_here(host):
            raise ClusterError(
                f"{task} is on {host!r}, but a process spawns tasks on its own machine only: "
                "start the job with `graphc launch SPEC SCRIPT`"
            )


def _task(cluster: ClusterSpec, job_name: str | None, task_index: int | None) -> Task:
    """The task that this process becomes: task 0 of a job, and the chief unless told otherwise."""
    job = cluster.chief.job if job_name is None else job_name
    task = Task(job, task_index or 0)
    cluster.rank_of(*task)
    return task


def _settings(cluster: ClusterSpec, timeout: float, threads: int) -> bytes:
    """What the crew is told."""
    own = {k: v for k, v in os.environ.items() if k.startswith("GRAPHC_")}
    environment = {NUM_THREADS_VARIABLE: str(threads)} | own
    told = {"cluster": cluster.to_json(), "timeout": timeout, "environment": environment}
    return json.dumps(told).encode()


def _environment(program: Path, mpi: Implementation, size: int) -> dict[str, str]:
    """What is set while MPI begins and spawns; what the user set wins."""
    found = {**mpi.one_host, **mpi.spawning, **(_AS_ROOT if os.geteuid() == 0 else {})}
    if size > len(os.sched_getaffinity(0)):
        found |= mpi.crowded
    if library := mpi.library_of(program):
        found["MPI4PY_LIBMPI"] = str(library)
        if mpi.prefix:
            found[mpi.prefix] = str(library.parents[1])
    found = {name: value for name, value in found.items() if name not in os.environ}
    folders = [str(program.parent), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    modules = [folder or str(Path.cwd()) for folder in sys.path]
    return found | {"PATH": os.pathsep.join(folders), "PYTHONPATH": os.pathsep.join(modules)}


@contextmanager
def _assigned(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _helper_apart(program: Path, mpi: Implementation) -> Iterator[None]:
    """Have MPI start its helper in a session of its own, out of reach of Ctrl-C.

    MPI looks for it on PATH, and finds a script there that starts it so.
    """
    real = str(program.with_name(mpi.helper))
    code = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"
    words = shlex.join([sys.executable, "-I", "-S", "-c", code, real])
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        script = Path(folder, mpi.helper)
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        script.chmod(0o700)
        with _assigned({"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}):
            yield


def _begin(crew: Crew, size: int, rank: int) -> tuple[Any, Any]:
    """Steps a to c: the communicator with the crew, and that of all, by rank."""
    from mpi4py import MPI

    if size == 1:
        return None, MPI.COMM_SELF.Dup()

    def start() -> tuple[Any, Any]:
        arguments = ["-P", "-m", "graphc.runtime.spawned", crew.name, str(rank)]
        where = MPI.Info.Create({"wdir": str(Path.cwd())})
        intercommunicator = MPI.COMM_SELF.Spawn(sys.executable, arguments, size - 1, where)
        merged = intercommunicator.Merge(high=False)
        ordered = merged.Split(0, rank)
        merged.Free()
        return intercommunicator, ordered

    try:
        communicators: tuple[Any, Any] = _within(_TO_START, start)
    except MPI.Exception as error:
        raise ClusterError(f"MPI cannot spawn the other tasks: {error}") from None
    except TimeoutError:
        raise ClusterError(f"the other tasks did not start within {_TO_START:g} s") from None
    return communicators


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of a call of MPI that blocks; it is left alone if it takes longer.

    Processes that MPI starts inherit that the thread has no ear for Ctrl-C: it is meant for the
    user's program, and not for what serves it.

    Raises:
        TimeoutError: it does.
    """
    ended: list[Any] = []
    failed: list[Exception] = []

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            ended.append(call())
        except Exception as error:  # noqa: BLE001, it is raised where the result is awaited
            failed.append(error)

    thread = threading.Thread(target=work, name="graphc-spawn", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not ended:
        raise TimeoutError
    return ended[0]
