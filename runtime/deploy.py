"""Writing artifacts: the program of some fetches, for one target or several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.artifact import Manifest, Port, Rule, TargetFiles, write_artifact
from graphc.backends.loops.program import Program
from graphc.compiler import CompileOptions, Extract, compile_graph, extract, freeze
from graphc.ir.errors import ArtifactError
from graphc.ir.graph import Tensor
from graphc.ir.text import print_graph
from graphc.runtime.c_header import header_text
from graphc.runtime.fetches import Fetches
from graphc.runtime.session import Session


def compile(  # noqa: A001, gx.compile
    fetches: Any,
    feed_list: Sequence[Any],
    path: str | Path,
    *,
    session: Session | None = None,
    name: str = "model",
    targets: Sequence[str] = ("host",),
    freeze_variables: bool = True,
    options: CompileOptions | None = None,
) -> Manifest:
    """Compile what computes ``fetches`` from ``feed_list`` into an artifact at ``path``.

    Args:
        fetches: as in ``Session.run``; operations too: a whole training step is one.
        feed_list: the tensors that will be inputs, in this order.
        path: a folder, or a file that ends in ``.zip``.
        session: whose variables' values are deployed; without one, their initial values.
        name: of the C functions (``NAME_run``): letters, digits and underscores.
        targets: ``host``, ``x86-64-v2``, ``x86-64-v3``, ``x86-64-v4``, ``aarch64``.
        freeze_variables: variables that the program does not write become constants, packed for
            the target; otherwise they stay arguments.
        options: how to compile.

    Raises:
        FetchError, FeedError: as ``Session.run``.
        CompileError: a target that is not known.
        ArtifactError: a name that is none in C, or a place that cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ArtifactError(f"{name!r} is no name of C functions: letters, digits, underscores")
    session = session or Session()
    parsed, feeds = session.parse(fetches, feed_list)
    extracted = extract(parsed.tensors, parsed.targets, feeds)
    values = session.values_of(extracted.graph)
    if freeze_variables:
        extracted = freeze(extracted, values)
    builds = [_Build.make(extracted, name, target, options) for target in targets]
    files = {name: data for build in builds for name, data in build.files.items()}
    program = builds[0].program
    names = [program.storages[i].name for i in program.variables]
    files["variables.safetensors"] = _safetensors({n: values[n] for n in names})
    files["graph.txt"] = _graph_text(extracted, files)
    entries = [b.entry for b in builds]
    manifest = _manifest(name, program, feeds, parsed, entries)
    header = header_text(manifest, {b.entry.name: b.constant_bytes for b in builds})
    files[f"{name}.h"] = header.encode()
    return write_artifact(Path(path), manifest, files)


@dataclass(frozen=True)
class _Build:
    """The program for one target, and its files."""

    program: Program
    entry: TargetFiles
    files: Mapping[str, bytes]

    @property
    def constant_bytes(self) -> int:
        return len(self.files[self.entry.constants])

    @staticmethod
    def make(
        extracted: Extract, name: str, target_name: str, options: CompileOptions | None
    ) -> _Build:
        from graphc.backends.cpu import objects
        from graphc.backends.cpu.executable import constant_region
        from graphc.backends.cpu.targets import target_named

        target = target_named(target_name)
        program = compile_graph(extracted, target, options)
        label = target_name
        files = {
            f"{name}-{label}.o": objects.program_object(program, name, target),
            f"pool-{label}.o": objects.pool_object(target),
            f"constants-{label}.bin": constant_region(program).tobytes(),
        }
        library = objects.link_library(
            [files[f"{name}-{label}.o"], files[f"pool-{label}.o"]], target
        )
        if library is not None:
            files[f"lib{name}-{label}.so"] = library
        entry = TargetFiles(
            name=label, triple=target.triple, cpu=target.cpu, features=target.features,
            object=f"{name}-{label}.o", pool=f"pool-{label}.o",
            constants=f"constants-{label}.bin",
            library=f"lib{name}-{label}.so" if library is not None else None,
        )  # fmt: skip
        return _Build(program, entry, files)


def _manifest(
    name: str,
    program: Program,
    feeds: Sequence[Tensor],
    fetches: Fetches,
    entries: Sequence[TargetFiles],
) -> Manifest:
    from graphc.backends.cpu.entry_ir import error_codes

    storages = program.storages
    return Manifest(
        name=name,
        inputs=tuple(_port(t.node.name, t) for t in feeds),
        outputs=tuple(_port(t.name.removesuffix(":0"), t) for t in fetches.tensors),
        variables=tuple(_port(storages[i].name, storages[i]) for i in program.variables),
        dims=tuple(program.symbols),
        rules=tuple(
            Rule(str(c.constraint.left), str(c.constraint.right), c.constraint.at_least, c.message)
            for c in program.checks
        ),
        errors=tuple(error.message for error in error_codes(program)),
        targets=tuple(entries),
        structure=fetches.structure,
    )


def _port(name: str, of: Any) -> Port:
    return Port(name, of.type.dtype.name, tuple(map(str, of.type.shape)))


def _safetensors(arrays: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(value) for name, value in arrays.items()})


def _graph_text(extracted: Extract, files: dict[str, bytes]) -> bytes:
    """The graph's text; its large constants go into a file of their own."""
    constants: dict[str, Any] = {}
    text = print_graph(extracted.graph, constants)
    if constants:
        files["graph-constants.safetensors"] = _safetensors(constants)
    return text.encode()
