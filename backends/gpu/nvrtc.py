"""CUDA C to machine code through NVRTC, with neither a driver nor a GPU at hand.

NVRTC is one shared library, which the ``nvidia-cuda-nvrtc`` wheel carries; ``ctypes`` is all that
it takes to call it. So every kernel can be compiled for every architecture on any machine, which
is what continuous integration does with each kernel that a test generates.

The options are fixed, because they decide bits: IEEE division and square root, denormals kept,
and no contraction of ``a * b + c``: a fused multiply-add is what loops calls ``fma``, no other.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

from graphc.ir.errors import CompileError

DISTRIBUTION = "nvidia-cuda-nvrtc"
EXACT = (
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--std=c++17",
)
_LIBRARY_NAMES = ("libnvrtc.so*", "nvrtc64_*.dll")


def compile_cubin(source: str, arch: str) -> bytes:
    """Machine code (an ELF image) of CUDA C ``source`` for one architecture, e.g. ``"sm_90"``.

    Raises:
        CompileError: NVRTC is not installed, does not know ``arch``, or refuses ``source``; the
            message then ends with NVRTC's log.
    """
    return _compile(source, arch, prefix="sm", result="CUBIN")


def compile_ptx(source: str, arch: str) -> str:
    """PTX of CUDA C ``source`` for ``arch`` (e.g. ``"compute_80"``) and all later ones.

    Raises:
        CompileError: as ``compile_cubin``.
    """
    return _compile(source, arch, prefix="compute", result="PTX").rstrip(b"\0").decode("ascii")


def version() -> tuple[int, int]:
    """NVRTC's version, which is a part of the key of any cache of its results.

    Raises:
        CompileError: NVRTC is not installed.
    """
    return _library().version


def supported_archs() -> tuple[str, ...]:
    """The architectures that this NVRTC compiles for, as ``sm_NN``, in ascending order.

    Raises:
        CompileError: NVRTC is not installed.
    """
    return _library().archs


@dataclass(frozen=True, eq=False)
class _Library:
    """The loaded shared library; every call checks the status that it returns."""

    handle: ctypes.CDLL

    def call(self, function: str, *arguments: object) -> None:
        status = getattr(self.handle, function)(*arguments)
        if status != 0:
            raise CompileError(f"{function}: {self.describe(status)}")

    def describe(self, status: int) -> str:
        get_error_string = self.handle.nvrtcGetErrorString
        get_error_string.restype = ctypes.c_char_p
        text: bytes = get_error_string(status)
        return text.decode("ascii")

    @cached_property
    def version(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    @cached_property
    def archs(self) -> tuple[str, ...]:
        count = ctypes.c_int()
        self.call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self.call("nvrtcGetSupportedArchs", numbers)
        return tuple(f"sm_{number}" for number in numbers)

    def fetch(self, program: ctypes.c_void_p, what: str) -> bytes:
        """The bytes of ``what`` (``CUBIN``, ``PTX``, ``ProgramLog``) of a compiled program."""
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw[: size.value]


def _compile(source: str, arch: str, *, prefix: str, result: str) -> bytes:
    library = _library()
    _check_arch(library, arch, prefix)
    program = ctypes.c_void_p()
    library.call(
        "nvrtcCreateProgram",
        ctypes.byref(program),
        source.encode(),
        b"kernel.cu",
        0,
        None,
        None,
    )
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *EXACT)]
        status = library.handle.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*options)
        )
        if status != 0:
            log = library.fetch(program, "ProgramLog").rstrip(b"\0\n").decode(errors="replace")
            what = library.describe(status)
            raise CompileError(f"NVRTC refuses a kernel for {arch} ({what}):\n{log}")
        return library.fetch(program, result)
    finally:
        library.call("nvrtcDestroyProgram", ctypes.byref(program))


def _check_arch(library: _Library, arch: str, prefix: str) -> None:
    """NVRTC's own message for an unknown architecture does not say which there are."""
    known = [name.replace("sm", prefix) for name in library.archs]
    if arch not in known:
        release = ".".join(map(str, library.version))
        raise CompileError(f"NVRTC {release} knows no {arch!r}; it has {', '.join(known)}")


@cache
def _library() -> _Library:
    missing = f"NVRTC is missing: pip install 'graphc[gpu]' (it brings {DISTRIBUTION})"
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise CompileError(missing) from None
    paths = [Path(str(f.locate())) for f in files if any(map(f.match, _LIBRARY_NAMES))]
    if not paths:
        raise CompileError(f"{missing}; its files are installed without the library")
    return _Library(_load(min(paths, key=lambda path: len(path.name))))


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompileError(f"NVRTC cannot be loaded from {path}: {error}") from error
