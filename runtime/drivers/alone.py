"""The roles of a session in one process: nobody else is there to talk to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from graphc.runtime.drivers.roles import Roles, Rule
from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import Box, Hear, Overdue, Role, Tell, Work


class AloneDriver(Roles):
    """Runs roles of one task, one after the other, until each waits."""

    rank = 0
    lost = ""
    """No task is ever gone."""

    def __init__(self) -> None:
        super().__init__()
        self._boxes: dict[Box, deque[tuple[int, Any]]] = {}
        self._hearing: dict[Box, tuple[Running, int]] = {}
        self._lock = threading.RLock()

    def drive(self, role: Role) -> Any:
        """What ``role`` returns; its error is raised."""
        with self._lock:
            running = self.begin(role)
            while not running.done:
                if self._ready:
                    self._resume(*self._ready.popleft())
                else:
                    self._resume(running, running.turn, Overdue())  # nobody will say anything
        if running.error is not None:
            raise running.error
        return running.result

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

    rules: ClassVar[Mapping[type[Any], Rule]] = {
        **Roles.rules,
        Tell: _tell,
        Hear: _hear,
        Work: _work,
    }
