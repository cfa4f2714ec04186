"""Running an artifact in Python: the same machine code as from C, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.artifact import Artifact, Port
from graphc.backends.cpu.executable import aligned
from graphc.ir.dims import Dim, evaluate, symbol_name
from graphc.ir.dtypes import as_dtype
from graphc.ir.errors import ArtifactError, DataError, FeedError, ParseError
from graphc.ir.notation import Line, read_dim
from graphc.ir.types import Constraint
from graphc.runtime.fetches import build_structure

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

    ``variables`` are arrays by name, which a training step changes in place.
    """

    def __init__(self, artifact: Artifact, target: str | None = None) -> None:
        from graphc.backends.cpu import objects

        manifest = artifact.manifest
        self.manifest = manifest
        entry = objects.choose_target(manifest.targets, target)
        self.inputs = manifest.inputs
        self.outputs = manifest.outputs
        self.variables = _variables(artifact)
        self._constants = objects.aligned_copy(artifact.read(entry.constants))
        self._entry = objects.load_entry(artifact.read(entry.object), manifest.name)
        self._shapes = {p.name: tuple(map(_dim, p.shape)) for p in (*self.inputs, *self.outputs)}
        self._rules = [
            (Constraint(_dim(r.left), _dim(r.right), "", r.at_least), r.message)
            for r in manifest.rules
        ]
        self._variable_pointers = _pointers(list(self.variables.values()))

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Run once; gives fresh arrays in the structure of the fetches that were compiled.

        Raises:
            FeedError: an input that is missing or does not fit.
            DataError: an error in the data; variables are unchanged.
        """
        arrays = [
            _prepared(p, v) for p, v in zip(self.inputs, self._order(values, named), strict=True)
        ]
        sizes = self._sizes(arrays)
        dims = np.array([sizes[name] for name in self.manifest.dims] or [0], np.int64)
        outputs = [
            np.empty([evaluate(d, sizes) for d in self._shapes[p.name]], as_dtype(p.dtype).numpy)
            for p in self.outputs
        ]
        workspace = aligned(self._entry.workspace_size(dims.ctypes.data))
        status = self._entry.run(
            self._constants.ctypes.data, self._variable_pointers.ctypes.data,
            workspace.ctypes.data, _pointers(arrays).ctypes.data, _pointers(outputs).ctypes.data,
            dims.ctypes.data, None,
        )  # fmt: skip
        if status:
            message = self.manifest.errors[(status >> POSITION_BITS) - 1]
            element = status & ((1 << POSITION_BITS) - 1)
            raise DataError(f"{message}\n  at element {element}")
        return build_structure(self.manifest.structure, [a if a.shape else a[()] for a in outputs])

    def _order(self, values: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        names = [p.name for p in self.inputs]
        rest = names[len(values) :]
        if len(values) > len(names) or set(rest) != named.keys():
            raise FeedError(
                f"{self.manifest.name} takes {names}, not {len(values)} values and {sorted(named)}"
            )
        return [*values, *(named[name] for name in rest)]

    def _sizes(self, arrays: Sequence[Array]) -> dict[str, int]:
        """The values of the symbols, which every input and every rule must agree with."""
        sizes: dict[str, int] = {}
        shapes = [self._shapes[p.name] for p in self.inputs]
        for shape, array in zip(shapes, arrays, strict=True):
            for dim, size in zip(shape, array.shape, strict=True):
                if (name := symbol_name(dim)) is not None:
                    sizes.setdefault(name, size)
        for port, shape, array in zip(self.inputs, shapes, arrays, strict=True):
            expected = tuple(evaluate(dim, sizes) for dim in shape)
            if expected != array.shape:
                raise FeedError(
                    f"input {port.name} has shape {list(array.shape)}, not {list(expected)}"
                )
        for constraint, message in self._rules:
            if not constraint.holds(sizes):
                raise FeedError(message)
        return sizes


def _variables(artifact: Artifact) -> dict[str, Array]:
    """The variables' values, writable, as the manifest declares them."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    try:
        found = load_arrays(artifact.read("variables.safetensors"))
    except SafetensorError as error:
        raise ArtifactError(f"{artifact.path}: the variables cannot be read: {error}") from None
    arrays: dict[str, Array] = {}
    for port in artifact.manifest.variables:
        value = found.get(port.name)
        if (
            value is None
            or list(map(str, value.shape)) != list(port.shape)
            or (value.dtype != as_dtype(port.dtype).numpy)
        ):
            raise ArtifactError(f"{artifact.path}: variable {port.name} is not as declared")
        arrays[port.name] = np.array(value, order="C")
    return arrays


def _prepared(port: Port, value: Any) -> Array:
    dtype = as_dtype(port.dtype).numpy
    array = np.asarray(value)
    if array.dtype != dtype:
        if isinstance(value, np.ndarray) and not np.can_cast(array.dtype, dtype, "same_kind"):
            raise FeedError(f"input {port.name} is {array.dtype}, not {dtype}")
        array = array.astype(dtype)
    if array.ndim != len(port.shape):
        raise FeedError(f"input {port.name} has rank {array.ndim}, not {len(port.shape)}")
    return np.require(array, requirements=["C", "A"])


def _dim(text: str) -> Dim:
    line = Line(text, 1)
    try:
        dim = read_dim(line)
        line.end()
    except ParseError as error:
        raise ArtifactError(f"{text!r} is no dimension: {error}") from None
    return dim


def _pointers(arrays: Sequence[Array]) -> Array:
    return np.array([a.ctypes.data for a in arrays] or [0], np.int64)
