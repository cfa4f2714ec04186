"""A kernel in machine code, and a way to call one by hand (programs call them natively)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.jit import Library
from graphc.backends.cpu.pool import ThreadPool

OK = -1
"""The status of a kernel that found no error in its data."""

_PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)


@dataclass(frozen=True)
class CompiledKernel:
    """``void name(void** buffers, int64_t* sizes, parallel*, int64_t* status)`` at ``address``.

    The code lives as long as this object.
    """

    name: str
    """The symbol; it follows from the kernel, the target and the versions of the compilers."""
    address: int
    object: bytes = field(repr=False)
    """The relocatable object that defines the symbol."""
    library: Library = field(repr=False, compare=False)


def call(
    kernel: CompiledKernel,
    arrays: Sequence[npt.NDArray[Any]],
    sizes: Sequence[int] = (),
    parallel: ThreadPool | None = None,
) -> int:
    """Run a kernel on ``arrays``: its buffers, then its workspace, each in one piece of memory.

    Returns:
        ``OK``, or ``code << 48 | position`` of the first error.
    """
    for array in arrays:
        assert array.flags.c_contiguous, "kernels take dense arrays"
    buffers = np.array([array.ctypes.data for array in arrays] or [0], np.uint64)
    numbers = np.array([*sizes, 0], np.int64)
    status = np.full(1, OK, np.int64)
    context = None
    if parallel is not None:
        context = np.array([parallel.parallel_address, parallel.address], np.uint64)
    pool = context.ctypes.data if context is not None else None
    _PROTOTYPE(kernel.address)(buffers.ctypes.data, numbers.ctypes.data, pool, status.ctypes.data)
    return int(status[0])
