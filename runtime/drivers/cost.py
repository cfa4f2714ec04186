"""What a step would take on a cluster that nobody has: roles run without tensors, in virtual time.

What would be memory is its number of bytes, an int. ``CostSimulation`` runs the roles of all tasks,
event by event. ``Lockstep`` runs one role for all tasks at once where these do the same, each with
its own neighbours, and keeps a clock for each: thousands of ranks take it a second. Links carry
one message after another; a send ends when it was received.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphc.runtime.drivers.network import Network
from graphc.runtime.drivers.simulation import Event, Simulation, Stuck
from graphc.runtime.drivers.topology import Path, Topology
from graphc.runtime.effects import Await, Post, Role, Work

Times = npt.NDArray[np.float64]


class CostSimulation(Simulation):
    """A simulation over a topology, in which nothing is random.

    ``slowness`` multiplies what a task takes to compute.
    """

    def __init__(self, topology: Topology, slowness: Mapping[int, float] | None = None) -> None:
        super().__init__(0, Network(jitter=0.0, slowness=dict(slowness or {})))
        self._topology = topology
        self._free: dict[tuple[str, int], float] = {}
        """When a link has carried all that it was given."""

    def _size(self, memory: Any) -> int:
        size: int = memory
        return size

    def _move(self, source: Any, into: Any) -> None:
        """There is nothing to move."""

    def _carry(self, channel: Any, size: int, arrive: Event, *arguments: Any) -> None:
        path = self._topology.path(channel[0], channel[1])
        busy = path.wire.busy(size)
        left = self._occupy(path.out, self.now, busy)
        self._at(left, CostSimulation._enter, path, busy, arrive, arguments)

    def _enter(self, path: Path, busy: float, arrive: Event, arguments: tuple[Any, ...]) -> None:
        begin = self._occupy(path.into, self.now, busy)
        self._at(begin + busy + path.wire.latency, arrive, *arguments)

    def _occupy(self, link: tuple[str, int], ready: float, busy: float) -> float:
        """When a link begins to carry what is ready for it."""
        begin = max(ready, self._free.get(link, 0.0))
        self._free[link] = begin + busy
        return begin


@dataclass(eq=False, slots=True)
class _Ticket:
    """A transfer of each task: when it was begun, and when it ends, by rank."""

    begun: Times
    ends: Times | None = None


@dataclass(frozen=True)
class _Paths:
    """The ways of all tasks to the one that is ``distance`` behind each, by rank of the sender."""

    latency: Times
    message: Times
    byte: Times
    out: npt.NDArray[np.int64]
    into: npt.NDArray[np.int64]
    apart: bool
    """No two of them share a link."""


class Lockstep:
    """Runs the role of task 0 as that of ``tasks`` tasks, around the ring of ranks.

    What task 0 does with task d, task r does with task ``r + d``. So it is exact for plans that are
    the same from member to member but for being turned (``ring``, ``scattered``), with all chunks
    as long as task 0's. Links carry messages in the order in which the role begins them, and those
    that are begun together as they get ready: with a straggler, a link that many messages share is
    kept busy longer than by events.

    ``slowness`` multiplies what a task takes to compute.
    """

    def __init__(
        self, topology: Topology, tasks: int, slowness: Mapping[int, float] | None = None
    ) -> None:
        self.now = np.zeros(tasks)
        """The clock of each task."""
        self.messages = 0
        self.bytes_sent = 0
        """Of all tasks."""
        self._tasks, self._topology = tasks, topology
        self._slowness = np.ones(tasks)
        for rank, factor in (slowness or {}).items():
            self._slowness[rank] = factor
        self._links: dict[tuple[str, int], int] = {}
        self._free = np.zeros(0)
        self._paths: dict[int, _Paths] = {}
        self._sent: dict[int, deque[tuple[_Ticket, Times]]] = {}
        self._expected: dict[int, deque[_Ticket]] = {}
        """By distance from the sender to the receiver, in order."""

    def run(self, role: Role) -> Any:
        """What the role returns; the clocks say when each task has ended.

        Raises:
            Stuck: the role waits for what no task has begun.
        """
        value: Any = None
        while True:
            try:
                effect = role.send(value)
            except StopIteration as end:
                return end.value
            value = self._rules[type(effect)](self, effect)

    def _post(self, effect: Post) -> _Ticket:
        ticket = _Ticket(self.now.copy())
        if effect.sends:
            distance = effect.peer % self._tasks
            arrival = self._arrival(distance, effect.memory)
            self._sent.setdefault(distance, deque()).append((ticket, arrival))
            self.messages += self._tasks
            self.bytes_sent += self._tasks * effect.memory
        else:
            distance = -effect.peer % self._tasks
            self._expected.setdefault(distance, deque()).append(ticket)
        self._match(distance)
        return ticket

    def _match(self, distance: int) -> None:
        sent, expected = self._sent.get(distance), self._expected.get(distance)
        while sent and expected:
            (sender, arrival), receiver = sent.popleft(), expected.popleft()
            receiver.ends = np.maximum(receiver.begun, np.roll(arrival, distance))
            sender.ends = np.roll(receiver.ends, -distance)

    def _await(self, effect: Await) -> None:
        ticket: _Ticket = effect.ticket
        if ticket.ends is None:
            raise Stuck("every task waits for a transfer that no other task has begun")
        np.maximum(self.now, ticket.ends, out=self.now)

    def _work(self, effect: Work) -> Any:
        self.now += effect.seconds * self._slowness
        return effect.function()

    def _arrival(self, distance: int, size: int) -> Times:
        """When messages arrive, by rank of the sender."""
        found = self._paths.get(distance)
        paths = self._paths[distance] = found or self._find_paths(distance)
        busy = paths.message + size * paths.byte
        begin = self._occupy(paths.out, self.now, busy, paths.apart)
        return self._occupy(paths.into, begin, busy, paths.apart) + busy + paths.latency

    def _occupy(
        self, links: npt.NDArray[np.int64], ready: Times, busy: Times, apart: bool
    ) -> Times:
        """When links begin to carry what is ready for them."""
        if apart:
            begin = np.maximum(ready, self._free[links])
            self._free[links] = begin + busy
            return begin
        begin = np.empty(self._tasks)
        for rank in np.argsort(ready, kind="stable"):
            link = links[rank]
            begin[rank] = max(ready[rank], self._free[link])
            self._free[link] = begin[rank] + busy[rank]
        return begin

    def _find_paths(self, distance: int) -> _Paths:
        tasks = self._tasks
        paths = [self._topology.path(r, (r + distance) % tasks) for r in range(tasks)]
        out, into = [p.out for p in paths], [p.into for p in paths]
        numbers = [self._links.setdefault(k, len(self._links)) for k in (*out, *into)]
        self._free = np.append(self._free, np.zeros(len(self._links) - len(self._free)))
        return _Paths(
            np.array([p.wire.latency for p in paths]),
            np.array([p.wire.message for p in paths]),
            np.array([1 / p.wire.bandwidth for p in paths]),
            np.array(numbers[:tasks]),
            np.array(numbers[tasks:]),
            len({*out}) == len({*into}) == tasks,
        )

    _rules: ClassVar[dict[type[Any], Callable[[Any, Any], Any]]] = {
        Post: _post,
        Await: _await,
        Work: _work,
    }
