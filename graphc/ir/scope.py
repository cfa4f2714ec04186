"""Where new nodes go: the default graph, and the name, device and control scopes in force.

Scopes are per thread, so that graphs can be built in several threads at once.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from graphc.ir.device import Device, DeviceFunction, OpDescription, OpType
from graphc.ir.device import place as placed
from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.source import located, user_source

Partitioner = Callable[..., Sequence[int]]
"""Takes ``shape`` and ``dtype`` of a variable; into how many parts to cut it along each axis."""
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


class Reuse(Enum):
    """Whether ``get_variable`` gives new variables, existing ones, or either."""

    NEVER = "never"
    ALWAYS = "always"
    AUTO = "auto"


@dataclass(frozen=True)
class VariableScope:
    """Where ``get_variable`` looks: the prefix of names, whether it reuses, how it cuts."""

    name: str = ""
    reuse: Reuse = Reuse.NEVER
    partitioner: Partitioner | None = None


@dataclass(frozen=True)
class Scope:
    """What is in force for a node that is about to be made."""

    graph: Graph
    name: str = ""
    devices: tuple[str | DeviceFunction, ...] = ()
    controls: tuple[Node, ...] = ()
    forward: str | None = None
    variables: VariableScope = VariableScope()


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.current = Scope(_process_graph)


_process_graph = Graph()
_scopes = _Scopes()


def current() -> Scope:
    """The scope of this thread."""
    return _scopes.current


def get_default_graph() -> Graph:
    """The graph that new nodes go to."""
    return _scopes.current.graph


def reset_default_graph() -> None:
    """Start over with an empty default graph, for notebooks and tests."""
    global _process_graph  # noqa: PLW0603, one of the three process-wide things
    _process_graph = Graph()
    _scopes.current = Scope(_process_graph)


@contextmanager
def _enter(scope: Scope) -> Iterator[Scope]:
    before = _scopes.current
    _scopes.current = scope
    try:
        yield scope
    finally:
        _scopes.current = before


@contextmanager
def graph_scope(graph: Graph) -> Iterator[Graph]:
    """Make ``graph`` the default graph, with all other scopes empty."""
    with _enter(Scope(graph)):
        yield graph


@contextmanager
def name_scope(name: str | None) -> Iterator[str]:
    """Put ``name/`` before the names of new nodes; made unique within the graph.

    A name that ends in ``/`` is a whole prefix, entered again as it is; None or the empty string
    is the root.

    Raises:
        GraphError: a name with characters that texts and files could not hold.
    """
    scope = current()
    if name:
        check_name(name)
    if not name or name.endswith("/"):
        prefix = name or ""
    else:
        prefix = _unique_scope(scope, scope.name + name) + "/"
    with _enter(replace(scope, name=prefix)):
        yield prefix


@contextmanager
def variables_scope(variables: VariableScope) -> Iterator[None]:
    """Let ``get_variable`` look in ``variables``."""
    with _enter(replace(current(), variables=variables)):
        yield


@contextmanager
def device(place: str | DeviceFunction | None) -> Iterator[None]:
    """Run new nodes on ``place``: a device string, a function that names one, or None for any.

    A function takes an ``OpDescription``; what it leaves open, outer scopes say.

    Raises:
        DeviceError: the string is no device.
    """
    scope = current()
    if isinstance(place, str):
        Device.parse(place)
    devices = () if place is None else (*scope.devices, place)
    with _enter(replace(scope, devices=devices)):
        yield


@contextmanager
def control_dependencies(nodes: Iterable[Any] | None) -> Iterator[None]:
    """Run ``nodes`` (nodes, tensors or variables) before any new node; None clears the list.

    Raises:
        GraphError: something else, or of another graph than the default one.
    """
    scope = current()
    if nodes is None:
        controls: tuple[Node, ...] = ()
    elif isinstance(nodes, list | tuple | set | frozenset):
        controls = scope.controls + tuple(_as_node(item) for item in nodes)
        for node in controls:
            if node.graph is not scope.graph:
                raise _error(f"{node!r} belongs to another graph than what is to wait for it")
    else:
        raise _error(f"{nodes!r} is no list of nodes, tensors or variables to depend on")
    with _enter(replace(scope, controls=controls)):
        yield


@contextmanager
def differentiating(node: Node) -> Iterator[None]:
    """New nodes belong to the gradient of ``node``: they run where it runs."""
    forward = node.forward or node.name
    devices = (node.device,) if node.device else ()
    with _enter(replace(current(), forward=forward, devices=devices)):
        yield


def create(
    op: str,
    inputs: Sequence[Tensor] = (),
    attrs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Node:
    """A new node in the default graph, under the scopes in force, with the user's line."""
    scope = current()
    if name is not None:
        check_name(name)
    full_name = scope.name + (name or op)
    return scope.graph.add(
        op,
        inputs,
        attrs,
        name=full_name,
        controls=scope.controls,
        device=device_for(op, full_name),
        source=user_source(),
        forward=scope.forward,
    )


def device_for(
    op: str, name: str = "", dtype: DType | None = None, shape: Shape | None = None
) -> str:
    """The device string that the device scopes in force give a node of ``op``."""
    return placed(current().devices, OpDescription(OpType(op), name, dtype, shape))


def check_name(name: Any) -> None:
    """Raise a GraphError if ``name`` cannot be a node's or scope's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "letters, digits, and . first; then also _ / - > \\"
        raise _error(f"{name!r} is no valid name: {rule}")


def _unique_scope(scope: Scope, name: str) -> str:
    used = scope.graph.collections.setdefault("name_scopes", set())
    unique, count = name, 0
    while unique in used or unique in scope.graph:
        count += 1
        unique = f"{name}_{count}"
    used.add(unique)
    return unique


def _as_node(item: Any) -> Node:
    if isinstance(item, Node):
        return item
    node = getattr(item, "node", None) or getattr(item, "op", None)
    if not isinstance(node, Node):
        raise _error(f"{item!r} is no node, tensor or variable to depend on")
    return node


def _error(message: str) -> GraphError:
    return GraphError(located(message, user_source()))
