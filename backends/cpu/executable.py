"""A program in machine code, ready to run in this process.

``Executable`` holds what does not change: kernels, constants. ``Sized`` holds what depends on the
sizes of a run alone: where things lie, and what kernels are called with. ``Binding`` holds the
memory of who runs it: the arena and the addresses of everything in it. Callers keep bindings, so
that a run whose sizes were seen before only fills in the addresses of feeds and fetches.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.kernel import CompiledKernel
from graphc.backends.cpu.pool import ThreadPool, default_pool
from graphc.backends.cpu.segment_ir import RECORD_WORDS, RUN, segment_ir
from graphc.backends.loops.ir import For, Function
from graphc.backends.loops.memory import ALIGNMENT, Interval, plan_memory
from graphc.backends.loops.program import Program, lifetimes_of
from graphc.backends.loops.walk import statements
from graphc.ir.dims import evaluate
from graphc.ir.errors import DataError

Array = npt.NDArray[Any]
Allocate: TypeAlias = Callable[[int], Array]
OK = -1
POSITION_BITS = 48
POISON = 0xFF
"""The byte of poisoned memory: NaN as a float, -1 as an integer."""
_Frame = ctypes.c_int64 * 6
"""See ``segment_ir``."""
SIZES = 16
"""For so many combinations of sizes an executable keeps what they tell; the oldest goes first."""


def aligned(count: int, dtype: Any = np.uint8) -> Array:
    """An uninitialised array of ``count`` elements that begins at a multiple of 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address_of(memory) % ALIGNMENT
    return memory[start : start + size].view(dtype)


_HEADER = object.__basicsize__
"""What precedes the address of the data in a NumPy array: its C layout is part of NumPy's ABI."""


def address_of(array: Array) -> int:
    """Where an array's data lie; several times faster than NumPy's own ways to ask."""
    return ctypes.c_void_p.from_address(id(array) + _HEADER).value or 0


class Executable:
    """A ``Program`` with its kernels, compiled for this machine and loaded."""

    def __init__(self, program: Program, kernels: Sequence[CompiledKernel]) -> None:
        self.program = program
        self.kernels = tuple(kernels)
        self._constants = constant_region(program)
        self.storages = (ctypes.c_int64 * max(1, len(program.storages)))(*self._addresses())
        """Where each storage is: those that are no constants are elsewhere for each binding."""
        self.room = ctypes.c_int64 * max((len(call.storages) for call in program.calls), default=1)
        """The type of the room for a call's addresses."""
        self.uses_pool = any(map(_is_pooled, program.kernels))
        self._sized: dict[Hashable, Sized] = {}

    def sized(self, sizes: Mapping[str, int]) -> Sized:
        """What these sizes tell; made once for all bindings of the same ones."""
        key = tuple(sizes.items())
        found = self._sized.get(key)
        if found is None:
            found = Sized(self, sizes)
            if len(self._sized) >= SIZES:
                self._sized.pop(next(iter(self._sized)), None)
            self._sized[key] = found
        return found

    def _addresses(self) -> list[int]:
        begin, (offsets, _) = address_of(self._constants), constant_offsets(self.program)
        storages = self.program.storages
        return [begin + offsets[s.name] if s.kind == "constant" else 0 for s in storages]


