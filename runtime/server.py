"""A task of a cluster in this process: its worker, and what sessions here reach the others with."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from graphc.compiler import CompileOptions
from graphc.ir.device import Device
from graphc.ir.errors import ClusterError, CompileError
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.compiled import target_here
from graphc.runtime.drivers.mpi import MpiDriver
from graphc.runtime.effects import WORKER_BOX, Role, Tell
from graphc.runtime.engine import Engine
from graphc.runtime.groups import GROUPS, Groups
from graphc.runtime.master import Master
from graphc.runtime.meeting import Meeting
from graphc.runtime.messages import Leave
from graphc.runtime.sessions import Parts
from graphc.runtime.sharded_planning import members_of
from graphc.runtime.state import VariableStore
from graphc.runtime.strategy import DataParallel
from graphc.runtime.tags import tags_of_task
from graphc.runtime.timeline import Recorder, wanted
from graphc.runtime.trace import merge
from graphc.runtime.worker import Worker

PATIENCE = 60.0
"""Seconds that a task waits for another one, unless the server is told otherwise."""

_servers: WeakValueDictionary[str, Server] = WeakValueDictionary()
"""Those of this process, for sessions that name them."""


class Server:
    """The server of one task of ``cluster``, in a process that was started for it.

    Making it is collective: every task of the cluster makes its own. It serves until ``close``,
    the end of a ``with`` statement, or the end of the process; ``join`` waits until no other task
    wants anything any more. ``Server.spawn`` starts the other tasks as well.

    Args:
        cluster: the tasks, whose order is that of the MPI ranks; a spec, or what makes one.
        job_name, task_index: the task that this is, which must be the one of this process.
        timeout: how many seconds to wait for another task before giving up.
        communicator: an intracommunicator of mpi4py with one process for each task; by default
            that of all processes of the job.

    Raises:
        GraphcError: a timeline is wanted that cannot be written.
        ClusterError: the cluster is none, has another number of tasks than there are processes, or
            is not that of all tasks; or this process was started for another task, or has a server
            already.
    """

    def __init__(
        self,
        cluster: ClusterSpec | Mapping[str, Any],
        job_name: str | None = None,
        task_index: int | None = None,
        timeout: float = PATIENCE,
        communicator: Any = None,
    ) -> None:
        self.cluster = cluster = ClusterSpec(cluster)
        check_unserved()
        self._timeline = wanted()
        self.driver = MpiDriver(communicator)
        _check_same(cluster, self.driver.gather(sha256(cluster.to_json().encode()).digest()))
        _check_size(cluster, self.driver.size)
        self.driver.make_groups(members_of(cluster), GROUPS)
        self.job_name, self.task_index = cluster.task_of(self.driver.rank)
        _check_task((job_name, task_index), (self.job_name, self.task_index))
        self._timeout = timeout
        apart = self._timeline is not None
        allocate = self.driver.allocate
        store = VariableStore(allocate)
        self._engine = Engine(target_here("host"), store, apart=apart, allocate=allocate)
        self._boxes = count(WORKER_BOX + 1)
        self._meetings = count()
        groups = GROUPS if len(members_of(cluster)) > 1 else 0
        self._groups = Groups(groups, share_memory=self.driver.shares_memory)
        self._tags = tags_of_task(self.driver.rank, cluster.size, self.driver.tags)
        self._worker = Worker(self.driver.rank, self._engine, timeout)
        others = set(range(cluster.size)) - {self.driver.rank}
        if self._timeline is not None:
            name = str(cluster.task_of(self.driver.rank))
            self.driver.record(Recorder(self._timeline, self.driver.rank, name))
        self._serving = self.driver.start(self._worker.serve(others))
        self._left = False
        _servers[self.target] = self
        atexit.register(self.close)

    @staticmethod
    def spawn(
        cluster: ClusterSpec | Mapping[str, Any],
        job_name: str | None = None,
        task_index: int | None = None,
        timeout: float = PATIENCE,
        mpiexec: str | Path | None = None,
    ) -> Server:
        """Start a cluster from a plain Python process or a notebook.

        The process becomes one of the tasks. The others are started on this machine, and serve
        sessions until the server here is closed. They end with this process, however it ends.

        Args:
            cluster: the tasks, all on this machine; a spec, or what makes one: ``{"worker": 2}``.
            job_name: the job of the task that this process becomes; by default the chief's.
            task_index: its number in the job.
            timeout: how many seconds to wait for another task before giving up.
            mpiexec: that of the MPI to use, as for ``graphc launch``.

        Raises:
            ClusterError: no cluster; a task that it has not, or on another host; a process that
                ``graphc launch`` or ``mpiexec`` started; a cluster that is running already; tasks
                that do not start.
        """
        from graphc.runtime.spawn import spawn

        return spawn(ClusterSpec(cluster), job_name, task_index, timeout, mpiexec)

    @property
    def target(self) -> str:
        """What a session is given to run on the cluster from here."""
        return f"mpi:/{Device(self.job_name, self.task_index)}"

    @property
    def is_chief(self) -> bool:
        """Whether this is the task that initialises and reports: by custom, worker 0."""
        return self.cluster.task_of(self.driver.rank) == self.cluster.chief

    def join(self) -> None:
        """Serve until no other task will open a session any more."""
        self.driver.drive(self._leave())
        self.driver.finish(self._serving)

    def new_master(self, options: CompileOptions) -> Master:
        """The master of a new session in this task.

        Raises:
            CompileError: the session is to compile for another processor than each task's own.
        """
        _check_target(options)
        rank, box = self.driver.rank, next(self._boxes)
        return Master(self.cluster, rank, box, self._engine, options, self._timeout, self._tags)

    def new_meeting(self, strategy: DataParallel, options: CompileOptions) -> Meeting:
        """What takes the steps of a new session in this task that shares batches with others.

        Raises:
            ClusterError: this task is none of the workers.
            CompileError: as ``new_master``.
        """
        _check_target(options)
        rank, members = self.driver.rank, members_of(self.cluster)
        if rank not in members:
            names = ", ".join(self.cluster.name_of(member) for member in members)
            raise ClusterError(
                f"{self.cluster.name_of(rank)} does not share batches: a session with a strategy "
                f"is opened in {names}"
            )
        parts = Parts(
            self.cluster, rank, self._engine, options, self._timeout, strategy, members,
            next(self._meetings), self.driver.tags, self._groups,
        )  # fmt: skip
        return parts.meeting(self._worker, next(self._boxes), self._tags)

    def _leave(self) -> Role:
        """Tell the others that no session will be opened here any more."""
        if not self._left:
            self._left = True
            for rank in range(self.cluster.size):
                if rank != self.driver.rank:
                    yield Tell(rank, WORKER_BOX, Leave())

    def close(self) -> None:
        """Serve no more: the other tasks need not wait for this one, and sessions here end."""
        _servers.pop(self.target, None)
        atexit.unregister(self.close)
        if not self.driver.lost:
            self.driver.drive(self._leave())
            self.driver.close()
        if self._timeline is not None:
            merge(self._timeline, [str(task) for task in self.cluster.tasks], whole=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def server_at(target: str) -> Server:
    """The server of this process whose ``target`` this is.

    Raises:
        ClusterError: there is none.
    """
    server = _servers.get(target)
    if server is None:
        known = ", ".join(targets()) or "none: make a gx.train.Server first"
        raise ClusterError(
            f"there is no server {target!r} in this process; there is {known} "
            "(a local session's target is '')"
        )
    return server


def targets() -> list[str]:
    """Those of the servers of this process that are not closed."""
    return sorted(_servers)


def check_unserved() -> None:
    """Refuse another server in this process: the other tasks would not make theirs.

    Raises:
        ClusterError: there is one that is not closed.
    """
    if served := targets():
        raise ClusterError(f"this process serves {served[0]} already: close that server first")


def _check_target(options: CompileOptions) -> None:
    if options.target != "host":
        raise CompileError(f"each task of a cluster compiles for itself, not {options.target}")


def _check_same(cluster: ClusterSpec, digests: list[bytes]) -> None:
    """Refuse, on every task, clusters that differ; given are the digests of all, by rank."""
    others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if others:
        ranks = ", ".join(map(str, others))
        raise ClusterError(
            f"all tasks have to be given one cluster, but those of ranks {ranks} differ from that "
            f"of rank 0; here it is {cluster.to_json()}"
        )


def _check_size(cluster: ClusterSpec, processes: int) -> None:
    if cluster.size != processes:
        raise ClusterError(
            f"the cluster has {cluster.size} tasks, but {processes} processes were started: "
            "start the job with `graphc launch SPEC SCRIPT`"
        )


def _check_task(given: tuple[str | None, int | None], found: tuple[str, int]) -> None:
    for name, said, is_so in zip(("job", "task"), given, found, strict=True):
        if said is not None and said != is_so:
            raise ClusterError(
                f"this process is /job:{found[0]}/task:{found[1]}, not {name} {said!r}"
            )
