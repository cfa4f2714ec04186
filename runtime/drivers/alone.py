"""The roles of a session in one process: nobody else is there to talk to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import Box, Hear, Join, Overdue, Pause, Role, Spawn, Stop, Tell, Work


class AloneDriver:
    """Runs roles of one task, one after the other, until each waits."""

    rank = 0
    lost = ""
    """No task is ever gone."""

    def __init__(self) -> None:
        self._ready: deque[tuple[Running, int, Any]] = deque()
        self._boxes: dict[Box, deque[tuple[int, Any]]] = {}
        self._hearing: dict[Box, tuple[Running, int]] = {}
        self._lock = threading.RLock()

    def drive(self, role: Role) -> Any:
        """What ``role`` returns; its error is raised."""
        running = Running(self.rank, role)
        with self._lock:
            self._ready.append((running, 0, None))
            while not running.done:
                if self._ready:
                    self._resume(*self._ready.popleft())
                else:
                    self._resume(running, running.turn, Overdue())  # nobody will say anything
        if running.error is not None:
            raise running.error
        return running.result

    def _resume(self, running: Running, turn: int, value: Any) -> None:
        """Let a role go on, unless it has from this wait already, up to its next wait."""
        waits = running.done or running.turn != turn
        while not waits and (effect := running.advance(value)) is not None:
            waits, value = self._rules[type(effect)](self, running, effect)
        if running.done and running.joiner is not None:
            self._ready.append((*running.joiner, running.error))

    def _tell(self, running: Running, effect: Tell) -> tuple[bool, Any]:
        message = self.rank, effect.message
        waiting = self._hearing.pop(effect.box, None)
        if waiting is not None and waiting[0].turn == waiting[1]:
            self._ready.append((*waiting, message))
        else:
            self._boxes.setdefault(effect.box, deque()).append(message)
        return False, None

    def _hear(self, running: Running, effect: Hear) -> tuple[bool, Any]:
        if self._boxes.get(effect.box):
            return False, self._boxes[effect.box].popleft()
        self._hearing[effect.box] = running, running.turn
        return True, None

    def _work(self, running: Running, effect: Work) -> tuple[bool, Any]:
        try:
            return False, effect.function()
        except Exception as error:  # noqa: BLE001, it is raised where the role asked for it
            return False, error

    def _spawn(self, running: Running, effect: Spawn) -> tuple[bool, Any]:
        spawned = Running(self.rank, effect.role)
        self._ready.append((spawned, 0, None))
        return False, spawned

    def _join(self, running: Running, effect: Join) -> tuple[bool, Any]:
        handle: Running = effect.handle
        if handle.done:
            return False, handle.error
        handle.joiner = running, running.turn
        return True, None

    def _pause(self, running: Running, effect: Pause) -> tuple[bool, Any]:
        self._ready.append((running, running.turn, None))
        return True, None

    def _stop(self, running: Running, effect: Stop) -> tuple[bool, Any]:
        handle: Running = effect.handle
        handle.done = True
        return False, None

    _rules: ClassVar[dict[type[Any], Callable[[Any, Running, Any], tuple[bool, Any]]]] = {
        Tell: _tell,
        Hear: _hear,
        Work: _work,
        Spawn: _spawn,
        Join: _join,
        Pause: _pause,
        Stop: _stop,
    }
