"""What no machine lends is refused here, before NumPy or the system do in words of their own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from graphc.backends.loops.program import Program
from graphc.ir.errors import GraphcError

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")

LARGEST_BYTES = 2**44
"""More than this (16 TiB) no machine lends to one tensor."""
LARGEST_MESSAGE = 2**31 - 1
"""Bytes that MPI sends at once: some libraries count them in 32 bits."""
BINDINGS = 16
"""For so many combinations of shapes a program keeps arenas; the oldest goes first."""


def kept(bindings: dict[Key, Made], key: Key, make: Callable[[Key], Made]) -> Made:
    """What was made for ``key`` before, or is made now; the oldest of too many goes."""
    found = bindings.get(key)
    if found is None:
        found = make(key)
        if len(bindings) >= BINDINGS:
            del bindings[next(iter(bindings))]
        bindings[key] = found
    return found


def check_storages(program: Program, sizes: Mapping[str, int]) -> None:
    """Refuse sizes for which a tensor takes more memory than there is, or than a message holds.

    Raises:
        GraphcError: with the tensor's type and its bytes.
    """
    for storage in program.storages:
        check_bytes(storage.bytes(sizes), storage.type)
    for transfer in (*program.sends, *program.receives):
        size = program.storages[transfer.storage].bytes(sizes)
        if size > LARGEST_MESSAGE:
            tensor = transfer.edge.partition("->")[0]
            raise GraphcError(
                f"{tensor} takes {size:,} bytes, but a message between tasks holds at most "
                f"{LARGEST_MESSAGE:,}; feed fewer rows at a time, or put it where it is read"
            )


def check_bytes(size: int, what: object) -> int:
    """``size``, if it is that of something that can be in memory.

    Raises:
        GraphcError: it is too large, or what overflowed is negative.
    """
    if 0 <= size <= LARGEST_BYTES:
        return size
    raise GraphcError(
        f"the step needs more memory than there is: {what} alone takes {size:,} bytes; feed "
        "fewer rows at a time, or check the shapes"
    )


def out_of_memory(error: MemoryError) -> GraphcError:
    """What a user is told when the system refuses memory; ``error`` says how much was asked for."""
    return GraphcError(f"the machine has too little memory left for the step: {error}")
