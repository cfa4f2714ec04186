"""A task's part of a program, as its client makes it and as it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.runtime.messages import Register
from graphc.runtime.sharding import Sharding


@dataclass(frozen=True)
class Route:
    """Where an edge leads: its number in the step, and the task at its other end."""

    number: int
    peer: int


@dataclass(frozen=True)
class Part:
    """A graph for one task, and how it meets those of the others."""

    graph: Graph
    symbols: tuple[str, ...]
    """The sizes that each run tells, in order."""
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By edge."""
    once: bool = False
    """It initialises: variables that have a value keep it."""
    agree: bool = False
    """Variables are written only when the client says that all tasks have computed."""
    fetched: frozenset[str] = frozenset()
    """The edges whose tensors may be sent after the variables are written."""
    sharding: Sharding | None = None
    """How it shares a batch with others, if it does."""

    def message(self, session: int, program: int) -> Register:
        """This part as a message to its task."""
        constants: dict[str, npt.NDArray[Any]] = {}
        text = print_graph(self.graph, constants)
        return Register(
            session,
            program,
            text,
            self.symbols,
            tuple(self.routes),
            tuple(route.number for route in self.routes.values()),
            tuple(route.peer for route in self.routes.values()),
            self.once,
            self.agree,
            tuple(sorted(self.fetched)),
            () if self.sharding is None else self.sharding.encoded(),
            _packed(constants),
        )


def part_of(message: Register) -> Part:
    """The part that a message holds.

    Raises:
        ParseError: a graph or constants that were damaged.
    """
    routes = {
        edge: Route(number, peer)
        for edge, number, peer in zip(message.edges, message.numbers, message.peers, strict=True)
    }
    return Part(
        parse_graph(message.graph, _unpacked(message.constants)),
        message.symbols,
        routes,
        message.once,
        message.agree,
        frozenset(message.fetched),
        Sharding(*message.sharding) if message.sharding else None,
    )


def _packed(constants: Mapping[str, npt.NDArray[Any]]) -> bytes:
    if not constants:
        return b""
    from safetensors.numpy import save

    return save(dict(constants))


def _unpacked(data: bytes) -> dict[str, npt.NDArray[Any]]:
    if not data:
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except SafetensorError as error:
        raise ParseError(f"the constants of a program are damaged: {error}") from None
