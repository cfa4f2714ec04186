"""A task's part of a program, as its client makes it and as it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.dims import Dim
from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.source import Source
from graphc.ir.text import print_graph
from graphc.runtime.messages import Register
from graphc.runtime.sharding import Sharding


@dataclass(frozen=True)
class Route:
    """Where an edge leads: its number in the step, and the task at its other end."""

    number: int
    peer: int


@dataclass(frozen=True, slots=True)
class End:
    """One end of a message, as its task knows it."""

    peer: int
    """The rank of the task at the other end."""
    label: str
    """The tensor, the op that makes it and the user's line, for people to read."""
    size: Dim | None = None
    """In bytes; None: not known."""
    tag: int | None = None
    """Messages between two tasks with one tag keep their order; None: no other message has it."""


@dataclass(frozen=True)
class Part:
    """A graph for one task, as text, and how it meets those of the others."""

    text: str
    constants: Mapping[str, npt.NDArray[Any]]
    """Those that the text names by their SHA-256."""
    symbols: tuple[str, ...]
    """The sizes that each run tells, in order."""
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By edge."""
    once: tuple[str, ...] = ()
    """The variables that it initialises: those that have a value keep it."""
    writers: tuple[int, ...] = ()
    """The tasks that have to agree before variables are written here, in order; maybe none."""
    fetched: frozenset[str] = frozenset()
    """The edges whose tensors may be sent after the variables are written."""
    sharding: Sharding | None = None
    """How it shares a batch with others, if it does."""

    @cached_property
    def graph(self) -> Graph:
        """What the text says.

        Raises:
            ParseError: it was damaged.
        """
        return parse_graph(self.text, self.constants)

    @cached_property
    def ends(self) -> tuple[Mapping[int, End], Mapping[int, End]]:
        """The ends of the messages that it sends, and of those that it receives, by number."""
        sends: dict[int, End] = {}
        receives: dict[int, End] = {}
        for node in self.graph.nodes:
            if node.op.name == "send":
                route, value = self.routes[node.attrs["edge"]], node.inputs[0]
                label = _label(node.attrs["edge"], value.node.op.name, node.source)
                sends[route.number] = End(route.peer, label, value.type.bytes)
            elif node.op.name == "recv":
                route = self.routes[node.attrs["edge"]]
                label = _label(node.attrs["edge"], "recv", node.source)
                receives[route.number] = End(route.peer, label, node.types[0].bytes)
        return sends, receives

    def message(self, session: int, program: int) -> Register:
        """This part as a message to its task."""
        return Register(
            session,
            program,
            self.text,
            self.symbols,
            tuple(self.routes),
            tuple(route.number for route in self.routes.values()),
            tuple(route.peer for route in self.routes.values()),
            self.once,
            self.writers,
            tuple(sorted(self.fetched)),
            () if self.sharding is None else self.sharding.encoded(),
            _packed(self.constants),
        )


def _label(edge: str, op: str, source: Source | None) -> str:
    tensor = edge.partition("->")[0]
    return f"{tensor} ({op})" if source is None else f"{tensor} ({op}, {source})"


def printed(graph: Graph) -> tuple[str, dict[str, npt.NDArray[Any]]]:
    """The text of ``graph`` and its large constants, as a ``Part`` begins."""
    constants: dict[str, npt.NDArray[Any]] = {}
    return print_graph(graph, constants), constants


def part_of(message: Register) -> Part:
    """The part that a message holds.

    Raises:
        ParseError: constants that were damaged.
    """
    routes = {
        edge: Route(number, peer)
        for edge, number, peer in zip(message.edges, message.numbers, message.peers, strict=True)
    }
    return Part(
        message.graph,
        _unpacked(message.constants),
        message.symbols,
        routes,
        message.once,
        message.writers,
        frozenset(message.fetched),
        Sharding(*message.sharding) if message.sharding else None,
    )


def _packed(constants: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """As bytes alone, whatever their dtype: the text tells it, and NumPy has names for few."""
    if not constants:
        return b""
    from safetensors.numpy import save

    flat = {name: np.ascontiguousarray(a).reshape(-1) for name, a in constants.items()}
    return save({name: array.view(np.uint8) for name, array in flat.items()})


def _unpacked(data: bytes) -> dict[str, npt.NDArray[Any]]:
    if not data:
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except SafetensorError as error:
        raise ParseError(f"the constants of a program are damaged: {error}") from None
