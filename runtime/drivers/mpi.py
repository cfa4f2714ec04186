"""Roles under MPI: one process a task, two communicators, one for control and one for data.

Whoever waits for a step makes the MPI calls itself and looks for progress; while nobody does, a
thread looks now and then, so that other tasks are served. All calls are nonblocking.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from graphc.runtime.drivers.clock import ClockService
from graphc.runtime.drivers.control import ControlChannel
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
from graphc.runtime.messages import Message
from graphc.runtime.timeline import Recorder

_SPIN = 50e-6
"""So long a wait keeps its core, if there is one for each task; then it offers it to others."""
_PATIENCE = 2e-3
"""After so long without progress a wait sleeps between looks."""
_NAPS = ((0.1, 5e-5), (2.0, 2e-4), (float("inf"), 1e-3))
"""How long, by how long nothing has come."""
_SERVICE = 1e-3
"""How often the thread looks while nobody else does."""
_CLOCKS_AT_START, _CLOCKS_AT_END = 60.0, 2.0
"""For so long ranks answer each other to compare their clocks."""
SYNCHRONOUS = "GRAPHC_SYNCHRONOUS_SENDS"
"""Set to 1, every send of data ends only when it was received: tests run so."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A transfer under way; it keeps what it was asked for, memory and all."""

    request: Any
    post: Post
    begun: float
    """When, as far as anybody wants to know."""
    done: bool = False
    waiter: tuple[Running, int] | None = None
    awaited: float = 0.0
    withdrawn: bool = False