class Sized:
    """What the sizes of a run tell of an executable, whoever runs it."""

    def __init__(self, executable: Executable, sizes: Mapping[str, int]) -> None:
        program = executable.program
        self.sizes = dict(sizes)
        self.temporaries, self.intervals = temporaries_of(program, sizes)
        self.layout = plan_memory(self.intervals)
        self.fetches = [
            (slot, tuple(evaluate(d, sizes) for d in storage.type.shape), storage.type.dtype.numpy)
            for slot, storage in ((i, program.storages[i]) for i in program.fetches)
        ]
        self.inside = [
            (index, place.storage, evaluate(place.first, sizes) * storage.type.dtype.size)
            for index, storage in enumerate(program.storages)
            if (place := storage.inside) is not None
        ]
        """What lies inside of other temporaries: its number, theirs, and how many bytes behind."""
        self._table = _table(executable, sizes)
        self.table = ctypes.addressof(self._table[0])
        self.records = _records(program, self.table)
        self._program = program
        self._buffers: dict[int, Any] = {}

    def buffer(self, storage: int) -> Any:
        """The type of a storage's bytes; to make one takes far longer than to make a buffer."""
        found = self._buffers.get(storage)
        if found is None:
            size = self._program.storages[storage].bytes(self.sizes)
            found = self._buffers[storage] = ctypes.c_char * size
        return found


class Binding:
    """An executable for certain sizes: the arena, and where everything is.

    ``allocate`` gives the arena of so many bytes, from a multiple of 64.
    """

    def __init__(
        self,
        executable: Executable,
        sizes: Mapping[str, int],
        variables: Mapping[str, Array],
        allocate: Allocate = aligned,
    ) -> None:
        program = executable.program
        self.program, self.sized = program, executable.sized(sizes)
        self.intervals, self.layout = self.sized.intervals, self.sized.layout
        self.arena = allocate(self.layout.peak)
        self._memories: dict[int, Any] = {}
        self._storages = type(executable.storages).from_buffer_copy(executable.storages)
        for index in program.variables:
            self._storages[index] = address_of(variables[program.storages[index].name])
        self.place_temporaries()
        self._status = ctypes.c_int64(OK)
        self._room = executable.room()
        parts = (self._storages, self._status, self._room)
        storages, status, room = map(ctypes.addressof, parts)
        table, calls = self.sized.table, len(program.calls)
        self._frame = _Frame(table, calls, 0, storages, status, room)
        self._frames: dict[tuple[int, int], tuple[Any, int]] = {}
        self._kept = (executable, variables)
        self._address = ctypes.addressof(self._frame)
        self._run = native_run()
        self._parallel = Parallel() if executable.uses_pool else None

    def run(self, feeds: Sequence[int]) -> list[Array]:
        """Run on the addresses of the feeds; gives fresh arrays for the fetches.

        The caller keeps the feeds alive and lets no two runs of one binding overlap.

        Raises:
            DataError: an error in the data, with the node's message; no variable was changed.
        """
        fetched = self.begin(feeds)
        failed = self._run(self._address)
        if failed != OK:
            raise DataError(self._message(failed))
        return fetched

    def run_calls(self, first: int, last: int) -> None:
        """Run some of the calls, after ``begin``.

        Raises:
            DataError: as ``run``.
        """
        frame, address = self._frames.get((first, last)) or self._framed(first, last)
        frame[2] = self._frame[2]
        failed = self._run(address)
        if failed != OK:
            raise DataError(self._message(first + failed))

    def _framed(self, first: int, last: int) -> tuple[Any, int]:
        """The frame of some of the calls, and where it is."""
        frame = _Frame(self.sized.records[first], last - first, *self._frame[2:])
        self._frames[first, last] = frame, ctypes.addressof(frame)
        return self._frames[first, last]

    def memory(self, storage: int) -> Any:
        """The bytes of a storage, as a writable buffer; after ``begin`` if it is fed or fetched."""
        found = self._memories.get(storage)
        if found is None:
            found = self.sized.buffer(storage).from_address(self._storages[storage])
            if self.program.storages[storage].kind not in ("feed", "fetch"):
                self._memories[storage] = found
        return found

    def replay(self, feeds: Sequence[int]) -> list[Array]:
        """``run`` with the arena poisoned: at first all of it, then each temporary after its use.

        Gives what ``run`` gives, unless two temporaries share memory while both are needed.
        """
        fetched = self.begin(feeds)
        ends: dict[int, list[tuple[int, int]]] = {}
        for offset, interval in zip(self.layout.offsets, self.intervals, strict=True):
            ends.setdefault(interval.last, []).append((offset, offset + interval.bytes))
        self.arena[:] = POISON
        for number in range(len(self.program.calls)):
            self.run_calls(number, number + 1)
            for start, end in ends.get(number, ()):
                self.arena[start:end] = POISON
        return fetched

    def begin(self, feeds: Sequence[int]) -> list[Array]:
        """Fill in where the feeds are, and fresh arrays for the fetches."""
        storages = self._storages
        for slot, address in zip(self.program.feeds, feeds, strict=True):
            storages[slot] = address
        fetched = []
        for slot, shape, dtype in self.sized.fetches:
            array = np.empty(shape, dtype)
            storages[slot] = address_of(array)
            fetched.append(array)
        if self._parallel is not None:
            self._frame[2] = self._parallel.address()
        return fetched

    def _message(self, number: int) -> str:
        word = self._status.value
        self._status.value = OK
        code, position = word >> POSITION_BITS, word & ((1 << POSITION_BITS) - 1)
        return f"{self.program.calls[number].blame[code]}\n  at element {position}"

    def place_temporaries(self) -> None:
        """Take the temporaries' addresses from the layout, or from what they lie inside of."""
        storages, base = self._storages, address_of(self.arena)
        for index, offset in zip(self.sized.temporaries, self.layout.offsets, strict=True):
            storages[index] = base + offset
        for index, home, first in self.sized.inside:
            storages[index] = storages[home] + first


