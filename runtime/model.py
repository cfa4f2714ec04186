"""Running an artifact in Python: the same machine code as from C, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.artifact import Artifact, Manifest, Port
from graphc.backends.cpu.executable import Parallel, aligned
from graphc.backends.loops.program import Check, Program, Storage
from graphc.ir.dims import evaluate
from graphc.ir.errors import ArtifactError, CompileError, DataError, FeedError
from graphc.ir.graph import Graph, Tensor
from graphc.runtime.deployable import VARIABLES, read_arrays
from graphc.runtime.feeds import prepare, sizes_of
from graphc.runtime.fetches import build_structure
from graphc.runtime.memory import check_bytes, check_storages

Array = npt.NDArray[Any]
POSITION_BITS = 48


def load(path: str | Path, target: str | None = None) -> Model:
    """Load an artifact for this machine; ``target`` picks one of those it was compiled for.

    Raises:
        ArtifactError: it is damaged, of another version, or needs instructions that this
            machine does not have.
    """
    return Model(Artifact(Path(path)), target)


class Model:
    """A loaded artifact: ``model(x, y)`` or ``model(images=x, labels=y)``.

    ``variables`` are arrays by name, which a training step changes in place. Work is spread over
    the threads of this process's pool; the bits do not depend on how many there are.
    """

    def __init__(self, artifact: Artifact, target: str | None = None) -> None:
        from graphc.backends.cpu import objects

        manifest = artifact.manifest
        self.manifest = manifest
        self.target = objects.choose_target(manifest.targets, target)
        self.inputs = manifest.inputs
        self.outputs = manifest.outputs
        self.variables = _variables(artifact)
        self._constants = objects.aligned_copy(artifact.read(self.target.constants))
        self._entry = _entry(artifact, self.target.object)
        self._feeds = _placeholders(manifest.inputs)
        self._interface = _interface(manifest, self._feeds)
        self._fetched = tuple(port.type for port in manifest.outputs)
        self._variable_pointers = _pointers(list(self.variables.values()))
        self._parallel = Parallel()

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Run once; gives fresh arrays in the structure of the fetches that were compiled.

        Raises:
            FeedError: an input that is missing or does not fit.
            DataError: an error in the data; variables are unchanged.
        """
        results = self.run(self._named(values, named))
        return build_structure(self.manifest.structure, [r if r.shape else r[()] for r in results])

    def run(self, values: Mapping[str, Any]) -> list[Array]:
        """Run once on inputs by name; gives fresh arrays in the order of ``outputs``.

        Raises:
            FeedError, DataError: as a call.
        """
        arrays, sizes = self._prepared(values)
        check_storages(self._interface, sizes)
        results = [
            np.empty([evaluate(d, sizes) for d in type_.shape], type_.dtype.numpy)
            for type_ in self._fetched
        ]
        dims, inputs, outputs = self._dims(sizes), _pointers(arrays), _pointers(results)
        workspace = aligned(check_bytes(self._entry.workspace_size(dims.ctypes.data), "workspace"))
        status = self._entry.run(
            self._constants.ctypes.data, self._variable_pointers.ctypes.data,
            workspace.ctypes.data, inputs.ctypes.data, outputs.ctypes.data, dims.ctypes.data,
            self._parallel.address(),
        )  # fmt: skip
        if status:
            raise self._error(status)
        return results

    def _error(self, status: int) -> Exception:
        """What a status word means."""
        number, element = status >> POSITION_BITS, status & ((1 << POSITION_BITS) - 1)
        messages = dict(enumerate(self.manifest.errors, 1))
        if number not in messages:
            return ArtifactError(f"the code ended with {status}: the manifest knows no such error")
        return DataError(f"{messages[number]}\n  at element {element}")

    def workspace_bytes(self, values: Mapping[str, Any]) -> int:
        """How much workspace a run with these inputs takes."""
        dims = self._dims(self._prepared(values)[1])
        return int(self._entry.workspace_size(dims.ctypes.data))

    def input_shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs when the dimensions that they name have these sizes."""
        return {t.node.name: tuple(evaluate(d, sizes) for d in t.shape) for t in self._feeds}

    def _prepared(self, values: Mapping[str, Any]) -> tuple[list[Array], dict[str, int]]:
        arrays = [prepare(tensor, values[tensor.node.name]) for tensor in self._feeds]
        return arrays, sizes_of(self._interface.checks, self._feeds, arrays)

    def _dims(self, sizes: Mapping[str, int]) -> Array:
        return np.array([sizes[name] for name in self.manifest.dims] or [0], np.int64)

    def _named(self, values: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Every input by its name."""
        names = [p.name for p in self.inputs]
        rest = names[len(values) :]
        if len(values) > len(names) or set(rest) != named.keys():
            takes = f"{self.manifest.name} takes {', '.join(names) or 'no inputs'}"
            by_name = f" and {', '.join(sorted(named))}" if named else ""
            plural = "value" if len(values) == 1 else "values"
            raise FeedError(f"{takes}; given {len(values)} {plural}{by_name}")
        return {**dict(zip(names, values, strict=False)), **named}


def _entry(artifact: Artifact, name: str) -> Any:
    from graphc.backends.cpu import objects

    data = artifact.read(name)
    try:
        return objects.load_entry(data, artifact.manifest.name)
    except CompileError as error:
        raise ArtifactError(
            f"{artifact.path}: {name} is no code of this artifact: {error}; compile it again"
        ) from None


def _placeholders(ports: Sequence[Port]) -> tuple[Tensor, ...]:
    """Inputs as a graph has them, so that what is fed is held to the rules of a session."""
    graph = Graph()
    found = []
    for port in ports:
        attrs = {"dtype": port.type.dtype, "shape": port.type.shape}
        node = graph.add("placeholder", (), attrs, name=port.name)
        found.append(node.outputs[0])
    return tuple(found)


def _interface(manifest: Manifest, feeds: Sequence[Tensor]) -> Program:
    """A program without calls, which knows of sizes what the compiled one does."""
    storages = [Storage("feed", t.type, t.node.name) for t in feeds]
    storages += [Storage("fetch", port.type, port.name) for port in manifest.outputs]
    positions = range(len(storages))
    return Program(
        kernels=(), storages=tuple(storages), calls=(), commit=0,
        feeds=tuple(positions[: len(feeds)]), fetches=tuple(positions[len(feeds) :]),
        checks=tuple(Check(rule.constraint, rule.message) for rule in manifest.rules),
    )  # fmt: skip


def _variables(artifact: Artifact) -> dict[str, Array]:
    """The variables' values, writable, as the manifest declares them."""
    found = read_arrays(artifact, VARIABLES)
    arrays: dict[str, Array] = {}
    for port in artifact.manifest.variables:
        value, type_ = found.get(port.name), port.type
        if value is None or value.shape != type_.shape or value.dtype != type_.dtype.numpy:
            held = "missing" if value is None else f"{value.dtype} {list(value.shape)}"
            raise ArtifactError(
                f"{artifact.path}: variable {port.name} is {held} in {VARIABLES}, not as the "
                f"manifest declares it, {port.dtype} {list(type_.shape)}; compile it again"
            )
        arrays[port.name] = array = aligned(value.size, value.dtype).reshape(value.shape)
        array[...] = value
    return arrays


def _pointers(arrays: Sequence[Array]) -> Array:
    """The arrays' addresses; whoever passes these on keeps them alive."""
    return np.array([a.ctypes.data for a in arrays] or [0], np.int64)
