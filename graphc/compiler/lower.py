"""From an optimised graph to calls of kernels over storages.

Every node becomes one call, but for views (which share their input's storage), sources, and the
state ops: a read is the variable's storage, an assign is an entry of the commit phase
(``graphc.compiler.commit``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphc.backends.loops.ir import Function
from graphc.backends.loops.program import Call, Place, Storage
from graphc.compiler.kernel_keys import Names, signature
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import TensorType
from graphc.ops.fused import guarding_nodes

Schedule = Callable[[Kernel], Function]
CACHE_LINE = 64


@dataclass(frozen=True)
class Departure:
    """What a ``send`` node takes to another device, and how many calls come before it."""

    node: Node
    storage: int
    after: int


@dataclass(frozen=True)
class Bucket:
    """What an ``all_reduce`` node combines: for each row, the storages of its tensors."""

    node: Node
    rows: tuple[int, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]


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
    reductions: list[Bucket] = field(default_factory=list)
    uses: Mapping[Tensor, int] = field(default_factory=dict)
    """How many nodes and ends of the graph take each tensor."""
    _kernel_numbers: dict[Any, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """Of each signature: the kernel, and the sizes of the node that it was made for."""
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
        kernel, sizes = self._kernel(node)
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
        self.calls.append(Call(kernel, tuple(tensors), len(node.inputs), sizes, blame, node.name))

    def copy(self, source: int, target: int, name: str) -> Call:
        """A call, not added yet, that copies one storage to another of the same type."""
        type_ = self.storages[source].type
        graph = Graph()
        inside = graph.add("placeholder", (), {"dtype": type_.dtype, "shape": type_.shape})
        node = graph.add("identity", inside.outputs)
        kernel, sizes = self._kernel(node)
        return Call(kernel, (source, target), 1, sizes, (), name)

    def put(self, node: Node, position: int, inside: Place) -> int:
        """Let operand ``position`` of ``node`` lie there: computed there if nobody else reads it.

        Gives its storage.
        """
        tensor = node.inputs[position]
        storage = self.place[tensor]
        if not self._is_sole_use(tensor):
            source, storage = storage, self.add_storage("temporary", self.storages[storage].type)
            self.calls.append(self.copy(source, storage, node.name))
        self.storages[storage] = replace(self.storages[storage], inside=inside)
        return storage

    def _is_sole_use(self, tensor: Tensor) -> bool:
        """Whether a call computes ``tensor``, and its memory is read once."""
        while self.uses[tensor] == 1 and tensor.node.op.view:
            tensor = tensor.node.inputs[0]
        node, storage = tensor.node, self.storages[self.place[tensor]]
        made_here = node.op.name not in _RULES and not node.op.view
        return self.uses[tensor] == 1 and made_here and storage.inside is None

    def _kernel(self, node: Node) -> tuple[int, tuple[Dim, ...]]:
        """The kernel that computes ``node``, and the sizes to call it with.

        Nodes that differ in nothing but the names of sizes share a kernel.
        """
        names = Names()
        key = signature(node, names)
        if key not in self._kernel_numbers:
            self._kernel_numbers[key] = len(self.kernels), names.found
            self.kernels.append(self.schedule(node.op.kernel(node)))
        kernel, made_for = self._kernel_numbers[key]
        here = dict(zip(made_for, names.found, strict=True))
        return kernel, tuple(symbol(here[var.name]) for var in self.kernels[kernel].sizes)


def lower(graph: Graph, schedule: Schedule) -> Draft:
    """Calls for every node of ``graph`` that computes something."""
    taken = (*(tensor for node in graph.nodes for tensor in node.inputs), *graph.outputs)
    draft = Draft(schedule, uses=Counter(taken))
    for node in graph.nodes:
        rule = _RULES.get(node.op.name)
        if rule is not None:
            rule(draft, node)
        elif node.op.view:
            draft.place[node.outputs[0]] = draft.place[node.inputs[0]]
        elif node.outputs:
            draft.add_call(node)
    return draft


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


def _all_reduce(draft: Draft, node: Node) -> None:
    """The tensors of each row lie one behind the other; the first row has the results.

    Those of whole cache lines come first, so that fewer begin in the middle of one.
    """
    count = len(node.outputs)
    line = CACHE_LINE // node.types[0].dtype.size
    whole = [isinstance(t.elements, int) and t.elements % line == 0 for t in node.types]
    order = sorted(range(count), key=lambda n: not whole[n])
    total: Dim = 0
    firsts: dict[int, Dim] = {}
    for n in order:
        firsts[n] = total
        total = total + node.types[n].elements
    type_ = TensorType(node.types[0].dtype, (total,))
    rows = tuple(draft.add_storage("temporary", type_) for _ in range(node.attrs["rows"]))
    operands = tuple(
        draft.put(node, n, Place(rows[n // count], firsts[n % count]))
        for n in range(len(node.inputs))
    )
    for n, tensor in enumerate(node.outputs):
        result = draft.add_storage("temporary", tensor.type)
        draft.storages[result] = replace(draft.storages[result], inside=Place(rows[0], firsts[n]))
        draft.place[tensor] = result
    results = tuple(draft.place[tensor] for tensor in node.outputs)
    draft.reductions.append(Bucket(node, rows, operands, results))


_RULES: dict[str, Callable[[Draft, Node], None]] = {
    "all_reduce": _all_reduce,
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
