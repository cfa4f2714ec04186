"""Where variables go on a cluster: device functions that spread them over parameter servers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.device import Device, DeviceFunction, OpDescription
from graphc.ir.errors import ClusterError, DeviceError, GraphError
from graphc.ir.source import located, user_source

if TYPE_CHECKING:
    from graphc.runtime.cluster_spec import ClusterSpec

Strategy = Callable[[OpDescription], int]
"""The parameter server of a variable, by its number."""

_VARIABLE = "Variable"
_SPELLINGS = ("VariableV2", "VarHandleOp", "AutoReloadVariable")
"""What else TensorFlow calls a variable."""


def replica_device_setter(
    ps_tasks: int = 0,
    ps_device: str = "/job:ps",
    worker_device: str = "/job:worker",
    cluster: ClusterSpec | Mapping[str, Any] | None = None,
    ps_ops: Sequence[str] | None = None,
    ps_strategy: Strategy | None = None,
) -> DeviceFunction | None:
    """A function for ``gx.device``: variables on parameter servers, all else on the worker.

    Args:
        ps_tasks: how many parameter servers there are; ``cluster`` knows it better.
        ps_device: the device of variables; their strategy adds the task.
        worker_device: the device of all other ops.
        cluster: the cluster, whose job of ``ps_device`` has the parameter servers.
        ps_ops: the ops that go to parameter servers, variables by default.
        ps_strategy: a function that gives each of them a task; by default they take turns.

    Returns:
        The function, or None, which leaves devices open, if there are no parameter servers.

    Raises:
        ClusterError: no number of tasks, or no cluster.
        DeviceError: a device that is none; later, a strategy that names no task.
        GraphError: a strategy that is no function.
    """
    ps, worker = Device.parse(ps_device), Device.parse(worker_device or "")
    count = _count(ps_tasks) if cluster is None else _tasks_of(ps.job, cluster)
    if count == 0:
        return None
    strategy = RoundRobinStrategy(count) if ps_strategy is None else ps_strategy
    if not callable(strategy):
        raise GraphError(located(f"ps_strategy {strategy!r} is no function", user_source()))
    return _setter(ps, worker, _served(ps_ops), lambda op: _checked_task(strategy(op), count, op))


def _setter(ps: Device, worker: Device, served: Sequence[str], task_of: Strategy) -> DeviceFunction:
    """What inner scopes say wins; one that names another job needs no parameter server."""

    def place(op: OpDescription) -> str:
        inner = Device.parse(op.device)
        if op.type not in served:
            return str(worker.merge(inner))
        if ps.job and inner.job in (None, ps.job):
            return str(Device(task=task_of(op)).merge(ps).merge(inner))
        return str(ps.merge(inner))

    return place


class RoundRobinStrategy:
    """Parameter servers take turns, one variable each."""

    def __init__(self, num_tasks: int) -> None:
        self._num_tasks = num_tasks
        self._next = 0

    def __call__(self, op: OpDescription) -> int:
        task = self._next
        self._next = (task + 1) % self._num_tasks
        return task


def byte_size_load_fn(op: OpDescription) -> float:
    """The bytes of a variable.

    Raises:
        GraphError: nobody said its shape and dtype before its initial value was made.
    """
    if op.dtype is None or op.shape is None or not all(isinstance(n, int) for n in op.shape):
        message = (
            f"the size of variable {op.name!r} is not known before its initial value is made: "
            "give gx.Variable dtype and shape, or use gx.get_variable"
        )
        raise GraphError(located(message, user_source()))
    return float(math.prod(n for n in op.shape if isinstance(n, int)) * op.dtype.size)


class GreedyLoadBalancingStrategy:
    """Each variable goes to the parameter server with the least load so far.

    Args:
        num_tasks: how many parameter servers there are.
        load_fn: the load that a variable is, by default its bytes.

    Raises:
        ClusterError: there is not even one.
    """

    def __init__(
        self, num_tasks: int, load_fn: Callable[[OpDescription], float] = byte_size_load_fn
    ) -> None:
        if _count(num_tasks) == 0:
            raise ClusterError(located("there are no parameter servers to load", user_source()))
        self._loads = [0.0] * num_tasks
        self._load_fn = load_fn

    def __call__(self, op: OpDescription) -> int:
        task = self._loads.index(min(self._loads))
        self._loads[task] += self._load_fn(op)
        return task


def _served(ps_ops: Sequence[str] | None) -> list[str]:
    """The types of ops that parameter servers run, each in one spelling."""
    if ps_ops is None:
        return [_VARIABLE]
    if isinstance(ps_ops, str):
        message = f"ps_ops is a list of op types, not the text {ps_ops!r}"
        raise GraphError(located(message, user_source()))
    return [_VARIABLE if op in _SPELLINGS else op for op in ps_ops]


def _count(tasks: Any) -> int:
    if not isinstance(tasks, int) or isinstance(tasks, bool) or tasks < 0:
        raise ClusterError(located(f"{tasks!r} is no number of parameter servers", user_source()))
    return tasks


def _tasks_of(job: str | None, cluster: ClusterSpec | Mapping[str, Any]) -> int:
    """How many parameter servers a cluster has."""
    from graphc.runtime.cluster_spec import ClusterSpec

    spec = ClusterSpec(cluster)
    return spec.num_tasks(job) if job in spec.jobs and job else 0


def _checked_task(task: Any, count: int, op: OpDescription) -> int:
    if isinstance(task, bool) or task not in range(count):
        message = (
            f"the strategy gives {op.name!r} the parameter server {task!r}: "
            f"there are {count}, numbered from 0"
        )
        raise DeviceError(located(message, user_source()))
    return int(task)
