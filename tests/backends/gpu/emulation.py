"""Runs CUDA C on the CPU: builds it with g++ under ``cuda_emulation.h`` and launches grids.

This is how the numbers of a generated kernel are checked on a machine without a GPU. Arrays live
between canaries while a kernel runs, so a write beyond an end fails the test, and a read beyond
one meets NaN.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("cuda_emulation.h")
FLAGS = (
    "-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fwrapv", "-fno-strict-aliasing",
    "-fPIC", "-shared", "-Wall", "-Wno-unused", "-Werror",
)  # fmt: skip
CANARY_BYTES = 256
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")

Size = int | tuple[int, ...]


class EmulationError(AssertionError):
    """The kernel breaks a rule of CUDA, or writes where it must not."""


@dataclass(frozen=True)
class EmulatedModule:
    """The kernels of one CUDA C source, built for this CPU."""

    library: ctypes.CDLL

    def launch(
        self, name: str, grid: Size, block: Size, arguments: Sequence[Any], order: int = 0
    ) -> None:
        """Runs ``name`` over ``grid`` blocks of ``block`` threads (each 1 to 3 sizes).

        ``arguments`` are contiguous arrays, which kernels may write, and NumPy scalars. ``order``
        says how the threads of a block interleave: 0 ascending, 1 descending, else a seed.

        Raises:
            EmulationError: a barrier or shuffle that not all reach, or a write out of bounds.
        """
        guarded = [_Guarded(a) if isinstance(a, np.ndarray) else a for a in arguments]
        boxes = [_box(argument) for argument in guarded]
        pointers = (ctypes.c_void_p * len(boxes))(*(ctypes.addressof(box) for box in boxes))
        launch = self.library[f"launch_{name}"]
        launch.restype = ctypes.c_char_p
        message = launch((ctypes.c_uint * 6)(*_sizes(grid), *_sizes(block)), pointers, order)
        if message is not None:
            raise EmulationError(f"{name}: {message.decode()}")
        for position, argument in enumerate(guarded):
            if isinstance(argument, _Guarded):
                argument.finish(f"{name}, argument {position}")


class _Guarded:
    """A copy of an array with canaries (bytes 0xff: NaN, -1) around it, 16 bytes past a line."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        if not array.flags.c_contiguous:
            raise ValueError("a kernel takes contiguous arrays")
        self.array = array
        self.bytes = np.full(array.nbytes + 2 * CANARY_BYTES + 64, 0xFF, np.uint8)
        self.start = CANARY_BYTES + 16 + -self.bytes.ctypes.data % 64
        self.end = self.start + array.nbytes
        self.bytes[self.start : self.end] = array.reshape(-1).view(np.uint8)

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data + self.start

    def finish(self, what: str) -> None:
        if (self.bytes[: self.start] != 0xFF).any() or (self.bytes[self.end :] != 0xFF).any():
            raise EmulationError(f"{what}: a write out of bounds")
        inside = self.bytes[self.start : self.end]
        self.array[...] = inside.view(self.array.dtype).reshape(self.array.shape)


@cache
def build(source: str) -> EmulatedModule:
    """CUDA C ``source`` built for this CPU; its kernels are ``extern "C"``.

    Raises:
        RuntimeError: there is no g++, or it refuses the source.
    """
    if shutil.which("g++") is None:
        raise RuntimeError("g++ is needed to run these tests (not to use graphc): install it")
    entries = "".join(f"EMULATED_KERNEL({name})\n" for name in _KERNEL.findall(source))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cpp")
        path.write_text(f'#include "{HEADER}"\n#line 1 "kernel.cu"\n{source}\n{entries}')
        library = path.with_suffix(".so")
        command = ["g++", *FLAGS, "-o", str(library), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"g++ refuses the kernel:\n{done.stderr}\n{source}")
        return EmulatedModule(ctypes.CDLL(str(library)))


def _sizes(size: Size) -> tuple[int, ...]:
    sizes = size if isinstance(size, tuple) else (size,)
    return sizes + (1,) * (3 - len(sizes))


def _box(argument: Any) -> Any:
    """The argument in memory of its own, as a launch takes it: by address."""
    if isinstance(argument, _Guarded):
        return ctypes.c_void_p(argument.address)
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())
