"""From what a kernel computes to CUDA C, in three steps: schedule, expand, print."""

from __future__ import annotations

from graphc.backends.gpu.printer import CudaKernel, print_cuda
from graphc.backends.gpu.schedules.choose import schedule
from graphc.backends.loops.ir import Function
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.ir.compute.kernel import Kernel


def to_loops(kernel: Kernel) -> Function:
    """``kernel`` scheduled for a GPU, in operations that CUDA C has.

    Raises:
        CompileError: the kernel has no GPU schedule, for the reason given.
    """
    return expand_math(schedule(kernel), fused=True)


def to_cuda(kernel: Kernel) -> CudaKernel:
    """``kernel`` as CUDA C.

    Raises:
        CompileError: as ``to_loops``, or an operation that CUDA C lacks.
    """
    return print_cuda(to_loops(kernel))
