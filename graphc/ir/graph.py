"""Graphs of nodes, and the tensors that flow between them.

A graph grows while the user builds it; its nodes never change. A pass reads one graph and builds
another (``graphc.passes.rebuild``). Nodes and tensors compare by identity, and every walk over a
graph is a loop over ``Graph.nodes``, which is in topological order by construction: a chain of
100,000 nodes is an ordinary graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from graphc.ir.attributes import check_attributes, substitute_sizes
from graphc.ir.dims import Dim, Expression, Shape, symbol
from graphc.ir.dtypes import DType
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.op import Op, Typing, op_named, operand_text
from graphc.ir.operators import OPERATORS, Operators, TensorLike
from graphc.ir.source import Source, located
from graphc.ir.types import Constraint, TensorType

__all__ = ["OPERATORS", "Graph", "Node", "Tensor", "TensorLike"]


class Node:
    """One application of an op. Immutable; made by ``Graph.add``."""

    __slots__ = (
        "attrs", "constraints", "controls", "device", "forward", "graph", "inputs", "name",
        "op", "outputs", "source",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, a node's fields are what they are
        self,
        graph: Graph,
        op: Op,
        name: str,
        inputs: tuple[Tensor, ...],
        attrs: Mapping[str, Any],
        types: Sequence[TensorType],
        *,
        controls: tuple[Node, ...] = (),
        constraints: tuple[Constraint, ...] = (),
        device: str = "",
        source: Source | None = None,
        forward: str | None = None,
    ) -> None:
        self.graph = graph
        self.op = op
        self.name = name
        self.inputs = inputs
        self.attrs = attrs
        self.controls = controls
        self.constraints = constraints
        self.device = device
        self.source = source
        self.forward = forward
        """The name of the forward node that this one was differentiated from."""
        self.outputs = tuple(Tensor(self, i, t) for i, t in enumerate(types))

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(output.type for output in self.outputs)

    @property
    def type(self) -> str:
        """The op's name, as TensorFlow calls it."""
        return self.op.name

    def error(self, message: str) -> str:
        """``message`` with this node's op, name, operands and source line."""
        operands = operand_text(
            self.op, [t.type for t in self.inputs], [t.name for t in self.inputs]
        )
        what = f"{self.op.name} {self.name!r}" + (f" of {operands}" if operands else "")
        return located(f"{what}: {message}", self.source)

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.name!r}>"


class Tensor(Operators):
    """Output ``index`` of ``node``.

    Python's operators (``a + b``, ``a @ b``, ``a[1:]``) come from ``graphc.ir.operators``: a
    tensor does not know the ops.
    """

    __slots__ = ("__weakref__", "index", "node", "type")

    def __init__(self, node: Node, index: int, type_: TensorType) -> None:
        self.node = node
        self.index = index
        self.type = type_

    @property
    def op(self) -> Node:
        """The node that makes this tensor, as TensorFlow calls it."""
        return self.node

    @property
    def graph(self) -> Graph:
        return self.node.graph

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def device(self) -> str:
        return self.node.device

    @property
    def name(self) -> str:
        return f"{self.node.name}:{self.index}"

    def __repr__(self) -> str:
        return f"<tensor {self.name!r} {self.type}>"


