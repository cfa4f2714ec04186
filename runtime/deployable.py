"""What is deployed: a graph cut to one call, and the values of its variables.

It comes from a session, or from the texts that an artifact holds (so that an artifact can be
compiled again, for a machine that it was not made for).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.artifact import Artifact
from graphc.compiler import Extract, extract
from graphc.ir.errors import ArtifactError, FeedError, ParseError, StateError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.types import TensorType
from graphc.ops.state import variables_of
from graphc.runtime.fetches import Structure
from graphc.runtime.session import Session

Arrays = Mapping[str, npt.NDArray[Any]]
GRAPH, GRAPH_CONSTANTS = "graph.txt", "graph-constants.safetensors"
VARIABLES = "variables.safetensors"


@dataclass(frozen=True)
class Deployable:
    """``values`` has all variables of the extract's graph by name."""

    extracted: Extract
    inputs: tuple[TensorType, ...]
    """The types of the graph's inputs with the sizes as the user named them, before those that
    must be equal got one name."""
    values: Arrays
    structure: Structure
    """The nesting of the outputs, see ``graphc.runtime.fetches``."""

    @property
    def graph(self) -> Graph:
        return self.extracted.graph

    def with_variables(self, values: Arrays) -> Deployable:
        """The same with other values; those for variables of other graphs are left out.

        Raises:
            StateError: a value is missing, or has another dtype or shape than its variable.
        """
        return replace(self, values=_fitting(self.graph, values))


def from_session(session: Session, fetches: Any, feed_list: Sequence[Any]) -> Deployable:
    """What computes ``fetches`` from ``feed_list``, with the session's values.

    Raises:
        FetchError, FeedError: as ``Session.run``.
    """
    parsed, feeds = session.parse(fetches, feed_list)
    extracted = extract(parsed.tensors, parsed.targets, feeds)
    types = tuple(feed.type for feed in feeds)
    return Deployable(extracted, types, session.values_of(extracted.graph), parsed.structure)


def from_text(text: str, constants: Arrays, values: Arrays) -> Deployable:
    """A graph whose inputs, outputs and targets are in its text.

    Raises:
        ParseError: as ``parse_graph``, or inputs that do not tell all sizes and values.
        StateError: as ``Deployable.with_variables``.
    """
    graph = parse_graph(text, constants)
    try:
        extracted = extract(graph.outputs, graph.targets, graph.inputs)
    except FeedError as error:
        raise ParseError(str(error)) from None
    count = len(graph.outputs)
    structure = 0 if count == 1 else list(range(count))
    types = tuple(tensor.type for tensor in graph.inputs)
    return Deployable(extracted, types, _fitting(extracted.graph, values), structure)


def from_artifact(artifact: Artifact) -> Deployable:
    """What an artifact was compiled from.

    Raises:
        ArtifactError: a file is damaged, or does not fit the others.
    """
    files = artifact.manifest.files
    constants = read_arrays(artifact, GRAPH_CONSTANTS) if GRAPH_CONSTANTS in files else {}
    values, text = read_arrays(artifact, VARIABLES), artifact.read(GRAPH)
    try:
        found = from_text(text.decode(), constants, values)
    except (ParseError, StateError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{artifact.path}: {GRAPH} cannot be compiled again: {error}") from None
    return replace(found, structure=artifact.manifest.structure)


def read_arrays(artifact: Artifact, name: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file of an artifact."""
    return arrays_from(artifact.read(name), f"{artifact.path}: {name}")


def arrays_from(data: bytes, what: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays in the bytes of a safetensors file.

    Raises:
        ArtifactError: ``what`` is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{what} is no safetensors file: {error}") from None


def bytes_of(arrays: Arrays) -> bytes:
    """A safetensors file of ``arrays``."""
    from safetensors.numpy import save

    return save({name: np.asarray(value, order="C") for name, value in arrays.items()})


def _fitting(graph: Graph, values: Arrays) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for node in variables_of(graph):
        name, type_ = node.attrs["shared_name"], node.types[0]
        value = values.get(name)
        if value is None:
            given = ", ".join(sorted(values)) or "nothing"
            raise StateError(f"variable {name!r} has no value; given is {given}")
        if value.shape != type_.shape or value.dtype != type_.dtype.numpy:
            raise StateError(
                f"the value of variable {name!r} is {value.dtype} {list(value.shape)}, "
                f"not {type_.dtype.name} {list(type_.shape)}"
            )
        found[name] = value
    return found
