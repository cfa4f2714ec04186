"""The values of variables in this process, by name."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy.typing as npt

from graphc.backends.cpu.executable import Allocate, aligned
from graphc.backends.loops.program import Program
from graphc.ir.dims import evaluate
from graphc.ir.errors import StateError
from graphc.ir.types import TensorType


class VariableStore:
    """Arrays that programs write in place; the memory of a variable never moves.

    ``allocate`` gives so many bytes, from a multiple of 64.
    """

    def __init__(self, allocate: Allocate = aligned) -> None:
        self._allocate = allocate
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self.initialized: set[str] = set()
        self.shared = False
        """Several sessions use the variables: one may write what another is sending."""
        self.lock = threading.RLock()
        """Held by who reads or writes the arrays: programs run one after the other."""

    def allocate(self, name: str, type_: TensorType) -> npt.NDArray[Any]:
        """Memory for a variable, its contents undefined until it is initialised.

        Raises:
            StateError: the variable exists with another dtype or shape.
        """
        shape = tuple(evaluate(dim, {}) for dim in type_.shape)
        found = self.arrays.get(name)
        if found is None:
            dtype = type_.dtype.numpy
            memory = self._allocate(math.prod(shape) * dtype.itemsize)
            found = self.arrays[name] = memory.view(dtype).reshape(shape)
        elif found.shape != shape or found.dtype != type_.dtype.numpy:
            raise StateError(
                f"variable {name!r} is {found.dtype} {list(found.shape)} here, "
                f"not {type_.dtype.name} {list(shape)}"
            )
        return found


def accesses_of(program: Program) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the variables that a program writes, and of those whose old value it reads."""
    names = {i: program.storages[i].name for i in program.variables}
    written: set[str] = set()
    read = {names[t.storage] for t in program.sends if t.storage in names}
    for call in program.calls:
        read |= {names[i] for i in call.reads if i in names} - written
        written |= {names[i] for i in call.writes if i in names}
    return frozenset(written), frozenset(read)