class Graph:
    """Nodes in topological order, by unique names.

    ``inputs`` and ``outputs`` are the tensors that go in and come out and ``targets`` the nodes
    to run for their effects; they are empty while a user builds the graph, and set in what a
    pass gets and gives, and in the body of a fused node.
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._by_name: dict[str, Node] = {}
        self._name_counts: dict[str, int] = {}
        self.symbol_count = 0
        """How many sizes of its own (``_1``, ``_2``...) the graph has given out."""
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.targets: tuple[Node, ...] = ()
        self.collections: dict[str, Any] = {}
        """What libraries remember about the graph: variables, losses; not part of its text."""

    @property
    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def as_default(self) -> AbstractContextManager[Graph]:
        """Make new nodes go to this graph within a ``with`` block; all other scopes are empty."""
        from graphc.ir.scope import graph_scope

        return graph_scope(self)

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"<graph of {len(self)} nodes>"

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor] = (),
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        controls: Iterable[Node] = (),
        device: str = "",
        source: Source | None = None,
        forward: str | None = None,
    ) -> Node:
        """Append a node, typed by its op's rule; ``name`` is made unique.

        Raises:
            GraphError: an unknown op, a wrong number of inputs, or inputs of another graph.
            ShapeError, DTypeError: the operands break the op's rule.
        """
        definition = op_named(op)
        attrs = check_attributes(definition, attrs or {}, source)
        inputs = tuple(inputs)
        self._check_inputs(definition, inputs, source)
        typing = Typing([t.type for t in inputs], attrs)
        try:
            types = tuple(definition.infer(typing))
            typing.possible(types)
        except (ShapeError, DTypeError) as error:
            operands = operand_text(definition, typing.inputs, [t.name for t in inputs])
            raise type(error)(located(f"{op} of {operands}: {error}", source)) from None
        node = Node(
            self, definition, self.unique_name(name or op), inputs, attrs, types,
            controls=tuple(dict.fromkeys(controls)), constraints=tuple(typing.constraints),
            device=device, source=source, forward=forward,
        )  # fmt: skip
        return self.append(node)

    def copy_node(
        self,
        node: Node,
        inputs: Sequence[Tensor],
        controls: Iterable[Node] = (),
        *,
        name: str | None = None,
        device: str | None = None,
        sizes: Mapping[str, Dim] | None = None,
    ) -> Node:
        """Append ``node`` of another graph over new inputs of the same types: a pass's step.

        ``name`` and ``device`` are its own unless they are given; ``sizes`` replaces symbols in
        its types, attributes and constraints.
        """
        attrs, types, constraints = node.attrs, node.types, node.constraints
        if sizes:
            attrs = {key: substitute_sizes(value, sizes) for key, value in attrs.items()}
            types = tuple(type_.substitute(sizes) for type_ in types)
            constraints = tuple(c.substitute(sizes) for c in constraints)
        copied = Node(
            self, node.op, name or self.unique_name(node.name), tuple(inputs), attrs, types,
            controls=tuple(dict.fromkeys(controls)), source=node.source, forward=node.forward,
            constraints=tuple(c for c in constraints if c.left != c.right),
            device=node.device if device is None else device,
        )  # fmt: skip
        return self.append(copied)

    def node(self, name: str) -> Node:
        """The node called ``name``.

        Raises:
            GraphError: there is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise GraphError(f"the graph has no node called {name!r}") from None

    def tensor(self, name: str) -> Tensor:
        """The tensor called ``node:index``; the index may be left out if it is 0.

        Raises:
            GraphError: there is none.
        """
        node, _, index = str(name).partition(":")
        outputs = self.node(node).outputs
        if not (index or "0").isdecimal() or int(index or 0) >= len(outputs):
            raise GraphError(f"{node!r} has {len(outputs)} outputs; there is no {name!r}")
        return outputs[int(index or 0)]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def unique_name(self, name: str) -> str:
        """``name``, or ``name_1``, ``name_2``... if it is taken."""
        if name not in self._by_name:
            return name
        count = self._name_counts.get(name, 0) + 1
        while f"{name}_{count}" in self._by_name:
            count += 1
        self._name_counts[name] = count
        return f"{name}_{count}"

    def fresh_symbol(self) -> Expression:
        """A size that equals no other: what ``None`` in a shape means."""
        self.symbol_count += 1
        return symbol(f"_{self.symbol_count}")

    def consumers(self) -> dict[Tensor, list[Node]]:
        """For each tensor, the nodes that take it, in order and once per use."""
        found: dict[Tensor, list[Node]] = {}
        for node in self._nodes:
            for tensor in node.inputs:
                found.setdefault(tensor, []).append(node)
        return found

    def append(self, node: Node) -> Node:
        """Append a node that was made for this graph, as a reader of texts does.

        Raises:
            GraphError: its name is taken.
        """
        if node.name in self._by_name:
            raise GraphError(f"the graph has two nodes called {node.name!r}")
        self._nodes.append(node)
        self._by_name[node.name] = node
        return node

    def _check_inputs(self, op: Op, inputs: tuple[Tensor, ...], source: Source | None) -> None:
        count = len(op.operands)
        if len(inputs) < count - 1 if op.variadic else len(inputs) != count:
            message = f"{op.name} takes {count} operands {op.operands}, not {len(inputs)}"
            raise GraphError(located(message, source))
        for tensor in inputs:
            if tensor.node.graph is not self:
                message = f"{op.name}: {tensor!r} belongs to another graph"
                raise GraphError(located(message, source))
