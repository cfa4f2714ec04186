"""Object code of whole programs, for artifacts: made for any target, loaded on this machine."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphc.backends.cpu.entry_ir import entry_ir
from graphc.backends.cpu.executable import aligned, constant_offsets
from graphc.backends.cpu.host import host_cpu
from graphc.backends.cpu.jit import Library, compile_object, link
from graphc.backends.cpu.pool_ir import pool_ir
from graphc.backends.cpu.printer import print_module
from graphc.backends.loops.program import Program
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.ir.errors import ArtifactError
from graphc.ir.target import Target

Array = npt.NDArray[Any]


class Compiled(Protocol):
    """What is known of a target that an artifact was compiled for."""

    @property
    def name(self) -> str: ...
    @property
    def triple(self) -> str: ...
    @property
    def features(self) -> str: ...


def program_object(program: Program, name: str, target: Target) -> bytes:
    """An object file with ``NAME_run`` and ``NAME_workspace_size``; nothing else is exported.

    Raises:
        CompileError: the program holds what the target cannot do.
    """
    kernels = [f"{name}_kernel_{i}" for i in range(len(program.kernels))]
    functions = {
        kernel: expand_math(function, fused=target.has_fma)
        for kernel, function in zip(kernels, program.kernels, strict=True)
    }
    text = print_module(functions, target)
    for kernel in kernels:
        text = text.replace(f"define void @{kernel}(", f"define internal void @{kernel}(")
    entry = entry_ir(program, name, kernels, constant_offsets(program)[0])
    return compile_object(f"{text}\n{entry}", target)


def pool_object(target: Target) -> bytes:
    """An object file with the optional thread pool."""
    return compile_object(pool_ir(target.triple), target)


def link_library(objects: Sequence[bytes], target: Target) -> bytes | None:
    """A shared library of ``objects``, or None where no linker for the target is at hand.

    The system's compiler links for this machine's kind, the linker in the ``ziglang`` wheel for
    any; it leaves names of the C library to be found when the library is loaded.
    """
    command = _linker(target)
    if command is None:
        return None
    try:
        return _linked(command, objects)
    except OSError as error:
        raise ArtifactError(f"the library cannot be linked: {error}") from None


def _linked(command: Sequence[str], objects: Sequence[bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.o" for i in range(len(objects))]
        for path, data in zip(paths, objects, strict=True):
            path.write_bytes(data)
        library = Path(folder) / "library.so"
        done = subprocess.run(
            [*command, "-shared", "-o", str(library), *map(str, paths)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ArtifactError(f"the library cannot be linked: {done.stderr.strip()}")
        return library.read_bytes()


def choose_target(compiled: Sequence[Compiled], wanted: str | None) -> Any:
    """Of what an artifact was compiled for, the one to run here: ``wanted``, or the best.

    Raises:
        ArtifactError: none can run on this machine, with the instructions that it lacks.
    """
    host = host_cpu()
    candidates = [c for c in compiled if wanted in (None, c.name)]
    if not candidates:
        known = ", ".join(c.name for c in compiled)
        raise ArtifactError(f"the artifact has no code for {wanted}; it was compiled for {known}")
    lacking = {c.name: _lacking(c) for c in candidates}
    fitting = [c for c in candidates if not lacking[c.name]]
    if not fitting:
        reasons = "; ".join(f"{name} needs {', '.join(what)}" for name, what in lacking.items())
        raise ArtifactError(f"this machine ({host.cpu}) cannot run the artifact: {reasons}")
    return max(fitting, key=lambda c: c.features.count("+"))


@dataclass(frozen=True)
class Entry:
    """The functions of an object file that was loaded into this process."""

    workspace_size: Callable[[int], int]
    run: Callable[..., int]
    library: Library
    """Holds the code: it must outlive the functions."""


def load_entry(data: bytes, name: str) -> Entry:
    """Load the object file of an artifact called ``name``.

    Raises:
        CompileError: the object is damaged.
    """
    size, run = f"{name}_workspace_size", f"{name}_run"
    library = link({run: data}, exports=[size])
    pointer = ctypes.c_void_p
    return Entry(
        ctypes.CFUNCTYPE(ctypes.c_int64, pointer)(library.address(size)),
        ctypes.CFUNCTYPE(ctypes.c_int64, *[pointer] * 7)(library.address(run)),
        library,
    )


def aligned_copy(data: bytes) -> Array:
    """``data`` at a multiple of 64 bytes."""
    copy = aligned(len(data))
    copy[:] = np.frombuffer(data, np.uint8)
    return copy


def _lacking(compiled: Compiled) -> list[str]:
    """What this machine lacks to run code: the architecture, or instruction sets."""
    host = host_cpu()
    architecture = compiled.triple.split("-")[0]
    if architecture != host.architecture:
        return [f"an {architecture} processor"]
    needed = {f[1:] for f in compiled.features.split(",") if f.startswith("+")}
    return sorted(feature for feature in needed if not host.has(feature))


def _linker(target: Target) -> list[str] | None:
    system = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    here = target.triple.split("-")[0] == host_cpu().architecture
    if system is not None and here:
        return [system]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "ld.lld"]
    return None
