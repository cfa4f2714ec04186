"""The tasks of a cluster: which jobs there are, and where their tasks run.

The order of the tasks is that of the MPI ranks: jobs in the order of the spec, tasks by index.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from graphc.ir.device import Device
from graphc.ir.errors import ClusterError

VARIABLE = "GRAPHC_CLUSTER"
"""The environment's variable that holds the spec of a job, as JSON, for each of its processes."""

Jobs: TypeAlias = Mapping[str, Sequence[str] | Mapping[int, str]]
_JOB = re.compile(r"[A-Za-z_][\w.-]*")
_CHIEFS = ("chief", "master", "worker")
"""Jobs whose first task initialises and reports, by custom; else the first task of all."""


class ClusterSpec:
    """Jobs by name, each with the addresses of its tasks, in order or by index.

    Raises:
        ClusterError: a job without tasks or with a gap in their indices, a name that no device
            string could hold, or an address that is no text.
    """

    def __init__(self, cluster: ClusterSpec | Jobs) -> None:
        jobs = cluster.as_dict() if isinstance(cluster, ClusterSpec) else cluster
        if not isinstance(jobs, Mapping) or not jobs:
            raise ClusterError(f"a cluster is a dict of addresses by job, not {jobs!r}")
        self._jobs = {job: _addresses(job, tasks) for job, tasks in jobs.items()}
        self._tasks = [(job, i) for job, found in self._jobs.items() for i in range(len(found))]
        self._ranks = {task: rank for rank, task in enumerate(self._tasks)}

    @classmethod
    def from_environment(cls) -> ClusterSpec:
        """The spec of the job that this process was started for.

        Raises:
            ClusterError: it was not started as part of one, or the spec is damaged.
        """
        text = os.environ.get(VARIABLE)
        if text is None:
            raise ClusterError(
                f"this process is not part of a job: {VARIABLE} is not set. Start one process for "
                f"each task under mpiexec, with the cluster as JSON in {VARIABLE}"
            )
        try:
            return cls(json.loads(text))
        except ValueError as error:
            raise ClusterError(f"{VARIABLE} is no JSON: {error}") from None

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs, in order."""
        return list(self._jobs)

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return len(self._tasks)

    @property
    def chief(self) -> int:
        """The rank of the task that initialises and reports."""
        return next((self._ranks[job, 0] for job in _CHIEFS if job in self._jobs), 0)

    def num_tasks(self, job: str) -> int:
        """How many tasks ``job`` has."""
        return len(self._job(job))

    def task_indices(self, job: str) -> list[int]:
        """The indices of the tasks of ``job``."""
        return list(range(len(self._job(job))))

    def job_tasks(self, job: str) -> list[str]:
        """The addresses of the tasks of ``job``."""
        return list(self._job(job))

    def task_address(self, job: str, index: int) -> str:
        """Where a task runs.

        Raises:
            ClusterError: there is no such task.
        """
        return self._job(job)[self.task_of(self.rank_of(job, index))[1]]

    def rank_of(self, job: str, index: int) -> int:
        """The MPI rank of a task.

        Raises:
            ClusterError: there is no such task.
        """
        count = len(self._job(job))
        if (job, index) not in self._ranks:
            raise ClusterError(f"job {job!r} has {count} tasks; there is no task {index!r}")
        return self._ranks[job, index]

    def task_of(self, rank: int) -> tuple[str, int]:
        """The job and the index of the task of an MPI rank."""
        return self._tasks[rank]

    def device_of(self, rank: int) -> str:
        """The device that the task of a rank has, in full."""
        return str(Device(*self._tasks[rank], "cpu", 0))

    def name_of(self, rank: int) -> str:
        """The task of a rank, as device strings and errors name it."""
        return str(Device(*self._tasks[rank]))

    def as_dict(self) -> dict[str, list[str]]:
        """The addresses by job."""
        return {job: list(found) for job, found in self._jobs.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and list(self._jobs.items()) == list(
            other._jobs.items()
        )

    def __hash__(self) -> int:
        return hash(tuple(self._jobs.items()))

    def __repr__(self) -> str:
        return f"ClusterSpec({self.as_dict()})"

    def _job(self, job: str) -> tuple[str, ...]:
        if job not in self._jobs:
            there_are = ", ".join(self._jobs)
            raise ClusterError(f"the cluster has no job {job!r}; it has {there_are}")
        return self._jobs[job]


def _addresses(job: Any, tasks: Any) -> tuple[str, ...]:
    """The addresses of a job's tasks, by index."""
    if not isinstance(job, str) or not _JOB.fullmatch(job):
        raise ClusterError(f"{job!r} is no name of a job: letters, digits, and _ . - behind them")
    if isinstance(tasks, Mapping):
        if set(tasks) != set(range(len(tasks))):
            raise ClusterError(f"the tasks of job {job!r} are numbered from 0, without a gap")
        tasks = [tasks[index] for index in range(len(tasks))]
    if not isinstance(tasks, list | tuple) or not tasks:
        raise ClusterError(f"job {job!r} needs a list of addresses, one for each task")
    wrong = next((address for address in tasks if not isinstance(address, str)), None)
    if wrong is not None:
        raise ClusterError(f"job {job!r}: {wrong!r} is no address")
    return tuple(tasks)
