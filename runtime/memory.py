"""How much memory steps may take, and for how many sizes it is kept."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.backends.loops.program import Program
from graphc.ir.errors import GraphcError

LARGEST_BYTES = 2**44
"""More than this (16 TiB) no machine lends to one tensor."""
BINDINGS = 16
"""For so many combinations of shapes a program keeps arenas; the oldest goes first."""


def check_memory(program: Program, sizes: Mapping[str, int]) -> None:
    """Refuse what no machine holds, before NumPy or the system do in words of their own.

    Raises:
        GraphcError: a tensor is too large.
    """
    for storage in program.storages:
        size = storage.bytes(sizes)
        if size > LARGEST_BYTES:
            raise GraphcError(
                f"the step needs more memory than there is: {storage.type} alone takes "
                f"{size:,} bytes; feed fewer rows at a time, or check the shapes"
            )


def out_of_memory(error: MemoryError) -> GraphcError:
    """What a user is told when the system refuses memory; ``error`` says how much was asked for."""
    return GraphcError(f"the machine has too little memory left for the step: {error}")