class MpiDriver:
    """Runs the roles of this process. Making one is collective over ``communicator``."""

    def __init__(self, communicator: Any = None) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        world: Any = MPI.COMM_WORLD if communicator is None else communicator
        self._control, self._data = ControlChannel(world.Dup()), world.Dup()
        self.rank: int = world.rank
        self.size: int = world.size
        self.tags: int = (MPI.COMM_WORLD.Get_attr(MPI.TAG_UB) or 0) + 1
        """How many tags transfers may have, from 0 on."""
        self._synchronous = os.environ.get(SYNCHRONOUS) == "1"
        self._crowded = _size_here(world) > len(os.sched_getaffinity(0))
        self._ready: deque[tuple[Running, int, Any]] = deque()
        self._boxes: dict[int, deque[tuple[int, Any]]] = {}
        self._hearing: dict[int, tuple[Running, int, Hear, float]] = {}
        """By box the role that waits for a message, its turn, and since when."""
        self._transfers: list[Ticket] = []
        self._limits: dict[Running, tuple[float, int]] = {}
        """When the wait of a role, its turn, is overdue."""
        self._lock = threading.RLock()
        self._driven = time.perf_counter()
        self._closed = False
        self._recorder: Recorder | None = None
        self._clock: ClockService | None = None
        threading.Thread(target=self._serve, name="graphc-service", daemon=True).start()

    def start(self, role: Role) -> Running:
        """Run ``role`` beside all others, whenever the driver runs."""
        with self._lock:
            running = Running(self.rank, role)
            self._ready.append((running, 0, None))
            return running

    def drive(self, role: Role) -> Any:
        """What ``role`` returns; its error is raised."""
        return self.finish(self.start(role))

    def finish(self, running: Running) -> Any:
        """Run until a role that was started has ended; gives its result, raises its error."""
        with self._lock:
            quiet = time.perf_counter()
            try:
                while not running.done:
                    if self._look():
                        quiet = time.perf_counter()
                    else:
                        self._relax(time.perf_counter() - quiet)
            finally:
                running.done = True  # an interrupted wait is not taken up again
                self._driven = time.perf_counter()
        if running.error is not None:
            raise running.error
        return running.result

    def record(self, recorder: Recorder) -> None:
        """Record what the roles do from now on. Collective, for the clocks are compared."""
        with self._lock:
            self._clock = ClockService(self._data)
            self._compare_clocks(self._clock, recorder, _CLOCKS_AT_START)
            self._recorder = recorder

    def close(self) -> None:
        """Let what was told leave, and stop serving; the communicators are freed."""
        with self._lock:
            if self._closed:
                return
            while not self._control.has_left():
                self._look()
            self._closed = True
            if self._clock is not None and self._recorder is not None:
                self._recorder.flush()
                self._compare_clocks(self._clock, self._recorder, _CLOCKS_AT_END)
                self._recorder.close()
                self._clock.close()
            self._control.close()
            self._data.Free()

    @staticmethod
    def _compare_clocks(clock: ClockService, recorder: Recorder, seconds: float) -> None:
        sample = clock.compare(seconds)
        if sample is not None:
            recorder.clock(sample.at, sample.ahead, sample.bound)
        clock.finish(seconds)

    def _serve(self) -> None:
        """Look for progress while nobody else does, until the driver is closed."""
        while not self._closed:
            time.sleep(_SERVICE)
            if time.perf_counter() - self._driven < _SERVICE or not self._lock.acquire(False):
                continue
            try:
                self._expire()
                while not self._closed and self._look():
                    pass
                if self._recorder is not None and not self._closed:
                    self._recorder.flush()
            finally:
                self._lock.release()

    def _relax(self, quiet: float) -> None:
        """Wait a little, the longer the longer nothing has come."""
        if quiet > _PATIENCE:
            self._expire()
            if self._recorder is not None:
                self._recorder.flush()
            time.sleep(next(nap for end, nap in _NAPS if quiet < end))
        elif self._crowded or quiet > _SPIN:
            os.sched_yield()

    def _look(self) -> bool:
        """Run what can run, and see what has come; whether there was anything."""
        moved = self._go_on()
        heard = self._control.receive()
        if heard is not None:
            self._deliver(*heard)
            self._go_on()
        if self._clock is not None:
            self._clock.answer()
        ended = bool(self._transfers) and self._test()
        return moved or ended or heard is not None

    def _go_on(self) -> bool:
        """Run what can run; whether there was anything."""
        ready = self._ready
        moved = bool(ready)
        while ready:
            self._resume(*ready.popleft())
        return moved

    def _expire(self) -> None:
        """End the waits that are overdue."""
        now = time.perf_counter()
        for running, (end, turn) in list(self._limits.items()):
            if running.done or running.turn != turn:
                del self._limits[running]
            elif end <= now:
                self._ready.append((running, turn, Overdue()))

    def _test(self) -> bool:
        """Wake those whose transfers have ended."""
        ended = [ticket for ticket in self._transfers if ticket.request.Test()]
        for ticket in ended:
            self._end(ticket)
            if ticket.waiter is not None:
                self._ready.append((*ticket.waiter, None))
        return bool(ended)

    def _end(self, ticket: Ticket) -> None:
        ticket.done = True
        self._transfers.remove(ticket)
        if self._recorder is not None and not ticket.withdrawn:
            now = time.perf_counter()
            self._recorder.transfer(ticket.post, ticket.begun, now)
            if ticket.waiter is not None:
                self._recorder.wait(ticket.post, ticket.awaited, now)

    def _now(self) -> float:
        """The time, if anybody wants to know."""
        return 0.0 if self._recorder is None else time.perf_counter()

    def _resume(self, running: Running, turn: int, value: Any) -> None:
        """Let a role go on, unless it has from this wait already, up to its next wait."""
        waits = running.done or running.turn != turn
        while not waits and (effect := running.advance(value)) is not None:
            waits, value = self._rules[type(effect)](self, running, effect)

    def _tell(self, running: Running, effect: Tell) -> tuple[bool, Any]:
        if effect.to == self.rank:
            self._deliver(self.rank, effect.box, effect.message)
        else:
            self._control.send(effect.to, effect.box, effect.message)
        return False, None

    def _deliver(self, sender: int, box: int, message: Message) -> None:
        if box in self._hearing:
            running, turn, hear, since = self._hearing.pop(box)
            if running.waits_at(turn):
                self._ready.append((running, turn, (sender, message)))
                if self._recorder is not None:
                    self._recorder.wait(hear, since, time.perf_counter())
                return
        self._boxes.setdefault(box, deque()).append((sender, message))

    def _hear(self, running: Running, effect: Hear) -> tuple[bool, Any]:
        if self._boxes.get(effect.box):
            return False, self._boxes[effect.box].popleft()
        self._hearing[effect.box] = running, running.turn, effect, self._now()
        self._limit(running, effect.seconds)
        return True, None

    def _post(self, running: Running, effect: Post) -> tuple[bool, Any]:
        memory = [effect.memory, self._mpi.BYTE]
        begin = self._data.Irecv
        if effect.sends:
            begin = self._data.Issend if self._synchronous else self._data.Isend
        now = self._now()
        ticket = Ticket(begin(memory, effect.peer, effect.tag), effect, now)
        self._transfers.append(ticket)
        return False, ticket

    def _await(self, running: Running, effect: Await) -> tuple[bool, Any]:
        ticket: Ticket = effect.ticket
        if not ticket.done and ticket.request.Test():
            self._end(ticket)
        if ticket.done:
            return False, None
        ticket.waiter, ticket.awaited = (running, running.turn), self._now()
        self._limit(running, effect.seconds)
        return True, None

    def _withdraw(self, running: Running, effect: Withdraw) -> tuple[bool, Any]:
        ticket: Ticket = effect.ticket
        if not ticket.done:
            ticket.request.Cancel()
            ticket.waiter, ticket.withdrawn = None, True
        return False, None

    def _work(self, running: Running, effect: Work) -> tuple[bool, Any]:
        begin = self._now()
        try:
            return False, effect.function()
        except Exception as error:  # noqa: BLE001, it is raised where the role asked for it
            return False, error
        finally:
            if self._recorder is not None:
                self._recorder.work(effect, begin, time.perf_counter())

    def _spawn(self, running: Running, effect: Spawn) -> tuple[bool, Any]:
        return False, self.start(effect.role)

    def _stop(self, running: Running, effect: Stop) -> tuple[bool, Any]:
        handle: Running = effect.handle
        handle.done = True
        return False, None

    def _limit(self, running: Running, seconds: float | None) -> None:
        if seconds is not None:
            self._limits[running] = time.perf_counter() + seconds, running.turn

    _rules: ClassVar[dict[type[Any], Callable[[Any, Running, Any], tuple[bool, Any]]]] = {
        Tell: _tell,
        Hear: _hear,
        Post: _post,
        Await: _await,
        Withdraw: _withdraw,
        Work: _work,
        Spawn: _spawn,
        Stop: _stop,
    }


def _size_here(world: Any) -> int:
    """How many of the ranks are on this host."""
    from mpi4py import MPI

    here = world.Split_type(MPI.COMM_TYPE_SHARED)
    size: int = here.size
    here.Free()
    return size
