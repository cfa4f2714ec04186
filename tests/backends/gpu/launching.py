"""Runs a function in loops as a GPU would: prints it, compiles it for real GPUs, emulates it.

On the way it is verified, written as text and read back; and the interpreter of loops, which knows
nothing of CUDA, has to give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.gpu import nvrtc
from graphc.backends.gpu.compile import to_loops
from graphc.backends.gpu.geometry import geometry
from graphc.backends.gpu.printer import STATUS_OK, CudaKernel, print_cuda
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import Function
from graphc.backends.loops.parse import parse_function
from graphc.backends.loops.text import print_function
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import statements
from graphc.ir import dims
from graphc.ir.compute.kernel import Kernel
from tests.backends.gpu.emulation import build

ARCHS = ("sm_80", "sm_90")
INTERPRETED_STATEMENTS = 8000
"""Up to so many (statements times threads) the interpreter is asked; it takes 15 us for each."""

_compiled: set[tuple[str, str]] = set()


def compile_for_gpus(kernel: CudaKernel) -> None:
    """Machine code of the kernel for each architecture, once per source."""
    for arch in ARCHS:
        if (kernel.source, arch) not in _compiled:
            assert nvrtc.compile_cubin(kernel.source, arch).startswith(b"\x7fELF")
            _compiled.add((kernel.source, arch))


def run_emulated(
    function: Function,
    buffers: Sequence[np.ndarray[Any, Any]],
    sizes: Mapping[str, int] | None = None,
    order: int = 0,
) -> int:
    """Runs ``function`` on ``buffers`` in place and returns its status word."""
    kernel = print_cuda(function)
    compile_for_gpus(kernel)
    sizes = sizes or {}
    status = np.array([STATUS_OK], np.uint64)
    arguments = [*buffers, *(np.int64(sizes[name]) for name in kernel.sizes)]
    if kernel.has_status:
        arguments.append(status)
    grid = kernel.geometry.grid(sizes)
    if all(grid):
        build(kernel.source).launch(kernel.name, grid, kernel.geometry.threads, arguments, order)
    return int(status[0])


def run_everywhere(
    function: Function,
    buffers: Sequence[np.ndarray[Any, Any]],
    sizes: Mapping[str, int] | None = None,
    order: int = 0,
) -> int:
    """As ``run_emulated``, and the interpreter gives the same bits, from the parsed text."""
    verify_function(function)
    text = print_function(function)
    parsed = parse_function(text)
    assert print_function(parsed) == text
    copies = [buffer.copy() for buffer in buffers]
    status = run_emulated(function, buffers, sizes, order)
    if is_interpreted(function, sizes):
        values = [(sizes or {})[size.name] for size in function.sizes]
        assert run(parsed, copies, values, reverse=order == 1) % 2**64 == status
        for emulated, interpreted in zip(buffers, copies, strict=True):
            np.testing.assert_array_equal(emulated, interpreted)
            assert emulated.dtype.kind == "f" or emulated.tobytes() == interpreted.tobytes()
    return status


def is_interpreted(function: Function, sizes: Mapping[str, int] | None = None) -> bool:
    """Whether the launch is small enough for the interpreter."""
    launch = geometry(function)
    threads = math.prod(launch.grid(sizes or {})) * launch.threads
    return threads * sum(1 for _ in statements(function.body)) <= INTERPRETED_STATEMENTS


def run_kernel(
    kernel: Kernel,
    inputs: Sequence[np.ndarray[Any, Any]],
    order: int = 0,
) -> tuple[list[np.ndarray[Any, Any]], int]:
    """Schedules ``kernel`` for a GPU and runs it: its results and its status word."""
    sizes: dict[str, int] = {}
    for param, array in zip(kernel.params, inputs, strict=True):
        for dim, size in zip(param.type.shape, array.shape, strict=True):
            sizes |= dict.fromkeys(dims.symbols_of(dim), size)
    outputs = []
    for name in kernel.results:
        stage = kernel.stage(name)
        shape = tuple(dims.evaluate(dim, sizes) for dim in stage.shape)
        outputs.append(np.full(shape, 77, stage.dtype.numpy))
    status = run_everywhere(to_loops(kernel), [*inputs, *outputs], sizes, order)
    return outputs, status
