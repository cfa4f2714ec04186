"""The values of variables in this process, by name."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy.typing as npt

from graphc.backends.cpu.executable import aligned
from graphc.ir.dims import evaluate
from graphc.ir.errors import StateError
from graphc.ir.types import TensorType


class VariableStore:
    """Arrays that programs write in place; the memory of a variable never moves."""

    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self.initialized: set[str] = set()
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
            # NumPy's own large arrays begin in the middle of a cache line.
            found = aligned(math.prod(shape), type_.dtype.numpy).reshape(shape)
            self.arrays[name] = found
        elif found.shape != shape or found.dtype != type_.dtype.numpy:
            raise StateError(
                f"variable {name!r} is {found.dtype} {list(found.shape)} here, "
                f"not {type_.dtype.name} {list(shape)}"
            )
        return found
