"""What a user asks a session for: structures of tensors, operations, variables and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.ir.errors import FetchError, GraphError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.source import located, user_source
from graphc.ops.state import read_of
from graphc.ops.variables import Variable

Structure: TypeAlias = Any
"""A nesting as plain data, fit for JSON: the position of a tensor, None for an operation, a list,
``{"tuple": [...]}`` or ``{"dict": [[key, ...], ...]}``."""


@dataclass(frozen=True)
class Fetches:
    """A structure taken apart; ``build`` puts the values of ``tensors`` back together."""

    tensors: tuple[Tensor, ...]
    targets: tuple[Node, ...]
    structure: Structure
    kinds: tuple[type, ...]
    """The types of named tuples, in order of their appearance."""

    def build(self, values: Sequence[Any]) -> Any:
        if self.structure == 0:
            return values[0]
        return build_structure(self.structure, values, iter(self.kinds))


def parse_fetches(fetches: Any, graph: Graph) -> Fetches:
    """Read nested lists, tuples, named tuples and mappings of things to fetch.

    An operation gives None. Raises:
        FetchError: something that is no tensor, operation, variable or name of ``graph``.
    """
    parser = _Parser(graph)
    try:
        structure = parser.parse(fetches)
    except RecursionError:
        raise _error("the fetches are nested too deeply, or contain themselves") from None
    return Fetches(tuple(parser.tensors), tuple(parser.targets), structure, tuple(parser.kinds))


def build_structure(
    structure: Structure, values: Sequence[Any], kinds: Iterator[type] | None = None
) -> Any:
    """``values`` in the nesting that ``structure`` describes; ``kinds`` are its named tuples."""
    if structure is None or isinstance(structure, int):
        return None if structure is None else values[structure]
    if isinstance(structure, list):
        return [build_structure(part, values, kinds) for part in structure]
    if "dict" in structure:
        return {key: build_structure(part, values, kinds) for key, part in structure["dict"]}
    kind = next(kinds) if kinds is not None and structure.get("named") else None
    parts = [build_structure(part, values, kinds) for part in structure["tuple"]]
    return tuple(parts) if kind is None else kind(*parts)


def as_tensor(item: Any, graph: Graph) -> Tensor | None:
    """The tensor that ``item`` (a tensor, a variable, or ``name:0``) stands for, if any.

    A variable, and its handle, stand for the value at the start of the step.
    """
    if isinstance(item, str):
        item = _named(item, graph)
    elif isinstance(item, Variable):
        return item.at_start
    elif not isinstance(item, Tensor) and hasattr(item, "__graphc_tensor__"):
        item = item.__graphc_tensor__()
    if not isinstance(item, Tensor):
        return None
    return read_of(item) if item.type.resource else item


class _Parser:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: dict[Tensor, int] = {}
        self.targets: dict[Node, None] = {}
        self.kinds: list[type] = []

    def parse(self, item: Any) -> Structure:
        if isinstance(item, Mapping):
            return {"dict": [[key, self.parse(part)] for key, part in item.items()]}
        if isinstance(item, list):
            return [self.parse(part) for part in item]
        if isinstance(item, tuple):
            return self._tuple(item)
        tensor = as_tensor(item, self.graph)
        if tensor is not None:
            self._check_graph(tensor.graph, item)
            return self.tensors.setdefault(tensor, len(self.tensors))
        node = _named(item, self.graph) if isinstance(item, str) else item
        if not isinstance(node, Node):
            raise _error(f"cannot fetch {item!r}: it is no tensor, operation, variable or name")
        self._check_graph(node.graph, item)
        self.targets.setdefault(node)
        return None

    def _tuple(self, item: tuple[Any, ...]) -> Structure:
        if not hasattr(item, "_fields"):
            return {"tuple": [self.parse(part) for part in item]}
        self.kinds.append(type(item))
        return {"tuple": [self.parse(part) for part in item], "named": True}

    def _check_graph(self, found: Graph, item: Any) -> None:
        if found is not self.graph:
            raise _error(f"cannot fetch {item!r}: it belongs to another graph than the session's")


def _named(name: str, graph: Graph) -> Tensor | Node:
    try:
        return graph.tensor(name) if ":" in name else graph.node(name)
    except GraphError as error:
        raise _error(f"cannot fetch {name!r}: {error}") from None


def _error(message: str) -> FetchError:
    return FetchError(located(message, user_source()))
