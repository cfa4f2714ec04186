"""In which order a task communicates in a step: what it tells its client, and what is checked.

Of a program only that is left which another task could wait for. Its events stand in *strands*,
each a sequence: strand 0 is the program itself; others, such as a reduction that goes on beside
the kernels, are forked and joined by the strand that needs them. Kernels wait for nobody, so they
leave no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from graphc.backends.loops.instructions import (
    Commit,
    Instruction,
    Receive,
    Reduce,
    Reduced,
    Send,
    Wait,
)
from graphc.backends.loops.program import Reduction
from graphc.ir.errors import GraphcError
from graphc.runtime.part import End, Part, Route


class Kind(IntEnum):
    """What an event does. Only ``WAIT``, ``JOIN`` and a ``COMMIT`` that is agreed on can wait."""

    POST = 0
    """A receive is posted."""
    SEND = 1
    """A send is begun."""
    WAIT = 2
    """The transfer of a message has ended at this end."""
    FORK = 3
    """Another strand of the task begins."""
    JOIN = 4
    """A strand that was forked has ended."""
    COMMIT = 5
    """Variables are written."""

    __hash__ = int.__hash__  # the one of enums takes longer than all else that is done to an event


class Event(NamedTuple):
    """An event; ``number`` is that of its message in the step, or of a strand (0 at a commit)."""

    kind: Kind
    number: int = 0


Strand: TypeAlias = Sequence[Event]


@dataclass(frozen=True, slots=True)
class Order:
    """What one task does in a step, as far as others are concerned."""

    task: str
    """Its name."""
    strands: Sequence[Strand]
    sends: Mapping[int, End] = field(default_factory=dict)
    receives: Mapping[int, End] = field(default_factory=dict)
    """The ends of its messages, by number."""


def strands_of(instructions: Iterable[Instruction], routes: Mapping[str, Route]) -> list[Strand]:
    """The strands of a program whose edges have these routes.

    Its reductions are forked and joined as strands 1, 2, ... in the order in which they begin;
    what stands in them depends on sizes.
    """
    main: list[Event] = []
    forked: dict[Reduction, int] = {}
    for instruction in instructions:
        if isinstance(instruction, (Receive, Send, Wait)):
            kind = _KINDS[type(instruction)]
            main.append(Event(kind, routes[instruction.transfer.edge].number))
        elif isinstance(instruction, Commit):
            main.append(Event(Kind.COMMIT))
        elif isinstance(instruction, Reduce):
            forked[instruction.reduction] = len(forked) + 1
            main.append(Event(Kind.FORK, forked[instruction.reduction]))
        elif isinstance(instruction, Reduced):
            main.append(Event(Kind.JOIN, forked[instruction.reduction]))
    return [main]


_KINDS: dict[type[Receive | Send | Wait], Kind] = {
    Receive: Kind.POST,
    Send: Kind.SEND,
    Wait: Kind.WAIT,
}


def order_of(task: str, part: Part, strands: Sequence[Strand]) -> Order:
    """The order of a task with ``part``, which said that its program has these strands."""
    return Order(task, strands, *part.ends)


def packed(strands: Iterable[Strand]) -> tuple[int, ...]:
    """Strands as they travel: an integer for each event, and one behind each strand."""
    found: list[int] = []
    for strand in strands:
        found += [event.number * _CODES + event.kind for event in strand]
        found.append(_END)
    return tuple(found)


def unpacked(codes: Iterable[int]) -> list[Strand]:
    """The strands that ``packed`` gave these integers for.

    Raises:
        GraphcError: integers that are none.
    """
    strands: list[Strand] = []
    strand: list[Event] = []
    for code in codes:
        if code == _END:
            strands.append(strand)
            strand = []
        elif not isinstance(code, int) or code < 0 or code % _CODES >= _END:
            raise GraphcError(f"the order of a program is damaged: {code!r} is no event")
        else:
            strand.append(Event(_KIND[code % _CODES], code // _CODES))
    if strand or not strands:
        raise GraphcError("the order of a program is damaged: a strand has no end")
    return strands


_KIND = tuple(Kind)
_CODES = 8
_END = len(Kind)
