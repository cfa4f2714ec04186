"""Transfers and reductions under way in one task, whoever carries them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.runtime.drivers.host.reducing import Reducing
from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import AllReduce, Post


@dataclass(eq=False, slots=True)
class Ticket:
    """A transfer or a reduction under way; it keeps what it was asked for, memory and all."""

    post: Post | AllReduce
    begun: float
    """When, as far as anybody wants to know."""
    request: Any = None
    """What MPI does for it now."""
    follows: Callable[[Ticket], bool] | None = None
    """What is done when that has ended; whether the transfer has then ended as well."""
    done: bool = False
    waiter: tuple[Running, int] | None = None
    awaited: float = 0.0
    withdrawn: bool = False

    @property
    def missing(self) -> tuple[int, ...]:
        """The ranks that a reduction waits for, if it is one over memory."""
        return self.request.missing if isinstance(self.request, Reducing) else ()
