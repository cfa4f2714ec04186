"""From an optimised graph to calls of kernels over storages.

Every node becomes one call, but for views (which share their input's storage), sources, and the
state ops: a read is the variable's storage, an assign is an entry of the commit phase
(``graphc.compiler.commit``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from graphc.backends.loops.ir import Function
from graphc.backends.loops.program import Call, Storage
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import TensorType
from graphc.ops.fused import guarding_nodes

Schedule = Callable[[Kernel], Function]


@dataclass(frozen=True)
class Departure:
    """What a ``send`` node takes to another device, and how many calls come before it."""

    node: Node
    storage: int
    after: int


@dataclass
class Draft:
    """A program in the making: calls in the graph's order, storages by number."""

    schedule: Schedule
    storages: list[Storage] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    kernels: list[Function] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    place: dict[Tensor, int] = field(default_factory=dict)
    """The storage of each tensor."""
    sends: list[Departure] = field(default_factory=list)
    receives: list[tuple[Node, int]] = field(default_factory=list)
    """(node, storage of what comes from another device)."""
    assigns: list[tuple[Node, int]] = field(default_factory=list)
    """(assign node, storage of its value), at most one for each variable."""
    _kernel_numbers: dict[Any, int] = field(default_factory=dict)
    _variables: dict[str, int] = field(default_factory=dict)

    def add_storage(self, kind: str, type_: TensorType, name: str = "") -> int:
        """A new storage; returns its number."""
        self.storages.append(Storage(kind, type_, name))
        return len(self.storages) - 1

    def variable(self, handle: Tensor) -> int:
        """The storage of the variable that ``handle`` names."""
        name = handle.node.attrs["shared_name"]
        if name not in self._variables:
            type_ = TensorType(handle.dtype, handle.shape)
            self._variables[name] = self.add_storage("variable", type_, name)
        return self._variables[name]

    def add_call(self, node: Node) -> None:
        """The call that computes ``node`` into new temporaries."""
        kernel = self._kernel(node)
        function = self.kernels[kernel]
        for tensor in node.outputs:
            self.place[tensor] = self.add_storage("temporary", tensor.type)
        tensors = [*(self.place[t] for t in node.inputs), *(self.place[t] for t in node.outputs)]
        blame: tuple[str, ...] = ()
        if function.guards:
            rules = node.op.kernel(node).guards
            blame = tuple(
                n.error(rule) for n, rule in zip(guarding_nodes(node), rules, strict=True)
            )
        sizes = tuple(symbol(var.name) for var in function.sizes)
        self.calls.append(Call(kernel, tuple(tensors), len(node.inputs), sizes, blame, node.name))

    def copy(self, source: int, target: int, name: str) -> Call:
        """A call, not added yet, that copies one storage to another of the same type."""
        type_ = self.storages[source].type
        graph = Graph()
        inside = graph.add("placeholder", (), {"dtype": type_.dtype, "shape": type_.shape})
        node = graph.add("identity", inside.outputs)
        kernel = self._kernel(node)
        sizes = tuple(symbol(var.name) for var in self.kernels[kernel].sizes)
        return Call(kernel, (source, target), 1, sizes, (), name)

    def _kernel(self, node: Node) -> int:
        key = signature(node)
        if key not in self._kernel_numbers:
            self._kernel_numbers[key] = len(self.kernels)
            self.kernels.append(self.schedule(node.op.kernel(node)))
        return self._kernel_numbers[key]


def lower(graph: Graph, schedule: Schedule) -> Draft:
    """Calls for every node of ``graph`` that computes something."""
    draft = Draft(schedule)
    for node in graph.nodes:
        rule = _RULES.get(node.op.name)
        if rule is not None:
            rule(draft, node)
        elif node.op.view:
            draft.place[node.outputs[0]] = draft.place[node.inputs[0]]
        elif node.outputs:
            draft.add_call(node)
    return draft


def signature(node: Node) -> Any:
    """What decides a node's kernel, as a hashable value: equal nodes share one kernel."""
    types = tuple((t.dtype, t.shape) for t in (*(i.type for i in node.inputs), *node.types))
    attrs = tuple((key, _attribute_key(value)) for key, value in sorted(node.attrs.items()))
    return (node.op.name, types, attrs)


def _attribute_key(value: Any) -> Any:
    if isinstance(value, Graph):
        numbers = {t: (i, k) for i, n in enumerate(value.nodes) for k, t in enumerate(n.outputs)}
        nodes = tuple((signature(n), tuple(numbers[t] for t in n.inputs)) for n in value.nodes)
        ends = tuple(numbers[t] for t in (*value.inputs, *value.outputs))
        return (nodes, ends)
    if hasattr(value, "tobytes"):
        return (value.dtype.str, value.shape, value.tobytes())
    return (type(value).__name__, repr(value)) if isinstance(value, float) else value


def _feed(draft: Draft, node: Node) -> None:
    draft.place[node.outputs[0]] = draft.add_storage("feed", node.types[0], node.name)


def _constant(draft: Draft, node: Node) -> None:
    draft.constants[node.name] = node.attrs["value"]
    draft.place[node.outputs[0]] = draft.add_storage("constant", node.types[0], node.name)


def _nothing(draft: Draft, node: Node) -> None:
    """Handles and ops that only order others leave no trace."""


def _read(draft: Draft, node: Node) -> None:
    draft.place[node.outputs[0]] = draft.variable(node.inputs[0])


def _assign(draft: Draft, node: Node) -> None:
    draft.variable(node.inputs[0])
    value = draft.place[node.inputs[1]]
    draft.assigns.append((node, value))
    if node.outputs:
        draft.place[node.outputs[0]] = value


def _send(draft: Draft, node: Node) -> None:
    draft.sends.append(Departure(node, draft.place[node.inputs[0]], len(draft.calls)))


def _receive(draft: Draft, node: Node) -> None:
    storage = draft.add_storage("temporary", node.types[0])
    draft.receives.append((node, storage))
    draft.place[node.outputs[0]] = storage


_RULES: dict[str, Callable[[Draft, Node], None]] = {
    "placeholder": _feed,
    "constant": _constant,
    "variable": _nothing,
    "read_variable": _read,
    "assign": _assign,
    "send": _send,
    "recv": _receive,
    "no_op": _nothing,
    "group": _nothing,
}


def with_storages(call: Call, change: dict[int, int]) -> Call:
    """``call`` with some storages replaced."""
    return replace(call, storages=tuple(change.get(s, s) for s in call.storages))
