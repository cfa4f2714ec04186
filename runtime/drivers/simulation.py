"""A whole cluster in one process: virtual time, and one seed that decides every interleaving.

The roles, programs and kernels are those of a real cluster; only messages and clocks are made up.
Times are seconds. Nothing is random but by the seed, so a failing one replays exactly.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import (
    Await,
    Hear,
    Overdue,
    Post,
    Role,
    Spawn,
    Stop,
    Tell,
    Withdraw,
    Work,
)

WAITING = frozenset({Hear, Await, Work})
"""After these a role goes on later, and others in between; after all else at once."""
CONTROL_BYTES = 64
"""What a control message counts for on its way."""


@dataclass(frozen=True)
class Network:
    """How the made-up cluster behaves.

    A message takes between ``latency`` and ``latency + jitter`` and its bytes over ``bandwidth``
    (bytes per second); control messages between two tasks keep their order, and so do transfers
    with one tag. ``synchronous``: a send ends only when it was received, as MPI's ``Issend``;
    otherwise its bytes are copied at once. ``slowness`` multiplies what a task takes to compute;
    ``drop`` is the probability that a control message is lost.
    """

    latency: float = 1e-6
    jitter: float = 1e-3
    bandwidth: float = 1e10
    synchronous: bool = True
    slowness: dict[int, float] = field(default_factory=dict)
    drop: float = 0.0


class Stuck(Exception):  # noqa: N818, it says how things stand
    """Roles wait, and nothing is under way that could wake them."""


@dataclass(eq=False)
class Ticket:
    """A transfer that was begun."""

    memory: Any
    channel: tuple[int, int, int]
    """From, to, and the tag."""
    done: bool = False
    waiter: tuple[Running, int] | None = None


class Simulation:
    """Runs roles until all that were asked for have ended, or nothing can happen any more."""

    def __init__(self, seed: int = 0, network: Network | None = None) -> None:
        self.network = network or Network()
        self.now = 0.0
        self.bytes_sent = 0
        """Of all transfers."""
        self.messages_sent = 0
        """Control messages."""
        self.dead: set[int] = set()
        self._random = random.Random(seed)  # noqa: S311, it decides nothing secret
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._roles: list[Running] = []
        self._boxes: dict[tuple[int, int], deque[tuple[int, Any]]] = {}
        self._hearing: dict[tuple[int, int], tuple[Running, int]] = {}
        self._last: dict[Any, float] = {}
        self._arrived: dict[tuple[int, int, int], deque[Ticket]] = {}
        self._expected: dict[tuple[int, int, int], deque[Ticket]] = {}

    def spawn(self, rank: int, role: Role) -> Running:
        """Begin to run ``role`` in task ``rank``."""
        running = Running(rank, role)
        self._roles.append(running)
        self._wake(running, running.turn)
        return running

    def run(self, *wanted: Running) -> None:
        """Go on until ``wanted`` have ended.

        Raises:
            Stuck: they never will; the message says what every role waits for.
        """
        while not all(running.done for running in wanted):
            if not self._events:
                left = [r for r in self._roles if not r.done]
                raise Stuck("\n".join(f"task {r.rank}: {r.waits!r}" for r in left))
            self.now, _, event = heapq.heappop(self._events)
            event()

    def kill(self, rank: int, at: float) -> None:
        """Let task ``rank`` end at time ``at``, in the middle of whatever it does."""
        self._at(at, lambda: self._kill(rank))

    def _kill(self, rank: int) -> None:
        self.dead.add(rank)
        for running in self._roles:
            if running.rank == rank:
                running.done = True

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def _wake(self, running: Running, turn: int, value: Any = None, delay: float = 0.0) -> None:
        """Let a role go on with ``value``, unless it has gone on from this wait already."""
        jitter = self._random.random() * self.network.jitter * 1e-3
        self._at(self.now + delay + jitter, lambda: self._resume(running, turn, value))

    def _resume(self, running: Running, turn: int, value: Any) -> None:
        going = not running.done and running.turn == turn
        while going and (effect := running.advance(value)) is not None:
            value = self._rules[type(effect)](self, running, effect)
            going = type(effect) not in WAITING

    def _tell(self, running: Running, effect: Tell) -> None:
        self.messages_sent += 1
        if effect.to == running.rank or self._random.random() >= self.network.drop:
            box = effect.to, effect.box
            message = running.rank, effect.message
            channel = running.rank, effect.to
            self._carry(channel, CONTROL_BYTES, lambda: self._deliver(box, message))

    def _deliver(self, box: tuple[int, int], message: tuple[int, Any]) -> None:
        if box[0] not in self.dead:
            self._boxes.setdefault(box, deque()).append(message)
            self._hand_out(box)

    def _hear(self, running: Running, effect: Hear) -> None:
        box = running.rank, effect.box
        self._hearing[box] = running, running.turn
        self._limit(running, effect.seconds)
        self._hand_out(box)

    def _hand_out(self, box: tuple[int, int]) -> None:
        waiting = self._hearing.get(box)
        if waiting is None or waiting[0].turn != waiting[1] or not self._boxes.get(box):
            return
        del self._hearing[box]
        self._wake(*waiting, self._boxes[box].popleft())

    def _post(self, running: Running, effect: Post) -> Ticket:
        ends = (running.rank, effect.peer) if effect.sends else (effect.peer, running.rank)
        ticket = Ticket(effect.memory, (*ends, effect.tag))
        if effect.sends:
            self._send(ticket)
        else:
            self._expected.setdefault(ticket.channel, deque()).append(ticket)
            self._match(ticket.channel)
        return ticket

    def _send(self, ticket: Ticket) -> None:
        size = self._size(ticket.memory)
        self.bytes_sent += size
        if not self.network.synchronous:
            ticket.memory, ticket.done = bytes(ticket.memory), True
        self._carry(ticket.channel, size, lambda: self._arrive(ticket))

    def _arrive(self, ticket: Ticket) -> None:
        self._arrived.setdefault(ticket.channel, deque()).append(ticket)
        self._match(ticket.channel)

    def _match(self, channel: tuple[int, int, int]) -> None:
        arrived, expected = self._arrived.get(channel), self._expected.get(channel)
        while arrived and expected and channel[1] not in self.dead:
            sent, received = arrived.popleft(), expected.popleft()
            self._move(sent.memory, received.memory)
            self._end(received)
            self._end(sent)

    def _size(self, memory: Any) -> int:
        """The bytes of what is transferred."""
        return memoryview(memory).nbytes

    def _move(self, source: Any, into: Any) -> None:
        memoryview(into).cast("B")[:] = memoryview(source).cast("B")

    def _end(self, ticket: Ticket) -> None:
        ticket.done = True
        if ticket.waiter is not None:
            self._wake(*ticket.waiter)

    def _await(self, running: Running, effect: Await) -> None:
        ticket: Ticket = effect.ticket
        if ticket.done:
            self._wake(running, running.turn)
        else:
            ticket.waiter = running, running.turn
            self._limit(running, effect.seconds)

    def _withdraw(self, running: Running, effect: Withdraw) -> None:
        ticket: Ticket = effect.ticket
        if not ticket.done:
            self._expected[ticket.channel].remove(ticket)

    def _work(self, running: Running, effect: Work) -> None:
        try:
            value = effect.function()
        except Exception as error:  # noqa: BLE001, it is raised where the role asked for it
            value = error
        delay = effect.seconds * self.network.slowness.get(running.rank, 1.0)
        self._wake(running, running.turn, value, delay)

    def _spawn(self, running: Running, effect: Spawn) -> Running:
        return self.spawn(running.rank, effect.role)

    def _stop(self, running: Running, effect: Stop) -> None:
        handle: Running = effect.handle
        handle.done = True

    def _limit(self, running: Running, seconds: float | None) -> None:
        if seconds is not None:
            self._wake(running, running.turn, Overdue(), seconds)

    def _carry(self, channel: Any, size: int, arrive: Callable[[], None]) -> None:
        """Let a message arrive: not before the one that was sent before it."""
        travel = self.network.latency + self._random.random() * self.network.jitter
        time = self.now + travel + size / self.network.bandwidth
        self._last[channel] = max(time, self._last.get(channel, 0.0))
        self._at(self._last[channel], arrive)

    _rules: ClassVar[dict[type[Any], Callable[[Any, Running, Any], Any]]] = {
        Tell: _tell,
        Hear: _hear,
        Post: _post,
        Await: _await,
        Withdraw: _withdraw,
        Work: _work,
        Spawn: _spawn,
        Stop: _stop,
    }
