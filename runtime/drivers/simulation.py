"""A whole cluster in one process: virtual time, and one seed that decides every interleaving.

The roles, programs and kernels are those of a real cluster; only messages and clocks are made up.
Times are seconds. Nothing is random but by the seed, so a failing one replays exactly.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, ClassVar, TypeAlias

from graphc.runtime.drivers.gathering import Gathering, combined
from graphc.runtime.drivers.network import Mailbox, Network, Ticket
from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import (
    WORKER_BOX,
    AllReduce,
    Await,
    Box,
    Hear,
    Join,
    Overdue,
    Pause,
    Post,
    Role,
    Spawn,
    Stop,
    Tell,
    Withdraw,
    Work,
)
from graphc.runtime.messages import Lost
from graphc.runtime.timeline import Recorder

CONTROL_BYTES = 64
"""What a control message counts for on its way."""


_NO_CHANNEL = -1, -1, -1
"""That of a reduction: it goes between all."""


class Stuck(Exception):  # noqa: N818, it says how things stand
    """Roles wait, and nothing is under way that could wake them."""


Event: TypeAlias = Callable[..., None]
"""A method of the simulation that is called on it at its time: kept unbound, a queue of events does
not keep the simulation alive that it belongs to."""


class Simulation:
    """Runs roles until all that were asked for have ended, or nothing can happen any more.

    ``recorders`` of any of the tasks record what these do, in virtual time.
    """

    def __init__(
        self,
        seed: int = 0,
        network: Network | None = None,
        recorders: Mapping[int, Recorder] | None = None,
    ) -> None:
        self.network = network or Network()
        self._recorders = recorders or {}
        self.now = 0.0
        self.bytes_sent = 0
        """Of all transfers."""
        self.messages_sent = 0
        """Control messages."""
        self.dead: set[int] = set()
        self._draw = random.Random(seed).random  # noqa: S311, it decides nothing secret
        self._events: list[tuple[float, int, Event, tuple[Any, ...]]] = []
        self._order = count()
        self._roles: defaultdict[int, set[Running]] = defaultdict(set)
        """Those that have not ended, by task."""
        self._cut: dict[tuple[int, int], float] = {}
        """From when on what a dead task sent to another one does not arrive any more."""
        self._boxes: defaultdict[tuple[int, Box], Mailbox] = defaultdict(Mailbox)
        self._limits: dict[float, deque[tuple[float, Running, int]]] = {}
        """When waits are overdue, by how long they may take, in order."""
        self._last: dict[Any, float] = {}
        self._arrived: defaultdict[tuple[int, int, int], deque[Ticket]] = defaultdict(deque)
        self._expected: defaultdict[tuple[int, int, int], deque[Ticket]] = defaultdict(deque)
        self._gathering = Gathering()

    def spawn(self, rank: int, role: Role) -> Running:
        """Begin to run ``role`` in task ``rank``."""
        running = Running(rank, role)
        self._roles[rank].add(running)
        self._wake(running, running.turn)
        return running

    def run(self, *wanted: Running) -> None:
        """Go on until ``wanted`` have ended.

        Raises:
            Stuck: they never will; the message says what every role waits for.
        """
        for running in wanted:
            while not running.done:
                if not self._events:
                    raise Stuck(self._stuck())
                self.step()

    def step(self) -> None:
        """Let the next event take place."""
        self.now, _, event, arguments = heapq.heappop(self._events)
        event(self, *arguments)

    def _stuck(self) -> str:
        waiting = (r for _, roles in sorted(self._roles.items()) for r in roles)
        return "\n".join(f"task {r.rank}: {r.waits!r}" for r in waiting if not r.done)

    def kill(self, rank: int, at: float) -> None:
        """Let task ``rank`` end at time ``at``, in the middle of whatever it does.

        Of what it sent to each other task, the last that is under way is lost: some, all, nothing.
        """
        self._at(at, Simulation._kill, rank)

    def _kill(self, rank: int) -> None:
        self.dead.add(rank)
        for running in self._roles.pop(rank, ()):
            running.done = True
        for other in sorted(self._roles):
            self._cut[rank, other] = self.now + self._draw() * self.network.jitter
            if self.network.detection is not None:
                notice = self.now + self.network.detection * (0.5 + self._draw() / 2)
                notice = max(notice, self._cut[rank, other])
                self._at(notice, Simulation._deliver, (other, WORKER_BOX), (rank, Lost()))

    def _at(self, time: float, event: Event, *arguments: Any) -> None:
        heapq.heappush(self._events, (time, next(self._order), event, arguments))

    def _wake(self, running: Running, turn: int, value: Any = None, delay: float = 0.0) -> None:
        """Let a role go on with ``value``, unless it has gone on from this wait already."""
        jitter = self._draw() * self.network.jitter * 1e-3
        self._at(self.now + delay + jitter, Simulation._resume, running, turn, value)

    def _resume(self, running: Running, turn: int, value: Any) -> None:
        """Let a role go on, unless it has from this wait already, up to its next wait."""
        if running.done or running.turn != turn:
            return
        effect = running.advance(value)
        while (begin := self._begins.get(type(effect))) is not None:
            effect = running.advance(begin(self, running, effect))
        if effect is not None:
            self._waits[type(effect)](self, running, effect)
        else:
            self._roles[running.rank].discard(running)
            if running.joiner is not None:
                self._wake(*running.joiner, running.error)

    def _tell(self, running: Running, effect: Tell) -> None:
        self.messages_sent += 1
        if effect.to == running.rank or self._draw() >= self.network.drop:
            box = effect.to, effect.box
            message = running.rank, effect.message
            channel = running.rank, effect.to
            self._carry(channel, CONTROL_BYTES, Simulation._arrive_at, box, message)

    def _arrive_at(self, box: tuple[int, Box], message: tuple[int, Any]) -> None:
        if not self._is_cut(message[0], box[0]):
            self._deliver(box, message)

    def _is_cut(self, sender: int, receiver: int) -> bool:
        return bool(self._cut) and self._cut.get((sender, receiver), self.now) < self.now

    def _deliver(self, box: tuple[int, Box], message: tuple[int, Any]) -> None:
        if box[0] not in self.dead:
            mailbox = self._boxes[box]
            mailbox.messages.append(message)
            if mailbox.hearing is not None:
                self._hand_out(mailbox, *mailbox.hearing)

    def _hear(self, running: Running, effect: Hear) -> None:
        self._limit(running, effect.seconds)
        self._listen(running, effect, effect.box)

    def _listen(self, running: Running, effect: Hear | Await, box: Box) -> None:
        mailbox = self._boxes[running.rank, box]
        mailbox.hearing = running, running.turn, effect, self.now
        if mailbox.messages:
            self._hand_out(mailbox, *mailbox.hearing)

    def _hand_out(
        self, mailbox: Mailbox, running: Running, turn: int, hear: Hear | Await, since: float
    ) -> None:
        """Let who hears go on with the first message, unless it has gone on from this already."""
        if not running.waits_at(turn):
            return
        mailbox.hearing = None
        if isinstance(hear, Await):
            self._wake(running, turn, False)
            return
        self._wake(running, turn, mailbox.messages.popleft())
        if (recorder := self._recorders.get(running.rank)) and self.now > since:
            recorder.wait(hear, since, self.now)

    def _post(self, running: Running, effect: Post) -> Ticket:
        ends = (running.rank, effect.peer) if effect.sends else (effect.peer, running.rank)
        channel = (*ends, effect.tag)
        ticket = Ticket(effect.memory, channel, running.rank, effect, self.now)
        if effect.sends:
            self._send(ticket)
        else:
            self._expected[channel].append(ticket)
            self._match(channel)
        return ticket

    def _send(self, ticket: Ticket) -> None:
        size = self._size(ticket.memory)
        self.bytes_sent += size
        if not self.network.synchronous:
            ticket.memory, ticket.done = bytes(ticket.memory), True
        self._carry(ticket.channel, size, Simulation._arrive, ticket)

    def _arrive(self, ticket: Ticket) -> None:
        if self._is_cut(*ticket.channel[:2]):
            return
        self._arrived[ticket.channel].append(ticket)
        self._match(ticket.channel)

    def _match(self, channel: tuple[int, int, int]) -> None:
        arrived, expected = self._arrived.get(channel), self._expected.get(channel)
        if channel[1] in self.dead or (channel[0] in self.dead and self.network.synchronous):
            return
        while arrived and expected:
            sent, received = arrived.popleft(), expected.popleft()
            self._move(sent.memory, received.memory)
            self._end(received)
            self._end(sent)

    def _all_reduce(self, running: Running, effect: AllReduce) -> Ticket:
        """What all members have begun reaches each of them some time later."""
        ticket = Ticket(effect.memory, _NO_CHANNEL, running.rank, effect, self.now)
        if begun := self._gathering.begin(running.rank, effect, ticket):
            self._give([other for _, other in begun], combined(begun), effect.shared)
        return ticket

    def _give(self, tickets: Sequence[Ticket], total: Any, copies: bool) -> None:
        """Hand a sum to all members that live; to none if they copy it, and one dies before."""
        if not self.dead.isdisjoint(ticket.rank for ticket in tickets):
            return
        if copies:
            self._at(self._arrival(total.nbytes), Simulation._give, tickets, total, False)
            return
        for ticket in tickets:
            self._at(self._arrival(total.nbytes), Simulation._reduced, ticket, total)

    def _arrival(self, size: int) -> float:
        """When what leaves now arrives."""
        travel = self.network.latency + self._draw() * self.network.jitter
        return self.now + travel + size / self.network.bandwidth

    def _reduced(self, ticket: Ticket, total: Any) -> None:
        ticket.memory[...] = total
        self._end(ticket)

    def _size(self, memory: Any) -> int:
        """The bytes of what is transferred."""
        return memoryview(memory).nbytes

    def _move(self, source: Any, into: Any) -> None:
        memoryview(into).cast("B")[:] = memoryview(source).cast("B")

    def _end(self, ticket: Ticket) -> None:
        ticket.done = True
        recorder = self._recorders.get(ticket.rank)
        if recorder is not None:
            recorder.transfer(ticket.post, ticket.begun, self.now)
        if ticket.waiter is not None:
            self._wake(*ticket.waiter, True)
            ticket.waiter = None
            if recorder is not None:
                recorder.wait(ticket.post, ticket.awaited, self.now)

    def _await(self, running: Running, effect: Await) -> None:
        ticket: Ticket = effect.ticket
        if ticket.done:
            self._wake(running, running.turn, True)
            return
        ticket.waiter, ticket.awaited = (running, running.turn), self.now
        self._limit(running, effect.seconds)
        if effect.box is not None:
            self._listen(running, effect, effect.box)

    def _withdraw(self, running: Running, effect: Withdraw) -> None:
        ticket: Ticket = effect.ticket
        if not ticket.done:
            self._expected[ticket.channel].remove(ticket)

    def _work(self, running: Running, effect: Work) -> None:
        try:
            value = effect.function()
        except Exception as error:  # noqa: BLE001, it is raised where the role asked for it
            value = error
        slowness = self.network.slowness.get(running.rank, 1.0)
        delay = (effect.seconds or self.network.compute) * slowness
        self._wake(running, running.turn, value, delay)
        if recorder := self._recorders.get(running.rank):
            recorder.work(effect, self.now, self.now + delay)

    def _spawn(self, running: Running, effect: Spawn) -> Running:
        return self.spawn(running.rank, effect.role)

    def _join(self, running: Running, effect: Join) -> None:
        handle: Running = effect.handle
        if handle.done:
            self._wake(running, running.turn, handle.error)
        else:
            handle.joiner = running, running.turn

    def _pause(self, running: Running, effect: Pause) -> None:
        self._wake(running, running.turn)

    def _stop(self, running: Running, effect: Stop) -> None:
        handle: Running = effect.handle
        handle.done = True
        self._roles[handle.rank].discard(handle)

    def _limit(self, running: Running, seconds: float | None) -> None:
        if seconds is None:
            return
        limits = self._limits.setdefault(seconds, deque())
        if not limits:
            self._at(self.now + seconds, Simulation._expire, seconds)
        limits.append((self.now + seconds, running, running.turn))

    def _expire(self, seconds: float) -> None:
        """End the waits of so many seconds that are overdue, and look again at the next one's end.

        Most waits end long before: their limits cost no event each.
        """
        limits = self._limits[seconds]
        while limits:
            end, running, turn = limits[0]
            if running.waits_at(turn):
                if end > self.now:
                    self._at(end, Simulation._expire, seconds)
                    return
                self._wake(running, turn, Overdue(self._missing(running.waits)))
            limits.popleft()

    def _missing(self, waits: Any) -> tuple[int, ...]:
        """The members of a reduction over memory that it waits for, if that is what is awaited."""
        post = waits.ticket.post if isinstance(waits, Await) else None
        if not isinstance(post, AllReduce) or not post.shared:
            return ()
        return tuple(self.dead.intersection(post.members) or self._gathering.missing(post))

    def _carry(self, channel: Any, size: int, arrive: Event, *arguments: Any) -> None:
        """Let a message arrive: not before the one that was sent before it."""
        self._last[channel] = time = max(self._arrival(size), self._last.get(channel, 0.0))
        self._at(time, arrive, *arguments)

    _begins: ClassVar[dict[type[Any], Callable[[Any, Running, Any], Any]]] = {
        Tell: _tell,
        Post: _post,
        AllReduce: _all_reduce,
        Withdraw: _withdraw,
        Spawn: _spawn,
        Stop: _stop,
    }
    """After these a role goes on at once, with what they give."""
    _waits: ClassVar[dict[type[Any], Callable[[Any, Running, Any], None]]] = {
        Hear: _hear,
        Await: _await,
        Work: _work,
        Join: _join,
        Pause: _pause,
    }
    """After these it goes on later, and others in between."""
