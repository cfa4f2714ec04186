"""Kernels are compiled once: for a function in loops, a target, and the versions of compilers.

A kernel that lives in this process is shared; its object is kept on disk for the next one (see
``disk_cache``). What has to be compiled is compiled by several threads (see ``compiling``), each
kernel as a module of its own: one module for many would save a tenth of the time and share nothing
between graphs.

``GRAPHC_CACHE=0`` keeps nothing on disk; ``GRAPHC_CACHE_DIR`` says where, instead of
``$XDG_CACHE_HOME/graphc``.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter

from graphc.backends.cpu.compiling import Compiling
from graphc.backends.cpu.disk_cache import DiskCache
from graphc.backends.cpu.jit import link
from graphc.backends.cpu.kernel import CompiledKernel, call
from graphc.backends.loops.ir import Function
from graphc.backends.loops.text import print_function
from graphc.ir.errors import CacheWarning
from graphc.ir.target import Target
from graphc.version import __version__

__all__ = ["CacheStatistics", "CompiledKernel", "KernelCache", "call", "default_cache"]

Progress = Callable[[int, int], None]
"""Told how many kernels have been compiled so far, and of how many."""

_RECENT = 512
"""How many kernels outlive the last program that uses them."""


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache has done so far."""

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    """Kernels that were compiled."""
    compile_seconds: float = 0.0
    load_seconds: float = 0.0


class KernelCache:
    """Compiled kernels of this process, over those on disk, if any.

    Any thread may use it at any time; two that want kernels at once wait for each other.
    """

    def __init__(self, disk: DiskCache | None = None) -> None:
        self.disk = disk
        self._alive: weakref.WeakValueDictionary[str, CompiledKernel] = (
            weakref.WeakValueDictionary()
        )
        self._recent: OrderedDict[str, CompiledKernel] = OrderedDict()
        self._statistics = CacheStatistics()
        self._lock = threading.RLock()

    @property
    def statistics(self) -> CacheStatistics:
        return self._statistics

    def start(self, function: Function, compiling: Compiling) -> None:
        """Begin to compile a kernel that will be asked for, if it is not here already."""
        name = compiling.names[function] = kernel_name(function, compiling.target)
        if name not in self._alive and (self.disk is None or name not in self.disk):
            compiling.start(name, function)

    def get(
        self,
        functions: Sequence[Function],
        target: Target,
        progress: Progress | None = None,
        compiling: Compiling | None = None,
    ) -> list[CompiledKernel]:
        """The kernels of ``functions``, loaded into this process, which must be a ``target``.

        ``compiling`` is where some of them may have been started.

        Raises:
            CompileError: a function holds what the target cannot do.
        """
        known = compiling.names if compiling is not None else {}
        names = [known.get(function) or kernel_name(function, target) for function in functions]
        wanted = dict(zip(names, functions, strict=True))
        with self._lock:
            found = {name: self._alive[name] for name in wanted if name in self._alive}
            self._count(memory_hits=len(found))
            missing = {name: f for name, f in wanted.items() if name not in found}
            if missing:
                found |= self._load(self._objects(missing, target, progress, compiling))
            for name in found:
                self._remember(found[name])
        return [found[name] for name in names]

    def objects(
        self, functions: Sequence[Function], target: Target, progress: Progress | None = None
    ) -> list[tuple[str, bytes]]:
        """For each function its symbol and the object that defines it, for any target.

        Raises:
            CompileError: a function holds what the target cannot do.
        """
        names = [kernel_name(function, target) for function in functions]
        with self._lock:
            wanted = dict(zip(names, functions, strict=True))
            found = self._objects(wanted, target, progress)
        return [(name, found[name]) for name in names]

    def _objects(
        self,
        wanted: Mapping[str, Function],
        target: Target,
        progress: Progress | None,
        compiling: Compiling | None = None,
    ) -> dict[str, bytes]:
        """Objects from disk, or compiled and then put there."""
        found: dict[str, bytes] = {}
        if self.disk is not None:
            kept = ((name, self.disk.read(name)) for name in wanted)
            found = {name: data for name, data in kept if data is not None}
        self._count(disk_hits=len(found))
        missing = {name: f for name, f in wanted.items() if name not in found}
        if missing:
            begin = perf_counter()
            with Compiling(target) if compiling is None else nullcontext(compiling) as work:
                compiled = _compile(missing, work, progress)
            self._count(misses=len(missing), compile_seconds=perf_counter() - begin)
            if self.disk is not None:
                for name, data in compiled.items():
                    self.disk.write(name, data)
            found |= compiled
        return found

    def _load(self, objects: Mapping[str, bytes]) -> dict[str, CompiledKernel]:
        begin = perf_counter()
        library = link(objects)
        kernels = {
            name: CompiledKernel(name, library.address(name), data, library)
            for name, data in objects.items()
        }
        self._count(load_seconds=perf_counter() - begin)
        return kernels

    def _remember(self, kernel: CompiledKernel) -> None:
        self._alive[kernel.name] = kernel
        self._recent[kernel.name] = kernel
        self._recent.move_to_end(kernel.name)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _count(self, **more: float) -> None:
        before = self._statistics
        self._statistics = replace(before, **{k: getattr(before, k) + n for k, n in more.items()})


