"""What a pass or a schedule must know of the machine that it compiles for.

A ``Target`` is a value: it holds facts (vector width, registers, caches), never behaviour, so that
passes can read it without importing a backend.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of processor. Sizes are bytes, ``vector_bytes`` that of one vector register."""

    kind: str
    """Which backend compiles for it: ``cpu`` or ``gpu``."""
    name: str
    """What a user calls it: ``host``, ``x86-64-v3``, ``aarch64``, ``sm_90``."""
    triple: str = ""
    cpu: str = ""
    features: str = ""
    """LLVM's explicit feature string; a CPU name alone may enable what the machine masks off."""
    vector_bytes: int = 16
    vector_registers: int = 16
    has_fma: bool = False
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024
    l3_bytes: int = 8 * 1024 * 1024

    def lanes(self, size: int) -> int:
        """How many elements of ``size`` bytes one vector register holds."""
        return max(1, self.vector_bytes // size)

    @property
    def key(self) -> str:
        """What generated code depends on, for caches and manifests; cache sizes choose blocks."""
        facts = (self.kind, self.triple, self.cpu, self.features, self.vector_bytes)
        caches = (self.vector_registers, self.has_fma, self.l1_bytes, self.l2_bytes, self.l3_bytes)
        return "|".join(map(str, facts + caches))
