"""Control messages between masters and workers, and their form on the wire.

Those of every step are a few integers; those that carry texts are JSON, with bytes behind it.
Nothing is pickled. A message is a tuple of what is sent, so that nothing has to be taken apart.
``session`` is the box of the session in the client's process, so that, with the sender, it names
the session in the whole cluster.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from graphc.ir.errors import GraphcError


class Register(NamedTuple):
    """Client to worker: compile ``graph``, the part of a program for this task's device."""

    session: int
    program: int
    graph: str
    symbols: tuple[str, ...]
    """The sizes that each run tells, in order."""
    edges: tuple[str, ...]
    numbers: tuple[int, ...]
    peers: tuple[int, ...]
    """For each edge of the graph its number in the step, and the task at its other end."""
    once: tuple[str, ...]
    """The variables that it initialises: those that have a value keep it."""
    writers: tuple[int, ...]
    """The tasks that have to agree before variables are written here, in order; maybe none."""
    fetched: tuple[str, ...]
    """The edges whose tensors may be sent after the variables are written."""
    sharding: tuple[Any, ...]
    """How the part shares a batch with others (``Sharding.encoded``), or nothing."""
    constants: bytes
    """The graph's large constants, in safetensors."""


class Registered(NamedTuple):
    """Worker to client: the program is compiled."""

    program: int
    missing: tuple[str, ...]
    """The variables that it reads and that have no value."""
    order: tuple[int, ...]
    """In which order it communicates: see ``order.packed``."""


class Refused(NamedTuple):
    """Worker to client: the program cannot be registered."""

    program: int
    kind: str
    text: str


class Run(NamedTuple):
    """Client to worker: compute one step; transfer number n of the step has tag ``tag + n``."""

    session: int
    program: int
    step: int
    tag: int
    sizes: tuple[int, ...]


class Computed(NamedTuple):
    """Worker to client: the step is computed here; unless tasks have to agree, committed too."""

    step: int


class Failed(NamedTuple):
    """Worker to client: the step failed here, and nothing was written."""

    step: int
    kind: str
    text: str


class Commit(NamedTuple):
    """Client to worker: all tasks have computed; write the variables."""

    session: int
    step: int


class Committed(NamedTuple):
    """Worker to client: the variables are written."""

    step: int


class Abort(NamedTuple):
    """Client to worker: stop computing; begin no more transfers.

    It repeats what ``Run`` said: who never heard that can still take what was sent to it.
    """

    session: int
    program: int
    step: int
    tag: int
    sizes: tuple[int, ...]


class Aborted(NamedTuple):
    """Worker to client: stopped; ``sent`` are the transfers that it began to send, by number."""

    step: int
    sent: tuple[int, ...]


class Drain(NamedTuple):
    """Client to worker: of the receives, only those of ``sent`` will end; give up the others."""

    session: int
    step: int
    sent: tuple[int, ...]


class Drained(NamedTuple):
    """Worker to client: no transfer of the step is under way here any more."""

    step: int


class Inquire(NamedTuple):
    """Worker to worker: what became of a step of ``session`` in task ``client``?"""

    client: int
    session: int
    step: int


class Standing(NamedTuple):
    """Worker to worker: how that step stands here; a ``State`` of ``agreement``."""

    client: int
    session: int
    step: int
    state: int


class Close(NamedTuple):
    """Client to worker: forget the programs of the session."""

    session: int


class Meet(NamedTuple):
    """Worker's session to worker's session: here is one as well, for the same batches."""

    claimed: int
    """1 if it may use its communicator as far as the sender knows (``groups``), else 0."""


class Turn(NamedTuple):
    """Session to session, as all that follow: what is about to be done here.

    ``program`` and ``whole`` are digests of the graph, and of what is fed and not divided;
    ``sizes`` are those of feeds besides the number of rows.
    """

    step: int
    program: int
    whole: int
    rows: int
    sizes: tuple[int, ...]

    def is_like(self, other: Turn) -> bool:
        """Whether both tell of one step, but for the number of rows."""
        return self[1:3] == other[1:3] and self.sizes == other.sizes


class Doing(NamedTuple):
    """What is about to be done, in words: others are about to do something else."""

    step: int
    text: str


class Doubt(NamedTuple):
    """Session to worker: has ``step`` of the session here been committed?

    If not, it is not committed here any more but with others that have; Standing is the answer.
    """

    session: int
    step: int


class Leave(NamedTuple):
    """Task to task: the sender will open no session (any more)."""


class Left(NamedTuple):
    """Worker to session, in one task: no session will be opened in task ``rank`` any more."""

    rank: int


class Lost(NamedTuple):
    """Driver to worker: the sender has died, and nothing that it told is still on its way."""


Message: TypeAlias = (
    Register | Registered | Refused | Run | Computed | Failed | Commit | Committed | Abort
    | Aborted | Drain | Drained | Inquire | Standing | Close | Meet | Turn | Doing | Doubt | Leave
    | Left | Lost
)  # fmt: skip

_KINDS: tuple[type[Any], ...] = (
    Register, Registered, Refused, Run, Computed, Failed, Commit, Committed, Abort, Aborted, Drain,
    Drained, Inquire, Standing, Close, Meet, Turn, Doing, Doubt, Leave, Left, Lost,
)  # fmt: skip
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_NUMERIC = frozenset(_KINDS) - {Register, Registered, Refused, Failed, Doing}
"""Kinds of integers alone."""
_ENDS_IN_TUPLE = frozenset({Run, Abort, Aborted, Drain, Turn})
"""Those whose last field is any number of integers."""
_LENGTH = struct.Struct("<I")


@cache
def _layout(count: int) -> struct.Struct:
    """A kind, and so many integers."""
    return struct.Struct(f"<B{count}q")


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    kind = type(message)
    if kind in _NUMERIC:
        numbers: tuple[Any, ...] = message
        if kind in _ENDS_IN_TUPLE:
            numbers = (*numbers[:-1], *numbers[-1])
        return _layout(len(numbers)).pack(_NUMBER[kind], *numbers)
    values = [*message]
    blob = values.pop() if isinstance(message, Register) else b""
    text = json.dumps(values).encode()
    return bytes((_NUMBER[kind],)) + _LENGTH.pack(len(text)) + text + blob


def decode(data: bytes | memoryview) -> Message:
    """The message that ``encode`` gave these bytes for.

    Raises:
        GraphcError: bytes that are none.
    """
    try:
        kind = _KINDS[data[0]]
        if kind in _NUMERIC:
            return _numeric(kind, _layout(len(data) >> 3).unpack(data))
        (length,) = _LENGTH.unpack_from(data, 1)
        begin = 1 + _LENGTH.size
        values = [_frozen(v) for v in json.loads(bytes(data[begin : begin + length]))]
        if kind is Register:
            values.append(bytes(data[begin + length :]))
        message: Message = kind._make(values)
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise GraphcError(f"a control message of {len(data)} bytes is damaged: {error}") from None
    return message


def _numeric(kind: type[Any], numbers: tuple[int, ...]) -> Message:
    """The message whose kind and integers these are."""
    if kind in _ENDS_IN_TUPLE:
        last = len(kind._fields)
        message: Message = kind(*numbers[1:last], numbers[last:])
    else:
        message = kind(*numbers[1:])
    return message


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
