"""Roles under MPI, in one process a task: who waits for a step makes the calls of MPI itself.

While nobody does, a thread looks for progress now and then, so that other tasks are served. All
calls are nonblocking.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy.typing as npt

from graphc.ir.errors import ClusterError
from graphc.runtime.drivers.clock import ClockService
from graphc.runtime.drivers.passing import MessagePassing
from graphc.runtime.drivers.roles import Roles, Rule
from graphc.runtime.drivers.running import Running
from graphc.runtime.drivers.tickets import Ticket
from graphc.runtime.effects import (
    AllReduce,
    Await,
    Box,
    Hear,
    Overdue,
    Post,
    Role,
    Tell,
    Withdraw,
    Work,
)
from graphc.runtime.memory import out_of_memory
from graphc.runtime.messages import Message
from graphc.runtime.tags import MOST_TAGS
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
_PARTING = 1.0
"""So many seconds a task waits for the others when it closes."""
_TO_EXPLAIN = 1.0
"""Seconds after an error of MPI for who watches over the tasks to tell which one died."""
SYNCHRONOUS = "GRAPHC_SYNCHRONOUS_SENDS"
"""Set to 1, every send of data ends only when it was received: tests run so."""


class MpiDriver(Roles):
    """Runs the roles of this process. Making one is collective over ``communicator``."""

    def __init__(self, communicator: Any = None) -> None:
        from mpi4py import MPI

        super().__init__()
        self._mpi = MPI
        world: Any = MPI.COMM_WORLD if communicator is None else communicator
        synchronous = os.environ.get(SYNCHRONOUS) == "1"
        self._passing = MessagePassing(world, synchronous=synchronous)
        self.rank: int = world.rank
        self.size: int = world.size
        self.tags = min(MOST_TAGS, 1 + (MPI.COMM_WORLD.Get_attr(MPI.TAG_UB) or 0))
        """How many tags of transfers there are."""
        self._crowded = self._passing.tasks_here > len(os.sched_getaffinity(0))
        self._boxes: dict[Box, deque[tuple[int, Any]]] = {}
        self._hearing: dict[Box, tuple[Running, int, Hear | Await, float]] = {}
        """By box the role that waits for a message, its turn, and since when."""
        self._limits: dict[Running, tuple[float, int]] = {}
        """When the wait of a role, its turn, is overdue."""
        self._lock = threading.RLock()
        self._driven = time.perf_counter()
        self._closed = False
        self._recorder: Recorder | None = None
        self._clock: ClockService | None = None
        self.lost = ""
        """Why no role can be run any more, if so."""
        threading.Thread(target=self._serve, name="graphc-service", daemon=True).start()

    def make_groups(self, members: Sequence[int], count: int) -> None:
        """Make so many communicators of ``members``, for ``AllReduce``. Collective over all."""
        with self._lock:
            self._passing.communicators.make(self._passing.data, members, count)

    @property
    def shares_memory(self) -> bool:
        """Whether the members can make reductions over memory; after ``make_groups``."""
        return self._passing.communicators.share_memory

    def start(self, role: Role) -> Running:
        """Run ``role`` beside all others, whenever the driver runs."""
        with self._lock:
            return self.begin(role)

    def drive(self, role: Role) -> Any:
        """What ``role`` returns; its error is raised."""
        return self.finish(self.start(role))

    def finish(self, running: Running) -> Any:
        """Run until a role that was started has ended; gives its result, raises its error."""
        with self._lock:
            quiet = time.perf_counter()
            try:
                while not self.lost:
                    if self._ready:
                        self._go_on()
                        quiet = time.perf_counter()
                    if running.done:
                        break
                    if not self._look():
                        self._relax(time.perf_counter() - quiet)
            except self._mpi.Exception as error:
                self._explain(error)
            finally:
                ended, running.done = running.done, True  # what was interrupted is not taken up
                self._driven = time.perf_counter()
        if self.lost and not ended:
            raise ClusterError(self.lost)
        if running.error is not None:
            raise running.error
        return running.result

    def record(self, recorder: Recorder) -> None:
        """Record what the roles do from now on. Collective, for the clocks are compared."""
        with self._lock:
            self._clock = ClockService(self._passing.data)
            self._compare_clocks(self._clock, recorder, _CLOCKS_AT_START)
            self._recorder = recorder

    def gather(self, own: bytes) -> list[bytes]:
        """What every process gives, by rank, all of one length; collective."""
        size = len(own)
        found = bytearray(size * self.size)
        with self._lock:
            self._passing.data.Allgather([own, self._mpi.BYTE], [found, self._mpi.BYTE])
        return [bytes(found[i : i + size]) for i in range(0, len(found), size)]

    def fail(self, reason: str) -> None:
        """End all waits, now and from now on, with a ClusterError: some task is gone.

        May be called from any thread, and while another one drives.
        """
        self.lost = self.lost or reason

    def close(self) -> None:
        """Let what was told leave, and stop serving; the communicators are freed.

        After ``fail`` they are left alone.
        """
        with self._lock:
            if self._closed:
                return
            while not self.lost and not self._passing.control.has_left():
                self._look()
                self._go_on()
            if not self.lost:
                self._part()
            self._closed = True
            if not self.lost:
                self._end_recording()
                self._passing.close()
        self.fail("the server of this process was closed")

    def _part(self) -> None:
        """Look for progress until all others close, or for some time.

        With some MPI libraries a send ends only if the receiver looks once more after it has
        received: who left at once would leave others waiting.
        """
        end = time.perf_counter() + _PARTING
        parted = self._passing.data.Ibarrier()
        while not self.lost and not parted.Test() and time.perf_counter() < end:
            self._look()
            self._go_on()
            os.sched_yield()

    def allocate(self, size: int) -> npt.NDArray[Any]:
        """Bytes for what is sent, where tasks of this host can read them; like ``aligned``."""
        return self._passing.allocate(size)

    def _end_recording(self) -> None:
        if self._clock is not None and self._recorder is not None:
            self._recorder.flush()
            self._compare_clocks(self._clock, self._recorder, _CLOCKS_AT_END)
            self._recorder.close()
            self._clock.close()

    @staticmethod
    def _compare_clocks(clock: ClockService, recorder: Recorder, seconds: float) -> None:
        sample = clock.compare(seconds)
        if sample is not None:
            recorder.clock(sample.at, sample.ahead, sample.bound)
        clock.finish(seconds)

    def _serve(self) -> None:
        """Look for progress while nobody else does, until the driver is closed."""
        while not self._closed and not self.lost:
            time.sleep(_SERVICE)
            if time.perf_counter() - self._driven < _SERVICE or not self._lock.acquire(False):
                continue
            try:
                self._expire()
                while not self._closed and (self._ready or self._look()):
                    self._go_on()
                if self._recorder is not None and not self._closed:
                    self._recorder.flush()
                self._passing.collect()
            except self._mpi.Exception as error:
                self._explain(error)
            finally:
                self._lock.release()

    def _explain(self, error: Exception) -> None:
        """Fail after an error of MPI: for the reason that is told soon, or else for the error."""
        deadline = time.perf_counter() + _TO_EXPLAIN
        while not self.lost and time.perf_counter() < deadline:
            time.sleep(_SERVICE)
        self.fail(f"a task of the cluster cannot be reached: {error}")

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
        """See what has come; whether anything has, or some role can run."""
        heard = self._take_message()
        if self._clock is not None:
            self._clock.answer()
        ended = self._passing.ended() if self._passing.under_way else ()
        for ticket in ended:
            self._end(ticket)
        return heard or bool(ended) or bool(self._ready)

    def _take_message(self) -> bool:
        """Deliver a message that has come, if there is one."""
        heard = self._passing.control.receive()
        if heard is not None:
            self._deliver(*heard)
        return heard is not None

    def _go_on(self) -> None:
        """Run what can run."""
        ready = self._ready
        for _ in range(len(ready)):  # those that pause come again after a look
            self._resume(*ready.popleft())

    def _expire(self) -> None:
        """End the waits that are overdue."""
        now = time.perf_counter()
        for running, (end, turn) in list(self._limits.items()):
            if running.done or running.turn != turn:
                del self._limits[running]
            elif end <= now:
                waits = running.waits
                missing = waits.ticket.missing if isinstance(waits, Await) else ()
                self._ready.append((running, turn, Overdue(missing)))

    def _end(self, ticket: Ticket) -> None:
        """A transfer has ended: whoever waits for it goes on."""
        ticket.done = True
        if ticket.waiter is not None:
            self._ready.append((*ticket.waiter, True))
        if self._recorder is not None and not ticket.withdrawn:
            now = time.perf_counter()
            self._recorder.transfer(ticket.post, ticket.begun, now)
            if ticket.waiter is not None:
                self._recorder.wait(ticket.post, ticket.awaited, now)

    def _now(self) -> float:
        """The time, if anybody wants to know."""
        return 0.0 if self._recorder is None else time.perf_counter()

    def _tell(self, running: Running, effect: Tell) -> tuple[bool, Any]:
        if effect.to == self.rank:
            self._deliver(self.rank, effect.box, effect.message)
        else:
            assert isinstance(effect.box, int), "only roles of one task share other boxes"
            self._passing.control.send(effect.to, effect.box, effect.message)
        return False, None

    def _deliver(self, sender: int, box: Box, message: Message) -> None:
        if box in self._hearing:
            running, turn, hear, since = self._hearing.pop(box)
            if isinstance(hear, Await):
                self._ready.append((running, turn, False))
            elif running.waits_at(turn):
                self._ready.append((running, turn, (sender, message)))
                if self._recorder is not None:
                    self._recorder.wait(hear, since, time.perf_counter())
                return
        self._boxes.setdefault(box, deque()).append((sender, message))

    def _hear(self, running: Running, effect: Hear) -> tuple[bool, Any]:
        box = effect.box
        if self._boxes.get(box) or (self._take_message() and self._boxes.get(box)):
            return False, self._boxes[box].popleft()
        self._hearing[box] = running, running.turn, effect, self._now()
        self._limit(running, effect.seconds)
        return True, None

    def _post(self, running: Running, effect: Post | AllReduce) -> tuple[bool, Any]:
        ticket = Ticket(effect, self._now())
        try:
            self._passing.begin(ticket)
        except MemoryError as error:
            return False, out_of_memory(error)
        return False, ticket

    def _await(self, running: Running, effect: Await) -> tuple[bool, Any]:
        ticket: Ticket = effect.ticket
        if not ticket.done and self._passing.test(ticket):
            self._end(ticket)
        box = effect.box
        if ticket.done or (box is not None and self._boxes.get(box)):
            return False, ticket.done
        if box is not None:
            self._hearing[box] = running, running.turn, effect, 0.0
        ticket.waiter, ticket.awaited = (running, running.turn), self._now()
        self._limit(running, effect.seconds)
        return True, None

    def _withdraw(self, running: Running, effect: Withdraw) -> tuple[bool, Any]:
        ticket: Ticket = effect.ticket
        if not ticket.done:
            ticket.request.Cancel()
            ticket.waiter, ticket.withdrawn = None, True
            if self._passing.test(ticket):
                self._end(ticket)
        return False, None

    def _work(self, running: Running, effect: Work) -> tuple[bool, Any]:
        if not effect.aside:
            return False, self._done(effect)
        given = running, running.turn, effect
        threading.Thread(target=self._do_aside, args=given, name="graphc-work", daemon=True).start()
        return True, None

    def _do_aside(self, running: Running, turn: int, effect: Work) -> None:
        self._ready.append((running, turn, self._done(effect)))

    def _done(self, effect: Work) -> Any:
        """What work gives, or its error."""
        begin = self._now()
        try:
            return effect.function()
        except Exception as error:  # noqa: BLE001, it is raised where the role asked for it
            return error
        finally:
            if self._recorder is not None:
                self._recorder.work(effect, begin, time.perf_counter())

    def _limit(self, running: Running, seconds: float | None) -> None:
        if seconds is not None:
            self._limits[running] = time.perf_counter() + seconds, running.turn

    rules: ClassVar[Mapping[type[Any], Rule]] = {
        **Roles.rules,
        Tell: _tell,
        Hear: _hear,
        Post: _post,
        AllReduce: _post,
        Await: _await,
        Withdraw: _withdraw,
        Work: _work,
    }