class Parallel:
    """The ``parallel`` argument of kernels: the process's pool, or NULL for one thread."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._memory = (ctypes.c_int64 * 2)()
        self._address = ctypes.addressof(self._memory)

    def address(self) -> int:
        pool = default_pool()
        if pool.threads < 2:
            return 0
        self._memory[0] = pool.parallel_address
        self._memory[1] = pool.address
        self._pool = pool
        return self._address


def temporaries_of(program: Program, sizes: Mapping[str, int]) -> tuple[list[int], list[Interval]]:
    """The temporaries that calls use, as numbers of storages, and when they are in use."""
    lifetimes = lifetimes_of(program)
    intervals = [
        Interval(max(1, program.storages[i].bytes(sizes)), first, last)
        for i, (first, last) in lifetimes.items()
    ]
    return list(lifetimes), intervals


@cache
def native_run() -> Callable[..., int]:
    """The segment driver of this process."""
    from graphc.backends.cpu.jit import compile_object, link
    from graphc.backends.cpu.targets import host_target

    library = link({RUN: compile_object(segment_ir(), host_target())})
    run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(library.address(RUN))
    run.library = library  # type: ignore[attr-defined]  # alive as long as the function
    return run


def _table(executable: Executable, sizes: Mapping[str, int]) -> tuple[Any, Any]:
    """The table of calls, and the sizes that it points to."""
    program = executable.program
    numbers = [evaluate(dim, sizes) for call in program.calls for dim in call.sizes]
    values = (ctypes.c_int64 * max(1, len(numbers)))(*numbers)
    address = ctypes.addressof(values)
    words: list[int] = []
    for call in program.calls:
        kernel = executable.kernels[call.kernel]
        fails = int(bool(program.kernels[call.kernel].guards))
        words += [kernel.address, len(call.storages), address, fails, *call.storages]
        address += 8 * len(call.sizes)
    return (ctypes.c_int64 * max(1, len(words)))(*words), values


def _records(program: Program, table: int) -> list[int]:
    """Where each call's record begins, and where the last one ends."""
    found = [table]
    for call in program.calls:
        found.append(found[-1] + 8 * (RECORD_WORDS + len(call.storages)))
    return found


def _is_pooled(kernel: Function) -> bool:
    return any(isinstance(s, For) and s.kind == "pooled" for s in statements(kernel.body))


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
