"""The jobs of a cluster, out of what a user wrote: every form that a spec may have.

Each reader refuses what it cannot be sure of: a spec is read on every rank of a job, and a task
that is there twice or not at all would show only as a rank that waits for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.ir.device import Device
from graphc.ir.errors import ClusterError, DeviceError

Jobs = dict[str, tuple[str, ...]]
"""The addresses of each job's tasks, by index, in the order of the spec."""

FORMS = (
    "a job is a list of addresses, a number of tasks on this machine, or {task index: address}, "
    'as in {"ps": ["localhost"], "worker": ["localhost", "localhost"]}'
)
LOCAL = "localhost"
_MOST_TASKS = 100_000
_ADDRESS = re.compile(
    r"(?P<host>[A-Za-z0-9_](?:[\w.-]*\w)?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?", re.ASCII
)


def read_jobs(spec: Any) -> Jobs:
    """The jobs of a mapping from names to tasks, or of such a mapping in JSON.

    Raises:
        ClusterError: with the rule that it breaks.
    """
    if isinstance(spec, str):
        spec = _parse(spec)
    if not isinstance(spec, Mapping):
        raise ClusterError(f"a cluster is a mapping from jobs to tasks, not {spec!r}: {FORMS}")
    jobs = {_job_name(name): _tasks(name, tasks) for name, tasks in spec.items()}
    _refuse_shared_ports(jobs)
    return jobs


def host_of(address: str) -> str:
    """The host of ``host``, ``host:port`` or ``[::1]:port``.

    Raises:
        ClusterError: it is none of these.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"] or 1) < 1 << 16:
        raise ClusterError(f"{address!r} is no address: write host, host:port or [IPv6]:port")
    return match["host"].strip("[]")


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ClusterError(f"the cluster is no JSON: {error}") from None


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ClusterError(f"{key!r} is there twice: jobs, and tasks of a job, differ by name")
        found[key] = value
    return found


def _job_name(name: Any) -> str:
    try:
        legal = isinstance(name, str) and Device.parse(f"/job:{name}") == Device(job=name)
    except DeviceError:
        legal = False
    if not legal:
        raise ClusterError(
            f"{name!r} is no name of a job: a letter or _, then letters, digits, and . _ -, "
            "so that it can stand in /job:NAME/task:0"
        )
    return str(name)


def _tasks(job: str, tasks: Any) -> tuple[str, ...]:
    reader = next((read for kind, read in _READERS.items() if isinstance(tasks, kind)), None)
    if reader is None or isinstance(tasks, bool | str | bytes):
        raise ClusterError(f"the tasks of job {job!r} cannot be {tasks!r}: {FORMS}")
    addresses = reader(job, tasks)
    if not addresses:
        raise ClusterError(f"job {job!r} has no tasks: leave it out, or give it one")
    for index, address in enumerate(addresses):
        if not isinstance(address, str):
            raise ClusterError(f"the address of {job}:{index} is no text: {address!r}")
        host_of(address)
    return addresses


def _counted(job: str, count: int) -> tuple[str, ...]:
    if not 0 <= count <= _MOST_TASKS:
        raise ClusterError(f"job {job!r} cannot have {count} tasks")
    return (LOCAL,) * count


def _listed(_: str, addresses: Sequence[str]) -> tuple[str, ...]:
    return tuple(addresses)


def _numbered(job: str, tasks: Mapping[Any, str]) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for key, address in tasks.items():
        index = _task_index(job, key)
        if index in found:
            raise ClusterError(f"task {index} of job {job!r} is there twice")
        found[index] = address
    missing = [index for index in range(len(found)) if index not in found]
    if missing:
        raise ClusterError(
            f"job {job!r} has the tasks {sorted(found)} but no task {missing[0]}: "
            "tasks are numbered from 0 without holes"
        )
    return tuple(found[index] for index in range(len(found)))


def _task_index(job: str, key: Any) -> int:
    """The number that a key is; in JSON it is a text."""
    whole = isinstance(key, int) and not isinstance(key, bool)
    if whole and key >= 0:
        return int(key)
    if isinstance(key, str) and key.isascii() and key.isdecimal():
        return int(key)
    raise ClusterError(f"{key!r} is no task of job {job!r}: tasks are numbered from 0")


_READERS: dict[type, Callable[[str, Any], tuple[str, ...]]] = {
    int: _counted,
    Mapping: _numbered,
    list: _listed,
    tuple: _listed,
}


def _refuse_shared_ports(jobs: Jobs) -> None:
    """Tasks share hosts; an address with a port is that of one task alone."""
    owners: dict[str, str] = {}
    for job, addresses in jobs.items():
        for index, address in enumerate(addresses):
            if address.strip("[]") == host_of(address):
                continue
            if address in owners:
                raise ClusterError(
                    f"{owners[address]} and {job}:{index} both have the address {address!r}: "
                    "a task has a port of its own, or none"
                )
            owners[address] = f"{job}:{index}"
