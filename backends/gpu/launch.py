"""Runs kernels on a GPU, through cupy. Everything before this needs neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.gpu import nvrtc
from graphc.backends.gpu.printer import CudaKernel
from graphc.ir.errors import DeviceError


@dataclass(frozen=True, eq=False)
class LoadedKernel:
    """A kernel in the current device's memory."""

    kernel: CudaKernel
    function: Any

    def __call__(
        self, buffers: Sequence[Any], sizes: Mapping[str, int], status: Any | None = None
    ) -> None:
        """Launches it on the current stream, without waiting.

        ``buffers`` are contiguous cupy arrays (parameters, results, workspace in the function's
        order); ``status`` is an array of one uint64 that holds ``STATUS_OK``, if there are guards.
        """
        grid = self.kernel.geometry.grid(sizes)
        if not all(grid):
            return
        count = self.kernel.buffers
        numbers = [np.int64(sizes[name]) for name in self.kernel.sizes]
        arguments = [*buffers[:count], *numbers, *buffers[count:]]
        if self.kernel.has_status:
            arguments.append(status)
        self.function(grid, (self.kernel.geometry.threads, 1, 1), tuple(arguments))


def load(kernel: CudaKernel) -> LoadedKernel:
    """Compiles ``kernel`` for the current device and loads it there.

    Raises:
        DeviceError: there is no GPU, or no cupy.
        CompileError: NVRTC is missing or refuses the kernel.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(f"a GPU needs cupy: pip install 'graphc[gpu]' ({error})") from error
    try:
        capability = cupy.cuda.Device().compute_capability
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"there is no GPU that can be used: {error}") from error
    module = cupy.cuda.function.Module()
    module.load(nvrtc.compile_cubin(kernel.source, f"sm_{capability}"))
    return LoadedKernel(kernel, module.get_function(kernel.name))
