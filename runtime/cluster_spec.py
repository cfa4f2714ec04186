"""``ClusterSpec``: which tasks a cluster has, where they are, and in which order.

The order is that of the MPI ranks: jobs as the spec names them, tasks by index. With
``{"ps": ["a"], "worker": ["b", "c"]}`` rank 0 is ps:0, rank 1 worker:0 and rank 2 worker:1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_jobs import Jobs, read_jobs

CLUSTER_VARIABLE = "GRAPHC_CLUSTER"
"""The environment variable with the spec, in JSON, of the job that a process belongs to."""
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")
_CHIEFS = ("worker", "chief", "master")


class Task(NamedTuple):
    """One process of a cluster; equal to the pair (job, task)."""

    job: str
    task: int

    @property
    def device(self) -> str:
        """``/job:worker/task:1``."""
        return f"/job:{self.job}/task:{self.task}"

    def __str__(self) -> str:
        return f"{self.job}:{self.task}"


class ClusterSpec:
    """The tasks of a cluster; immutable.

    Args:
        spec: for each job the list of its tasks' addresses, or ``{task index: address}``, or the
            number of its tasks, all on this machine; or such a mapping in JSON; or another spec.
            An address is a host, with or without a port: tasks talk over MPI, which needs none.

    Raises:
        ClusterError: a task that is missing or there twice, a job that is empty or has a name
            that no device string can hold, or something of another type.
    """

    __slots__ = ("_jobs", "_ranks", "_tasks")

    def __init__(self, spec: ClusterSpec | Mapping[str, Any] | str) -> None:
        self._jobs: Jobs = read_jobs(spec.as_dict() if isinstance(spec, ClusterSpec) else spec)
        self._tasks = tuple(
            Task(job, i) for job, all_ in self._jobs.items() for i in range(len(all_))
        )
        self._ranks = {task: rank for rank, task in enumerate(self._tasks)}

    @staticmethod
    def from_file(path: str | Path) -> ClusterSpec:
        """The spec in a JSON file.

        Raises:
            ClusterError: the file cannot be read, or what is in it is no cluster.
        """
        try:
            return ClusterSpec(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise ClusterError(f"{path} cannot be read: {reason}") from None
        except ClusterError as error:
            raise ClusterError(f"{path}: {error}") from None

    @staticmethod
    def from_environment() -> ClusterSpec:
        """The spec that ``graphc launch`` started this process with.

        Raises:
            ClusterError: no launch started it, or MPI has another number of ranks than the spec
                has tasks.
        """
        text = os.environ.get(CLUSTER_VARIABLE)
        if not text:
            raise ClusterError(
                f"this process is no task of a launched job ({CLUSTER_VARIABLE} is not set): "
                "start the program with `graphc launch cluster.json program.py`"
            )
        try:
            found = ClusterSpec(text)
        except ClusterError as error:
            raise ClusterError(f"{CLUSTER_VARIABLE}: {error}") from None
        size = world_size()
        if size not in (None, found.size):
            raise ClusterError(
                f"the cluster has {found.size} tasks ({found}), but MPI started {size} ranks: "
                "start the program with `graphc launch`, which starts one for each task"
            )
        return found

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs, in order."""
        return list(self._jobs)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, by rank."""
        return self._tasks

    @property
    def size(self) -> int:
        """The number of tasks, and of ranks."""
        return len(self._tasks)

    @property
    def chief(self) -> Task:
        """The task that leads: worker 0; without workers chief 0 or master 0, or else rank 0.

        Raises:
            ClusterError: the cluster is empty.
        """
        leading = [job for job in _CHIEFS if job in self._jobs]
        return Task(leading[0], 0) if leading else self.task_of(0)

    def num_tasks(self, job_name: str) -> int:
        """How many tasks a job has."""
        return len(self._addresses(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """The indices of a job's tasks: 0, 1, 2..."""
        return list(range(self.num_tasks(job_name)))

    def job_tasks(self, job_name: str) -> list[str]:
        """The addresses of a job's tasks, by index."""
        return list(self._addresses(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """The address of one task."""
        return self._addresses(job_name)[self._known(job_name, task_index).task]

    def rank_of(self, job_name: str, task_index: int) -> int:
        """The MPI rank of a task."""
        return self._ranks[self._known(job_name, task_index)]

    def task_of(self, rank: int) -> Task:
        """The task that an MPI rank is.

        Raises:
            ClusterError: the cluster has no such rank.
        """
        if not 0 <= rank < self.size:
            raise ClusterError(f"there is no rank {rank}: the cluster has {self.size} ({self})")
        return self._tasks[rank]

    def device_of(self, rank: int) -> str:
        """The device that the task of a rank has, in full."""
        return f"{self.task_of(rank).device}/cpu:0"

    def name_of(self, rank: int) -> str:
        """The task of a rank, as devices and errors name it."""
        return self.task_of(rank).device

    def as_dict(self) -> dict[str, list[str]]:
        """The addresses of each job's tasks, in order."""
        return {job: list(addresses) for job, addresses in self._jobs.items()}

    def to_json(self) -> str:
        """The spec as ``ClusterSpec`` reads it, in one line."""
        return json.dumps(self.as_dict(), separators=(",", ":"))

    def _addresses(self, job_name: str) -> tuple[str, ...]:
        if job_name not in self._jobs:
            raise ClusterError(f"there is no job {job_name!r}; there are: {self}")
        return self._jobs[job_name]

    def _known(self, job_name: str, task_index: int) -> Task:
        count = self.num_tasks(job_name)
        if isinstance(task_index, bool) or task_index not in range(count):
            raise ClusterError(
                f"job {job_name!r} has no task {task_index!r}: it has {count}, numbered from 0"
            )
        return Task(job_name, int(task_index))

    def __eq__(self, other: object) -> bool:
        """Whether both have the same tasks at the same addresses under the same ranks."""
        if not isinstance(other, ClusterSpec):
            return NotImplemented
        return list(self._jobs.items()) == list(other._jobs.items())

    def __hash__(self) -> int:
        return hash(tuple(self._jobs.items()))

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __str__(self) -> str:
        """``ps:0, worker:0-1``."""
        texts = (f"{job}:0" + f"-{len(a) - 1}" * (len(a) > 1) for job, a in self._jobs.items())
        return ", ".join(texts) or "no tasks"

    def __repr__(self) -> str:
        return f"ClusterSpec({self.as_dict()})"


def world_size() -> int | None:
    """How many ranks MPI started, by the environment; None outside of ``mpiexec``."""
    return _number(_SIZES)


def world_rank() -> int | None:
    """Which rank this process is, by the environment; None outside of ``mpiexec``."""
    return _number(_RANKS)


def _number(variables: tuple[str, ...]) -> int | None:
    texts = (os.environ.get(name, "") for name in variables)
    return next((int(text) for text in texts if text.isdecimal()), None)
