"""The processor of this machine, and the levels that code for other machines is compiled for.

LLVM knows the processor and its features, sysfs its caches, the scheduler the cores that this
process may use. The features are always spelled out: a virtual machine may mask some of those
that the processor's name implies. A level (``x86-64-v3``, ...) is the same plain data about a
machine that need not be this one, so that code for each of them is generated, run and tested in
one way.

LLVM is loaded by ``host_cpu`` and ``llvm_version`` alone, when they are called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from graphc.ir.errors import CompileError
from graphc.ir.target import Target

_SYSFS = Path("/sys/devices/system/cpu")
_UNITS = MappingProxyType({"K": 1 << 10, "M": 1 << 20, "G": 1 << 30})


@dataclass(frozen=True, slots=True)
class Caches:
    """Bytes of one instance of each data cache, on the core of this process that has the least.

    The defaults are for a machine that does not tell, and for the levels: the least that the
    server and desktop cores of the last years have, so that blocks chosen for them fit anywhere.
    """

    l1d: int = 32 << 10
    l2: int = 512 << 10
    l3: int = 8 << 20


@dataclass(frozen=True, slots=True)
class HostCPU:
    """A processor that code runs on."""

    name: str
    """What a user calls it: ``host`` or a level."""
    triple: str
    cpu: str
    """LLVM's name, which chooses the instruction latencies that are assumed."""
    features: tuple[str, ...]
    """LLVM's features, sorted by name, each with its sign: ``("+avx2", "-avx512f")``."""
    cores: int = 1
    """How many cores this process may use: those of its affinity mask."""
    caches: Caches = Caches()

    @property
    def architecture(self) -> str:
        """The first part of the triple: ``x86_64``, ``aarch64``, ..."""
        return self.triple.partition("-")[0]

    def has(self, *features: str) -> bool:
        """Whether all of ``features``, named without a sign, are enabled."""
        return all(f"+{feature}" in self.features for feature in features)

    def runs(self, other: HostCPU) -> bool:
        """Whether this processor executes what was compiled for ``other``."""
        wanted = (f[1:] for f in other.features if f[0] == "+")
        return self.architecture == other.architecture and self.has(*wanted)

    @property
    def target(self) -> Target:
        """What passes and schedules are told of this processor."""
        vector_bytes, vector_registers = _vector_file(self)
        return Target(
            kind="cpu",
            name=self.name,
            triple=self.triple,
            cpu=self.cpu,
            features=",".join(self.features),
            vector_bytes=vector_bytes,
            vector_registers=vector_registers,
            has_fma=self.architecture == "aarch64" or self.has("fma"),
            l1_bytes=self.caches.l1d,
            l2_bytes=self.caches.l2,
            l3_bytes=self.caches.l3,
        )


@cache
def host_cpu() -> HostCPU:
    """This machine, as this process may use it; asked once."""
    import llvmlite.binding as llvm

    return HostCPU(
        name="host",
        triple=llvm.get_process_triple(),
        cpu=llvm.get_host_cpu_name(),
        features=_signed(llvm.get_host_cpu_features()),
        cores=len(os.sched_getaffinity(0)),
        caches=read_caches(_SYSFS, os.sched_getaffinity(0)),
    )


def llvm_version() -> str:
    """The version of LLVM, such as ``20.1.8``."""
    import llvmlite.binding as llvm

    return ".".join(map(str, llvm.llvm_version_info))


def named_cpu(name: str) -> HostCPU:
    """The host if ``name`` is ``"host"``, else the level of that name, with default caches.

    Raises:
        CompileError: there is no such level; the message lists those there are.
    """
    if name == "host":
        return host_cpu()
    if name not in LEVELS:
        raise CompileError(f"no CPU level {name!r}; there are: host, {', '.join(LEVELS)}")
    return LEVELS[name]


def read_caches(sysfs: Path, cores: Iterable[int]) -> Caches:
    """The data caches that Linux describes under ``sysfs`` (``/sys/devices/system/cpu``).

    Of unlike cores the smallest caches count, so that a block fits wherever a thread runs. A
    machine without an L3 (or L2) gets the size of its last level there: a block "for L3" must
    stay in what there is. A machine that describes nothing gets the defaults of ``Caches``.
    """
    described = [sizes for core in cores if (sizes := dict(_core_caches(sysfs, core)))]
    if not described:
        return Caches()
    l1d, l2, l3 = (min(_size_at(level, sizes) for sizes in described) for level in (1, 2, 3))
    return Caches(l1d=l1d, l2=l2, l3=l3)


def _size_at(level: int, sizes: Mapping[int, int]) -> int:
    """The size at ``level`` or, where there is none, at the nearest level below, or the lowest."""
    return sizes[max((there for there in sizes if there <= level), default=min(sizes))]


def _core_caches(sysfs: Path, core: int) -> Iterator[tuple[int, int]]:
    """(level, bytes) of each data or unified cache of a core; nothing where sysfs is silent."""
    for index in sorted(sysfs.glob(f"cpu{core}/cache/index*")):
        try:
            level, kind, size = ((index / n).read_text().strip() for n in ("level", "type", "size"))
        except OSError:  # some ARM firmware lists a cache without its size
            continue
        if kind != "Instruction" and (n_bytes := _parse_size(size)):
            yield int(level), n_bytes


def _parse_size(text: str) -> int:
    """Bytes of a sysfs size such as ``1024K``; zero where the kernel does not know."""
    unit = _UNITS.get(text[-1:], 1)
    digits = text if unit == 1 else text[:-1]
    return int(digits) * unit if digits.isdigit() else 0


def _vector_file(cpu: HostCPU) -> tuple[int, int]:
    """Bytes of a vector register and how many there are.

    A width counts only with the whole level that made it useful: AVX without AVX2 has no integer
    operations of 32 bytes, AVX-512F alone no masks for bytes nor for shorter vectors.
    """
    if cpu.architecture == "aarch64":
        return 16, 32
    if cpu.has(*_V4):
        return 64, 32
    return (32, 16) if cpu.has(*_V3) else (16, 16)


def _signed(features: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(("+" if features[name] else "-") + name for name in sorted(features))


_V1 = ("64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2")
_V2 = ("crc32", "cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")


def _x86_level(name: str, *features: str) -> HostCPU:
    signed = _signed(dict.fromkeys(features, True))
    return HostCPU(name, "x86_64-unknown-linux-gnu", name, signed)


_LEVELS = (
    # The levels of the x86-64 psABI (section 3.1.1, "Processor Architecture").
    _x86_level("x86-64-v2", *_V1, *_V2),
    _x86_level("x86-64-v3", *_V1, *_V2, *_V3),
    _x86_level("x86-64-v4", *_V1, *_V2, *_V3, *_V4),
    # Armv8.0-A: Advanced SIMD with fused multiply-add is always there.
    HostCPU("aarch64", "aarch64-unknown-linux-gnu", "generic", ("+fp-armv8", "+neon")),
)
LEVELS: Mapping[str, HostCPU] = MappingProxyType({level.name: level for level in _LEVELS})
"""Machines that code is compiled for without asking which one it will run on."""
