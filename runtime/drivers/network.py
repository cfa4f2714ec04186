"""The made-up network of a simulated cluster: how it behaves, and what is on it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from graphc.runtime.drivers.running import Running
from graphc.runtime.effects import AllReduce, Await, Hear, Post


@dataclass(frozen=True)
class Network:
    """How the made-up cluster behaves.

    A message takes between ``latency`` and ``latency + jitter`` and its bytes over ``bandwidth``
    (bytes per second); control messages between two tasks keep their order, and so do transfers
    with one tag. ``synchronous``: a send ends only when it was received, as MPI's ``Issend``;
    otherwise its bytes are copied at once. Work that does not say what it takes takes ``compute``
    seconds; ``slowness`` multiplies that in some tasks. ``drop`` is the probability that a control
    message is lost. A death is known to other tasks after ``detection`` seconds, or never.
    """

    latency: float = 1e-6
    jitter: float = 1e-3
    bandwidth: float = 1e10
    synchronous: bool = True
    compute: float = 0.0
    slowness: dict[int, float] = field(default_factory=dict)
    drop: float = 0.0
    detection: float | None = 1.0


@dataclass(eq=False, slots=True)
class Ticket:
    """A transfer or a reduction that was begun."""

    memory: Any
    channel: tuple[int, int, int]
    """From, to, and the tag."""
    rank: int
    post: Post | AllReduce
    begun: float
    done: bool = False
    waiter: tuple[Running, int] | None = None
    awaited: float = 0.0


@dataclass(eq=False, slots=True)
class Mailbox:
    """What was told to a box and not heard yet, or who hears there, from when on."""

    messages: deque[tuple[int, Any]] = field(default_factory=deque)
    hearing: tuple[Running, int, Hear | Await, float] | None = None
