"""One compiled call of a session: signature in, arrays out."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.executable import Binding, Executable, address_of
from graphc.ir.graph import Tensor
from graphc.runtime.feeds import prepare, sizes_of
from graphc.runtime.memory import check_storages, kept, out_of_memory
from graphc.runtime.state import VariableStore, accesses_of
from graphc.runtime.timeline import COMPUTE, Recorder

Array = npt.NDArray[Any]


class Executor:
    """A program with its variables, for feeds in a fixed order.

    Calls from several threads take turns: a program has one arena, and the programs that share a
    store of variables change them one at a time, so that no update is lost. For a ``recorder``
    kernels are called one by one.
    """

    def __init__(
        self,
        executable: Executable,
        feeds: Sequence[Tensor],
        store: VariableStore,
        recorder: Recorder | None = None,
    ) -> None:
        self.program = program = executable.program
        self.feeds = tuple(feeds)
        self.writes, self.reads = accesses_of(program)
        storages = [program.storages[i] for i in program.variables]
        self.variables = {s.name: store.allocate(s.name, s.type) for s in storages}
        self._executable = executable
        self._store = store
        self._recorder = recorder
        self._steps = count()
        self._lock = store.lock if self.variables else threading.RLock()
        self._seen: dict[tuple[tuple[int, ...], ...], Binding] = {}
        self._dtypes = tuple(t.type.dtype.numpy for t in self.feeds)

    def run(self, values: Sequence[Any]) -> list[Array]:
        """Run on one value for each feed; what it writes is initialised afterwards.

        Raises:
            FeedError: a value that does not fit, or sizes that break a rule of the graph.
            DataError: an error in the data; no variable was changed.
            GraphcError: the machine has no memory left.
        """
        try:
            return self._run(values)
        except MemoryError as error:
            raise out_of_memory(error) from None

    def _run(self, values: Sequence[Any]) -> list[Array]:
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
                binding = kept(self._seen, shapes, lambda _: self._bind(arrays))
            fetched = self._computed(binding, addresses)
            self._store.initialized |= self.writes
            return fetched

    def _computed(self, binding: Binding, addresses: Sequence[int]) -> list[Array]:
        if self._recorder is None:
            return binding.run(addresses)
        fetched, step = binding.begin(addresses), next(self._steps)
        for number, call in enumerate(self.program.calls):
            begin = time.perf_counter()
            binding.run_calls(number, number + 1)
            self._recorder.add(COMPUTE, call.name, step, begin, time.perf_counter())
        return fetched

    def binding(self, values: Sequence[Any]) -> Binding:
        """The binding that these values would run with: memory plan and sizes, for reports."""
        return self._bind([prepare(t, v) for t, v in zip(self.feeds, values, strict=True)])

    def _bind(self, arrays: Sequence[Array]) -> Binding:
        for tensor, array in zip(self.feeds, arrays, strict=True):
            prepare(tensor, array)
        sizes = sizes_of(self.program.checks, self.feeds, arrays)
        check_storages(self.program, sizes)
        return Binding(self._executable, sizes, self.variables)
