"""What a user asks a session for: structures of tensors, operations, variables and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.ir.errors import FetchError, GraphError
from graphc.ir.graph import Graph, Node, Tensor

Build = Callable[[Sequence[Any]], Any]
"""Puts fetched values into the user's structure."""


@dataclass(frozen=True)
class Fetches:
    """A structure taken apart: ``build`` puts the values of ``tensors`` back together."""

    tensors: tuple[Tensor, ...]
    targets: tuple[Node, ...]
    build: Build


def parse_fetches(fetches: Any, graph: Graph) -> Fetches:
    """Read nested lists, tuples, named tuples and mappings of things to fetch.

    An operation gives None. Raises:
        FetchError: something that is no tensor, operation, variable or name of ``graph``.
    """
    tensors: dict[Tensor, int] = {}
    targets: dict[Node, None] = {}
    build = _parse(fetches, graph, tensors, targets)
    return Fetches(tuple(tensors), tuple(targets), build)


def as_tensor(item: Any, graph: Graph) -> Tensor | None:
    """The tensor that ``item`` (a tensor, a variable, or ``name:0``) stands for, if any."""
    if isinstance(item, str):
        found = _named(item, graph)
        return found if isinstance(found, Tensor) else None
    if not isinstance(item, Tensor) and hasattr(item, "__graphc_tensor__"):
        item = item.__graphc_tensor__()
    return item if isinstance(item, Tensor) else None


def _parse(item: Any, graph: Graph, tensors: dict[Tensor, int], targets: dict[Node, None]) -> Build:
    if isinstance(item, Mapping):
        keys = list(item)
        parts = [_parse(item[key], graph, tensors, targets) for key in keys]
        return lambda values: {k: part(values) for k, part in zip(keys, parts, strict=True)}
    if isinstance(item, list | tuple):
        parts = [_parse(part, graph, tensors, targets) for part in item]
        return _sequence_builder(item, parts)
    tensor = as_tensor(item, graph)
    if tensor is not None:
        _check_graph(tensor.graph, graph, item)
        position = tensors.setdefault(tensor, len(tensors))
        return lambda values: values[position]
    node = _named(item, graph) if isinstance(item, str) else item
    if not isinstance(node, Node):
        raise FetchError(f"cannot fetch {item!r}: it is no tensor, operation, variable or name")
    _check_graph(node.graph, graph, item)
    targets.setdefault(node)
    return lambda _: None


def _sequence_builder(item: list[Any] | tuple[Any, ...], parts: Sequence[Build]) -> Build:
    if hasattr(item, "_fields"):
        return lambda values: type(item)(*(part(values) for part in parts))
    kind = list if isinstance(item, list) else tuple
    return lambda values: kind([part(values) for part in parts])


def _named(name: str, graph: Graph) -> Tensor | Node:
    try:
        return graph.tensor(name) if ":" in name else graph.node(name)
    except GraphError as error:
        raise FetchError(f"cannot fetch {name!r}: {error}") from None


def _check_graph(found: Graph, graph: Graph, item: Any) -> None:
    if found is not graph:
        raise FetchError(f"cannot fetch {item!r}: it belongs to another graph than the session's")
