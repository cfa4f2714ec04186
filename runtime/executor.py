"""One compiled call of a session: signature in, arrays out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.executable import Binding, Executable, address_of
from graphc.backends.loops.program import Program
from graphc.ir.graph import Tensor
from graphc.ir.target import Target
from graphc.runtime.feeds import prepare, sizes_of
from graphc.runtime.memory import check_storages
from graphc.runtime.state import VariableStore

Array = npt.NDArray[Any]
BINDINGS = 16
"""For so many combinations of shapes an executor keeps arenas; the oldest goes first."""


class Executor:
    """A program with its variables, for feeds in a fixed order.

    Calls from several threads take turns: a program has one arena.
    """

    def __init__(
        self, program: Program, feeds: Sequence[Tensor], target: Target, store: VariableStore
    ) -> None:
        self.program = program
        self.feeds = tuple(feeds)
        self.writes, self.reads = _variables(program)
        storages = [program.storages[i] for i in program.variables]
        self.variables = {s.name: store.allocate(s.name, s.type) for s in storages}
        self._executable = Executable(program, target)
        self._lock = threading.Lock()
        self._seen: dict[tuple[tuple[int, ...], ...], Binding] = {}
        self._dtypes = tuple(t.type.dtype.numpy for t in self.feeds)

    def run(self, values: Sequence[Any]) -> list[Array]:
        """Run on one value for each feed.

        Raises:
            FeedError: a value that does not fit, or sizes that break a rule of the graph.
            DataError: an error in the data; no variable was changed.
        """
        arrays = [
            value if type(value) is np.ndarray and value.dtype is dtype
            and value.flags.carray else prepare(tensor, value)
            for tensor, dtype, value in zip(self.feeds, self._dtypes, values, strict=True)
        ]  # fmt: skip
        addresses = [address_of(array) for array in arrays]
        shapes = tuple([array.shape for array in arrays])
        with self._lock:
            binding = self._seen.get(shapes)
            if binding is None:
                binding = self._bind(arrays)
                if len(self._seen) >= BINDINGS:
                    del self._seen[next(iter(self._seen))]
                self._seen[shapes] = binding
            return binding.run(addresses)

    def binding(self, values: Sequence[Any]) -> Binding:
        """The binding that these values would run with: memory plan and sizes, for reports."""
        return self._bind([prepare(t, v) for t, v in zip(self.feeds, values, strict=True)])

    def _bind(self, arrays: Sequence[Array]) -> Binding:
        for tensor, array in zip(self.feeds, arrays, strict=True):
            prepare(tensor, array)
        sizes = sizes_of(self.program, self.feeds, arrays)
        check_storages(self.program, sizes)
        return Binding(self._executable, sizes, self.variables)


def _variables(program: Program) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the variables that calls write, and of those whose old value they read."""
    names = {i: program.storages[i].name for i in program.variables}
    written: set[str] = set()
    read: set[str] = set()
    for call in program.calls:
        read |= {names[i] for i in call.reads if i in names} - written
        written |= {names[i] for i in call.writes if i in names}
    return frozenset(written), frozenset(read)
