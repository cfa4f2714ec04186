"""A role that a driver runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.runtime.effects import Effect, Role


@dataclass(eq=False, slots=True)
class Running:
    """A role on its way: its result or its error once it has ended."""

    rank: int
    role: Role
    result: Any = None
    error: BaseException | None = None
    done: bool = False
    waits: Effect | None = None
    """What it asked for last."""
    joiner: tuple[Running, int] | None = None
    """Who waits for its end, in which turn."""
    turn: int = 0
    """Counts what it waited for: a wake-up for an earlier wait comes too late."""

    def waits_at(self, turn: int) -> bool:
        """Whether it still waits for what it asked for at that turn."""
        return self.turn == turn and not self.done

    def advance(self, value: Any) -> Effect | None:
        """Tell the role a result, or raise an error in it; what it asks for next, if it goes on."""
        self.turn += 1
        role = self.role
        try:
            effect = role.throw(value) if isinstance(value, Exception) else role.send(value)
        except StopIteration as end:
            self.done, self.result = True, end.value
        except Exception as raised:  # noqa: BLE001, it is what the role ended with
            self.done, self.error = True, raised
        else:
            self.waits = effect
            if not self.done:
                return effect
        return None
