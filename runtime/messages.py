"""Control messages between masters and workers, and their form on the wire.

Those of every step are a few integers; those that carry texts are JSON, with bytes behind it.
Nothing is pickled. ``session`` is the box of the session in the client's process, so that, with the
sender, it names the session in the whole cluster.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from graphc.ir.errors import GraphcError


@dataclass(frozen=True, slots=True)
class Register:
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
    once: bool
    """It initialises: variables that have a value keep it."""
    writers: tuple[int, ...]
    """The tasks that have to agree before variables are written here, in order; maybe none."""
    fetched: tuple[str, ...]
    """The edges whose tensors may be sent after the variables are written."""
    sharding: tuple[Any, ...]
    """How the part shares a batch with others (``Sharding.encoded``), or nothing."""
    constants: bytes
    """The graph's large constants, in safetensors."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Worker to client: the program is compiled."""

    program: int
    missing: tuple[str, ...]
    """The variables that it reads and that have no value."""
    order: tuple[int, ...]
    """In which order it communicates: see ``order.packed``."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker to client: the program cannot be registered."""

    program: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """Client to worker: compute one step; transfer number n of the step has tag ``tag + n``."""

    session: int
    program: int
    step: int
    tag: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """Worker to client: the step is computed here; unless tasks have to agree, committed too."""

    step: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to client: the step failed here, and nothing was written."""

    step: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Client to worker: all tasks have computed; write the variables."""

    session: int
    step: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Worker to client: the variables are written."""

    step: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Client to worker: stop computing; begin no more transfers.

    It repeats what ``Run`` said: who never heard that can still take what was sent to it.
    """

    session: int
    program: int
    step: int
    tag: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Aborted:
    """Worker to client: stopped; ``sent`` are the transfers that it began to send, by number."""

    step: int
    sent: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Client to worker: of the receives, only those of ``sent`` will end; give up the others."""

    session: int
    step: int
    sent: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """Worker to client: no transfer of the step is under way here any more."""

    step: int


@dataclass(frozen=True, slots=True)
class Inquire:
    """Worker to worker: what became of a step of ``session`` in task ``client``?"""

    client: int
    session: int
    step: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Worker to worker: how that step stands here; a ``State`` of ``agreement``."""

    client: int
    session: int
    step: int
    state: int


@dataclass(frozen=True, slots=True)
class Close:
    """Client to worker: forget the programs of the session."""

    session: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Task to task: the sender will open no session (any more)."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Driver to worker: the sender has died, and nothing that it told is still on its way."""


Message: TypeAlias = (
    Register | Registered | Refused | Run | Computed | Failed | Commit | Committed | Abort
    | Aborted | Drain | Drained | Inquire | Standing | Close | Leave | Lost
)  # fmt: skip

_KINDS: tuple[type[Any], ...] = (
    Register, Registered, Refused, Run, Computed, Failed, Commit, Committed, Abort, Aborted, Drain,
    Drained, Inquire, Standing, Close, Leave, Lost,
)  # fmt: skip
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_NUMERIC = frozenset(_KINDS) - {Register, Registered, Refused, Failed}
"""Kinds of integers alone; a tuple of them can only be the last field."""
_LENGTH = struct.Struct("<I")


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    kind = type(message)
    head = bytes((_NUMBER[kind],))
    values = [getattr(message, name) for name in _FIELDS[kind]]
    if kind in _NUMERIC:
        flat = [*values[:-1], *values[-1]] if _ENDS_IN_TUPLE[kind] else values
        return head + struct.pack(f"<{len(flat)}q", *flat)
    blob = values.pop() if isinstance(message, Register) else b""
    text = json.dumps(values).encode()
    return head + _LENGTH.pack(len(text)) + text + blob


def decode(data: bytes) -> Message:
    """The message that ``encode`` gave these bytes for.

    Raises:
        GraphcError: bytes that are none.
    """
    try:
        kind = _KINDS[data[0]]
        if kind in _NUMERIC:
            return _numeric(kind, struct.unpack(f"<{(len(data) - 1) // 8}q", data[1:]))
        (length,) = _LENGTH.unpack_from(data, 1)
        begin = 1 + _LENGTH.size
        values = [_frozen(v) for v in json.loads(data[begin : begin + length])]
        if kind is Register:
            values.append(data[begin + length :])
        message: Message = kind(*values)
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise GraphcError(f"a control message of {len(data)} bytes is damaged: {error}") from None
    return message


def _numeric(kind: type[Any], numbers: tuple[int, ...]) -> Message:
    fixed = len(_FIELDS[kind]) - 1
    values = (*numbers[:fixed], numbers[fixed:]) if _ENDS_IN_TUPLE[kind] else numbers
    message: Message = kind(*values)
    return message


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS}
_ENDS_IN_TUPLE = {
    kind: bool(fields(kind)) and str(fields(kind)[-1].type).startswith("tuple") for kind in _KINDS
}
