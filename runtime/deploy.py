"""Writing artifacts: the program of some fetches, for one target or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphc.artifact import (
    Manifest,
    Port,
    Rule,
    TargetFiles,
    check_structure,
    is_c_name,
    write_artifact,
)
from graphc.backends.loops.program import Program
from graphc.compiler import CompileOptions, Extract, compile_graph, freeze
from graphc.ir.errors import ArtifactError
from graphc.ir.graph import Graph, Tensor
from graphc.ir.text import print_graph
from graphc.ir.types import TensorType
from graphc.runtime.c_header import header_text
from graphc.runtime.deployable import (
    GRAPH,
    GRAPH_CONSTANTS,
    VARIABLES,
    Deployable,
    bytes_of,
    from_session,
)
from graphc.runtime.session import Session

if TYPE_CHECKING:
    from graphc.ir.target import Target

POOL = "pool"
"""What the object of the thread pool is called, beside the program's."""


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
        ArtifactError: a name that is none in C, fetches in a dict whose keys cannot be written, or
            a place that cannot be written.
    """
    deployable = from_session(session or Session(), fetches, feed_list)
    return deploy(
        deployable, path, name=name, targets=targets, freeze_variables=freeze_variables,
        options=options,
    )  # fmt: skip


def deploy(
    deployable: Deployable,
    path: str | Path,
    *,
    name: str = "model",
    targets: Sequence[str] = ("host",),
    freeze_variables: bool = True,
    options: CompileOptions | None = None,
) -> Manifest:
    """Write an artifact; the arguments are those of ``compile``.

    Raises:
        CompileError, ArtifactError: as ``compile``.
    """
    _check_arguments(deployable, name, targets)
    extracted = deployable.extracted
    if freeze_variables:
        extracted = freeze(extracted, deployable.values)
    builds = [_Build.make(extracted, name, target, options) for target in dict.fromkeys(targets)]
    files = {name: data for build in builds for name, data in build.files.items()}
    files |= _texts(deployable)
    manifest = _manifest(name, deployable, builds)
    header = header_text(manifest, {b.entry.name: b.constant_bytes for b in builds})
    files[f"{name}.h"] = header.encode()
    return write_artifact(Path(path), manifest, files)


def _check_arguments(deployable: Deployable, name: str, targets: Sequence[str]) -> None:
    if not is_c_name(name):
        raise ArtifactError(f"{name!r} is no name of C functions: letters, digits, underscores")
    if name == POOL:
        raise ArtifactError(f"every artifact has a {POOL}, its threads: choose another name")
    if not targets:
        raise ArtifactError("an artifact needs a target: host, x86-64-v3, aarch64, ...")
    try:
        check_structure(deployable.structure, len(deployable.graph.outputs))
    except ValueError as error:
        raise ArtifactError(f"the fetches cannot be kept in an artifact: {error}") from None


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
    def make(extracted: Extract, name: str, label: str, options: CompileOptions | None) -> _Build:
        from graphc.backends.cpu.targets import target_named

        target = target_named(label)
        program = compile_graph(extracted, target, options)
        files = _target_files(program, name, label, target)
        entry = TargetFiles(
            name=label, triple=target.triple, cpu=target.cpu, features=target.features,
            object=f"{name}-{label}.o", pool=f"{POOL}-{label}.o",
            constants=f"constants-{label}.bin",
            library=library if (library := f"lib{name}-{label}.so") in files else None,
        )  # fmt: skip
        return _Build(program, entry, files)


def _target_files(program: Program, name: str, label: str, target: Target) -> dict[str, bytes]:
    from graphc.backends.cpu import objects
    from graphc.backends.cpu.executable import constant_region

    code = objects.program_object(program, name, target)
    pool = objects.pool_object(target)
    files = {
        f"{name}-{label}.o": code,
        f"{POOL}-{label}.o": pool,
        f"constants-{label}.bin": constant_region(program).tobytes(),
    }
    library = objects.link_library([code, pool], target)
    return files if library is None else {**files, f"lib{name}-{label}.so": library}


def _texts(deployable: Deployable) -> dict[str, bytes]:
    """The graph with its variables, from which the artifact can be compiled again."""
    constants: dict[str, Any] = {}
    text = print_graph(deployable.graph, constants)
    files = {GRAPH: text.encode(), VARIABLES: bytes_of(deployable.values)}
    return {**files, GRAPH_CONSTANTS: bytes_of(constants)} if constants else files


def _manifest(name: str, deployable: Deployable, builds: Sequence[_Build]) -> Manifest:
    from graphc.backends.cpu.entry_ir import error_codes

    program = builds[0].program
    graph: Graph = deployable.graph
    variables, errors = _variables(program), error_codes(program)
    for build in builds[1:]:
        if (_variables(build.program), error_codes(build.program)) != (variables, errors):
            names = f"{builds[0].entry.name} and {build.entry.name}"
            raise ArtifactError(f"{names} do not fit one C interface: compile each by itself")
    return Manifest(
        name=name,
        inputs=tuple(map(_port, map(_name, graph.inputs), deployable.inputs)),
        outputs=tuple(_port(_name(t), t.type) for t in graph.outputs),
        variables=variables,
        dims=program.symbols,
        rules=tuple(
            Rule(str(c.constraint.left), str(c.constraint.right), c.constraint.at_least, c.message)
            for c in program.checks
        ),
        errors=tuple(error.message for error in errors),
        targets=tuple(build.entry for build in builds),
        structure=deployable.structure,
    )


def _variables(program: Program) -> tuple[Port, ...]:
    return tuple(_port(s.name, s.type) for s in (program.storages[i] for i in program.variables))


def _name(tensor: Tensor) -> str:
    return tensor.name.removesuffix(":0")


def _port(name: str, type_: TensorType) -> Port:
    return Port(name, type_.dtype.name, tuple(map(str, type_.shape)))
