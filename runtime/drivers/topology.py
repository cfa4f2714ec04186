"""What connects the tasks of a made-up cluster: which links a message goes over, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Wire:
    """One kind of connection.

    ``latency`` seconds pass beside other messages; ``message`` seconds and the bytes over
    ``bandwidth`` (bytes per second) keep the links at both ends busy.
    """

    latency: float
    message: float
    bandwidth: float

    def busy(self, size: int) -> float:
        """How many seconds a message of ``size`` bytes occupies a link."""
        return self.message + size / self.bandwidth


@dataclass(frozen=True, slots=True)
class Path:
    """The way of a message: out over link ``out``, in over link ``into``."""

    wire: Wire
    out: tuple[str, int]
    into: tuple[str, int]


class Topology(Protocol):
    """Says which way messages go."""

    def path(self, source: int, to: int) -> Path:
        """The way from one task to another."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every task has a link of its own in both directions, to one switch."""

    wire: Wire

    def path(self, source: int, to: int) -> Path:
        return Path(self.wire, ("out", source), ("in", to))


@dataclass(frozen=True, slots=True)
class Hosts:
    """``tasks`` tasks on each host, in order of their ranks.

    Within a host each has a link of its own in both directions; all share those of their host to
    the other hosts.
    """

    tasks: int
    inside: Wire
    between: Wire

    def path(self, source: int, to: int) -> Path:
        here, there = source // self.tasks, to // self.tasks
        if here == there:
            return Path(self.inside, ("out", source), ("in", to))
        return Path(self.between, ("host out", here), ("host in", there))
