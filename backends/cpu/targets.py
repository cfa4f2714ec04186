"""The processors that kernels are compiled for, by name."""

from __future__ import annotations

from graphc.backends.cpu.host import host_cpu, named_cpu
from graphc.ir.target import Target


def host_target() -> Target:
    """This machine, with what it masks off and the caches that it has."""
    return host_cpu().target


def target_named(name: str) -> Target:
    """``host`` or a level: ``x86-64-v2``, ``x86-64-v3``, ``x86-64-v4``, ``aarch64``.

    Raises:
        CompileError: there is no such level.
    """
    return named_cpu(name).target


def runs_here(target: Target) -> bool:
    """Whether this machine executes what is compiled for ``target``."""
    host = host_cpu()
    wanted = (f[1:] for f in target.features.split(",") if f.startswith("+"))
    architecture = target.triple.partition("-")[0]
    return target.kind == "cpu" and architecture == host.architecture and host.has(*wanted)