@cache
def default_cache() -> KernelCache:
    """The cache of this process, as the environment says at its first use.

    A child of ``fork`` makes its own: a thread that does not exist there may hold the lock.
    """
    os.register_at_fork(after_in_child=default_cache.cache_clear)
    return KernelCache(_disk() if os.environ.get("GRAPHC_CACHE", "1") != "0" else None)


def kernel_name(function: Function, target: Target) -> str:
    """The symbol of a kernel: equal for equal functions, targets and versions of compilers."""
    key = "\n".join((codegen_version(), target.key, print_function(function)))
    return f"graphc_{hashlib.sha256(key.encode()).hexdigest()[:40]}"


@cache
def codegen_version() -> str:
    """The versions of graphc, of its code generator's sources, of llvmlite and of LLVM."""
    import llvmlite
    import llvmlite.binding as llvm

    here = Path(__file__).parent
    folders = (here, here.parent / "loops", here.parent / "loops/math")
    sources = hashlib.sha256()
    for path in sorted(p for f in (*folders, folders[1] / "rewrites") for p in f.glob("*.py")):
        sources.update(path.read_bytes())
    numbers = ".".join(map(str, llvm.llvm_version_info))
    return f"{__version__} {sources.hexdigest()} {llvmlite.__version__} {numbers}"


def _disk() -> DiskCache | None:
    try:
        return DiskCache(_directory())
    except RuntimeError as error:  # a user without a home, as in many containers
        what = f"{error}; kernels are kept in memory alone unless GRAPHC_CACHE_DIR is set"
        warnings.warn(f"kernel cache: {what}", CacheWarning, stacklevel=3)
        return None


def _directory() -> Path:
    """An absolute path, so that it stays the same folder wherever the process goes.

    Raises:
        RuntimeError: the user has no home folder.
    """
    given = os.environ.get("GRAPHC_CACHE_DIR")
    if given:
        return Path(given).absolute()
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG Base Directory Specification: "if an implementation encounters a relative path ...
    # it should consider the path invalid and ignore it".
    return (home if home.is_absolute() else Path.home() / ".cache") / "graphc"


def _compile(
    wanted: Mapping[str, Function], work: Compiling, progress: Progress | None
) -> dict[str, bytes]:
    """Objects, made by several threads; the first error in order is raised."""
    for name, function in wanted.items():
        work.start(name, function)
    compiled: dict[str, bytes] = {}
    for name in wanted:
        compiled[name] = work.object(name)
        if progress is not None:
            progress(len(compiled), len(wanted))
    return compiled
