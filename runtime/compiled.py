"""From a graph to machine code in this process: LLVM works while kernels are still scheduled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from graphc.backends.cpu.cache import default_cache
from graphc.backends.cpu.compiling import Compiling
from graphc.backends.cpu.executable import Executable
from graphc.backends.loops.ir import Function
from graphc.backends.loops.program import Program
from graphc.ir.errors import CompileError
from graphc.ir.target import Target
from graphc.runtime.memory import out_of_memory


def executable_of(
    program_of: Callable[[Callable[[Function], None]], Program], target: Target
) -> Executable:
    """The program that ``program_of`` makes, ready to run; it tells of kernels as it makes them.

    Raises:
        CompileError: a kernel holds what the target cannot do.
        GraphcError: whatever ``program_of`` raises; the machine has no memory left.
    """
    cache = default_cache()
    with Compiling(target) as compiling:
        program = program_of(partial(cache.start, compiling=compiling))
        kernels = cache.get(program.kernels, target, compiling=compiling)
    try:
        return Executable(program, kernels)
    except MemoryError as error:
        raise out_of_memory(error) from None


def target_here(name: str) -> Target:
    """The target called ``name``.

    Raises:
        CompileError: this machine does not run its code.
    """
    from graphc.backends.cpu.targets import runs_here, target_named

    target = target_named(name)
    if not runs_here(target):
        raise CompileError(f"this machine does not run code for {name}: choose a lower level")
    return target
