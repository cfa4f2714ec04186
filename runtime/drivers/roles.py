"""What the drivers of one task's roles share: whose turn it is, and effects among these roles."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import Join, Pause, Role, Spawn, Stop

Rule: TypeAlias = Callable[[Any, Running, Any], tuple[bool, Any]]
"""Carries an effect out for a role; whether that has to wait, and else what it is told."""


class Roles:
    """The roles of task ``rank``; subclasses say what effects that go beyond them do."""

    rank: int

    def __init__(self) -> None:
        self._ready: deque[tuple[Running, int, Any]] = deque()
        """Roles that can go on from a turn, with what they are told."""

    def begin(self, role: Role) -> Running:
        """Let ``role`` run beside all others."""
        running = Running(self.rank, role)
        self._ready.append((running, 0, None))
        return running

    def _resume(self, running: Running, turn: int, value: Any) -> None:
        """Let a role go on, unless it has from this wait already, up to its next wait."""
        waits = running.done or running.turn != turn
        while not waits and (effect := running.advance(value)) is not None:
            waits, value = self.rules[type(effect)](self, running, effect)
        if running.done and running.joiner is not None:
            self._ready.append((*running.joiner, running.error))

    def _spawn(self, running: Running, effect: Spawn) -> tuple[bool, Any]:
        return False, self.begin(effect.role)

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

    rules: ClassVar[Mapping[type[Any], Rule]] = {
        Spawn: _spawn,
        Join: _join,
        Pause: _pause,
        Stop: _stop,
    }
