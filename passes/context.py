"""What a pass is, and what it is told besides the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from graphc.ir.graph import Graph
from graphc.ir.target import Target


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One run of a pass: how long it took, how many nodes went in and came out, what it noted."""

    name: str
    seconds: float
    before: int
    after: int
    changed: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassContext:
    """What passes read of the compilation they are part of.

    ``dump`` is a folder for the graph before and after each pass, made if it is missing.
    ``records`` grows by one entry for each pass that ran; ``notes`` holds what the pass that runs
    has to say about its decisions, line by line: what takes long to say, only if there is a folder
    to write it to.
    """

    target: Target
    dump: str | None = None
    records: list[PassRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Pass(Protocol):
    """A frozen dataclass of options. ``run`` returns its argument if it changes nothing."""

    @property
    def name(self) -> str:
        """How users switch the pass off, and what dumps and errors call it."""

    def run(self, graph: Graph, context: PassContext) -> Graph:
        """``graph`` rewritten; the argument is left as it is."""
