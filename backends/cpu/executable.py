"""A program in machine code, ready to run in this process.

``Executable`` holds what does not change: kernels, constants. ``Binding`` holds what depends on
the sizes of a run: the arena and the addresses of everything in it. Callers keep bindings, so that
a run whose sizes were seen before only fills in the addresses of feeds and fetches.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.cache import CompiledKernel, default_cache
from graphc.backends.cpu.pool import ThreadPool, default_pool
from graphc.backends.cpu.segment_ir import RUN, segment_ir
from graphc.backends.loops.memory import ALIGNMENT, Interval, Layout, plan_memory
from graphc.backends.loops.program import Program, lifetimes_of
from graphc.ir.dims import evaluate
from graphc.ir.errors import DataError
from graphc.ir.target import Target

Array = npt.NDArray[Any]
OK = -1
POSITION_BITS = 48


def aligned(count: int, dtype: Any = np.uint8) -> Array:
    """An uninitialised array of ``count`` elements that begins at a multiple of 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype)


class Executable:
    """A ``Program`` compiled for this machine."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program = program
        self.kernels: tuple[CompiledKernel, ...] = tuple(
            default_cache().get(program.kernels, target)
        )
        self._constants = constant_region(program)
        self._constant_offsets, _ = constant_offsets(program)

    def constant_address(self, name: str) -> int:
        """Where a constant lies."""
        return int(self._constants.ctypes.data) + self._constant_offsets[name]


class Binding:
    """An executable for certain sizes: the memory plan and the table of calls."""

    def __init__(
        self, executable: Executable, sizes: Mapping[str, int], variables: Mapping[str, Array]
    ) -> None:
        program = executable.program
        self.program = program
        self.executable = executable
        self.layout, self.intervals = plan_arena(program, sizes)
        self.arena = aligned(self.layout.peak)
        self.storages = np.zeros(max(1, len(program.storages)), np.int64)
        self._fill_storages(sizes, variables)
        self.fetch_types = [
            (tuple(evaluate(d, sizes) for d in program.storages[i].type.shape),
             program.storages[i].type.dtype.numpy)
            for i in program.fetches
        ]  # fmt: skip
        self.table, self._kept = _table(executable, sizes)
        self._status = np.full(1, OK, np.int64)
        widest = max((len(call.storages) for call in program.calls), default=1)
        self._args = np.zeros(widest, np.int64)
        self._storages = self.storages.ctypes.data
        self._rooms = (self._status.ctypes.data, self._args.ctypes.data)
        self._run = native_run()
        self._parallel = _Parallel()

    def run(self, feeds: Sequence[int]) -> list[Array]:
        """Run on the addresses of the feeds; gives fresh arrays for the fetches.

        The caller keeps the feeds alive and lets no two runs of one binding overlap.

        Raises:
            DataError: an error in the data, with the node's message; no variable was changed.
        """
        program, storages = self.program, self.storages
        for slot, address in zip(program.feeds, feeds, strict=True):
            storages[slot] = address
        fetched = [np.empty(shape, dtype) for shape, dtype in self.fetch_types]
        for slot, array in zip(program.fetches, fetched, strict=True):
            storages[slot] = array.__array_interface__["data"][0]
        failed = self._run(
            self.table, len(program.calls), self._storages, self._parallel.address(), *self._rooms
        )
        if failed != OK:
            raise DataError(self._message(failed))
        return fetched

    def _message(self, number: int) -> str:
        word = int(self._status[0])
        self._status[0] = OK
        code, position = word >> POSITION_BITS, word & ((1 << POSITION_BITS) - 1)
        return f"{self.program.calls[number].blame[code]}\n  at element {position}"

    def _fill_storages(self, sizes: Mapping[str, int], variables: Mapping[str, Array]) -> None:
        base = self.arena.ctypes.data
        for index, offset in zip(self.intervals, self.layout.offsets, strict=True):
            self.storages[index] = base + offset
        for index, storage in enumerate(self.program.storages):
            if storage.kind == "constant":
                self.storages[index] = self.executable.constant_address(storage.name)
            elif storage.kind == "variable":
                self.storages[index] = variables[storage.name].ctypes.data


class _Parallel:
    """The ``parallel`` argument of kernels: the process's pool, or NULL for one thread."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._memory = np.zeros(2, np.int64)

    def address(self) -> int:
        pool = default_pool()
        if pool.threads < 2:
            return 0
        self._memory[0] = pool.parallel_address
        self._memory[1] = pool.address
        self._pool = pool
        return int(self._memory.ctypes.data)


def plan_arena(program: Program, sizes: Mapping[str, int]) -> tuple[Layout, list[int]]:
    """Offsets of the temporaries that are used, and which storages these are."""
    lifetimes = lifetimes_of(program)
    intervals = [
        Interval(max(1, program.storages[i].bytes(sizes)), first, last)
        for i, (first, last) in lifetimes.items()
    ]
    return plan_memory(intervals), list(lifetimes)


@cache
def native_run() -> Callable[..., int]:
    """The segment driver of this process."""
    from graphc.backends.cpu.jit import compile_object, link
    from graphc.backends.cpu.targets import host_target

    library = link({RUN: compile_object(segment_ir(), host_target())})
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 4
    )
    run = prototype(library.address(RUN))
    run.library = library  # type: ignore[attr-defined]  # alive as long as the function
    return run


def _table(executable: Executable, sizes: Mapping[str, int]) -> tuple[int, list[Array]]:
    """The address of the table of calls, and the arrays that must stay alive."""
    program = executable.program
    numbers: list[int] = []
    words: list[int] = []
    starts: list[int] = []
    for call in program.calls:
        starts.append(len(numbers))
        numbers += [evaluate(dim, sizes) for dim in call.sizes]
    values = np.array(numbers or [0], np.int64)
    base = values.ctypes.data
    for call, start in zip(program.calls, starts, strict=True):
        kernel = executable.kernels[call.kernel]
        fails = int(bool(program.kernels[call.kernel].guards))
        words += [kernel.address, len(call.storages), base + 8 * start, fails, *call.storages]
    table = np.array(words or [0], np.int64)
    return table.ctypes.data, [values, table]


def constant_offsets(program: Program) -> tuple[dict[str, int], int]:
    """Where in the region of constants each one begins, at a multiple of 64; and its size."""
    offsets: dict[str, int] = {}
    end = 0
    for name, value in program.constants.items():
        offsets[name] = end
        end += -(-value.nbytes // ALIGNMENT) * ALIGNMENT
    return offsets, end


def constant_region(program: Program) -> Array:
    """All constants, one after the other."""
    offsets, end = constant_offsets(program)
    region = aligned(end)
    region[:] = 0
    for name, value in program.constants.items():
        start = offsets[name]
        region[start : start + value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
    return region
