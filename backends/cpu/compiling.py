"""Kernels in the making: threads compile some of a program while others are still scheduled.

LLVM works without Python's lock, so what it takes is hidden behind the schedules of the kernels
that follow.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from graphc.backends.cpu.jit import Compiler
from graphc.backends.cpu.pool import available_threads
from graphc.backends.cpu.printer import print_llvm
from graphc.backends.loops.ir import Function
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.ir.target import Target


class Compiling:
    """Objects that threads of its own make for ``target``; leaving it forgets what is not done."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.names: dict[Function, str] = {}
        """Those of the functions that were looked up, which print them: once is enough."""
        self._jobs: dict[str, Future[bytes]] = {}
        self._compilers = threading.local()
        self._threads: ThreadPoolExecutor | None = None

    def start(self, name: str, function: Function) -> None:
        """Begin to compile ``function`` as ``name``, unless that was begun before."""
        if name in self._jobs:
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(available_threads(), "graphc-compiler")
        self._jobs[name] = self._threads.submit(self._compile, name, function)

    def object(self, name: str) -> bytes:
        """The object of a kernel that was started, once it is there.

        Raises:
            CompileError: the kernel holds what the target cannot do.
        """
        return self._jobs[name].result()

    def _compile(self, name: str, function: Function) -> bytes:
        if not hasattr(self._compilers, "mine"):
            self._compilers.mine = Compiler(self.target)
        compiler: Compiler = self._compilers.mine
        expanded = expand_math(function, fused=self.target.has_fma)
        return compiler.object(print_llvm(expanded, self.target, name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
