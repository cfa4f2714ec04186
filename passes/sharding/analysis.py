"""What each tensor of a graph is to a worker, and which have to be combined before they are read.

A partial tensor is combined as late as possible, where it is read by what is not linear in it: a
sum of partial tensors is to be combined once. If one reader needs it combined, all are given the
combined one, and if several tensors are combined that are made of it and have no fewer elements
together, it is combined in their place: hence a second walk, in which this is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.ir.compute.kernel import Kernel
from graphc.ir.device import Device
from graphc.ir.dims import Dim, provably_at_least
from graphc.ir.errors import ShardError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import user_shape_text
from graphc.passes.sharding.stages import result_states
from graphc.passes.sharding.states import (
    NEEDED,
    REPLICATED,
    NotLinearError,
    Partial,
    RefusedError,
    Replicated,
    Rows,
    Split,
    State,
)
from graphc.passes.signature import attribute_key

_MOST = 8
"""Of how many tensors at least it is known what they are made of."""


@dataclass
class Analysis:
    """``states`` of all tensors as they are made; how each of ``combined`` is, once for all.

    ``raw`` holds, for a node that takes partial operands as they are, the places of these.
    """

    states: dict[Tensor, State] = field(default_factory=dict)
    combined: dict[Tensor, str] = field(default_factory=dict)
    raw: dict[Node, frozenset[int]] = field(default_factory=dict)


def analyse(graph: Graph, split: Mapping[Tensor, int], rows: Rows) -> Analysis:
    """The states of the tensors of ``graph``, whose sizes are one worker's already.

    Args:
        graph: as ``shard`` takes it, with the symbol of ``rows`` for the size of every axis that
            is split.
        split: the inputs that are split, and along which axis.
        rows: the number of a worker's rows.

    Raises:
        ShardError: a node that cannot be computed from a worker's own rows.
    """
    kernels = _Kernels(rows)
    first = _Walk(graph, split, kernels, frozenset()).run()
    early = _early(graph, first)
    return _Walk(graph, split, kernels, early).run() if early else first


def _early(graph: Graph, found: Analysis) -> frozenset[Tensor]:
    """What to combine where it is made; nothing if no partial tensor is combined twice over."""
    early: set[Tensor] = set()
    ends: dict[Tensor, frozenset[Tensor]] = {}
    """What is combined of all that is made of a tensor, as far as it is partial; not too many."""
    for node in reversed(graph.nodes):
        for tensor in node.outputs:
            reached = ends.get(tensor, frozenset())
            if tensor in found.combined:
                early |= {tensor} if reached else set()
                ends[tensor] = frozenset((tensor,))
            elif len(reached) > 1 and _no_larger(tensor, reached):
                early.add(tensor)
                ends[tensor] = frozenset((tensor,))
        for place in found.raw.get(node, ()):
            tensor = node.inputs[place]
            reached = ends.get(tensor, frozenset())
            for output in node.outputs:
                if len(reached) < _MOST:
                    reached |= ends.get(output, frozenset())
            ends[tensor] = reached
    return frozenset(early | found.combined.keys()) if early else frozenset()


def _no_larger(tensor: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether ``tensor`` has no more elements than the others together."""
    together: Dim = 0
    for other in others:
        together = together + other.type.elements
    return provably_at_least(together - tensor.type.elements, 0)


class _Walk:
    """One walk over the graph; what is partial and in ``early`` is combined where it is made."""

    def __init__(
        self, graph: Graph, split: Mapping[Tensor, int], kernels: _Kernels, early: frozenset[Tensor]
    ) -> None:
        self.graph, self.split, self.kernels, self.early = graph, split, kernels, early
        self.rows = kernels.rows
        self.found = Analysis()

    def run(self) -> Analysis:
        for node in self.graph.nodes:
            try:
                states = self.states(node)
                _check_constraints(node, self.rows)
            except RefusedError as refused:
                raise ShardError(_message(node, refused)) from None
            for tensor, state in zip(node.outputs, states, strict=True):
                self.found.states[tensor] = state
                if isinstance(state, Partial) and tensor in self.early:
                    self.found.combined[tensor] = state.combiner
        self.combine(self.graph.outputs)
        return self.found

    def states(self, node: Node) -> Sequence[State]:
        _check_device(node)
        rule = _RULES.get(node.op.name)
        if rule is not None:
            return rule(self, node)
        operands = [self.seen(tensor) for tensor in node.inputs]
        if all(isinstance(state, Replicated) for state in operands) and not self.has_rows(node):
            return [REPLICATED] * len(node.outputs)
        if node.op.stateful:
            raise RefusedError("has an effect, which cannot be divided among workers")
        return self.through_kernel(node, operands)

    def through_kernel(self, node: Node, operands: list[State]) -> Sequence[State]:
        """The states of what a kernel computes, with partial operands as they are if it may."""
        places = [i for i, state in enumerate(operands) if isinstance(state, Partial)]
        if places:
            try:
                states = self.kernels.states(node, operands)
                _check_smaller(node, states, [node.inputs[i] for i in places])
                self.found.raw[node] = frozenset(places)
            except NotLinearError:
                self.combine(node.inputs)
                operands = [REPLICATED if i in places else s for i, s in enumerate(operands)]
            else:
                return states
        try:
            return self.kernels.states(node, operands)
        except NotLinearError:
            raise RefusedError(NEEDED) from None

    def seen(self, tensor: Tensor) -> State:
        """The state in which readers find ``tensor``."""
        return REPLICATED if tensor in self.early and self.is_partial(tensor) else self.made(tensor)

    def made(self, tensor: Tensor) -> State:
        return self.found.states[tensor]

    def is_partial(self, tensor: Tensor) -> bool:
        return isinstance(self.made(tensor), Partial)

    def combine(self, tensors: Sequence[Tensor]) -> None:
        """Have all of ``tensors`` combined that are partial."""
        for tensor in tensors:
            state = self.made(tensor)
            if isinstance(state, Partial):
                self.found.combined[tensor] = state.combiner

    def has_rows(self, node: Node) -> bool:
        """Whether a size or an attribute of ``node`` depends on the number of rows."""
        return any(map(self.rows.in_dim, (d for t in node.types for d in t.shape))) or any(
            map(self.rows.in_attribute, node.attrs.values())
        )

    def placeholder(self, node: Node) -> Sequence[State]:
        (output,) = node.outputs
        axis = self.split.get(output)
        for place, dim in enumerate(output.shape):
            if place != axis and self.rows.in_dim(dim):
                size = "the size of the batch, along which it is not split"
                raise RefusedError(f"its axis {place} has {size}")
        return [REPLICATED if axis is None else Split(axis)]

    def replicated(self, node: Node) -> Sequence[State]:
        return [REPLICATED] * len(node.outputs)

    def assign(self, node: Node) -> Sequence[State]:
        value = node.inputs[1]
        if isinstance(self.made(value), Split):
            raise RefusedError(f"{NEEDED}: each holds the whole variable", 1)
        self.combine([value])
        return [REPLICATED]

    def measure(self, node: Node) -> Sequence[State]:
        """A size, which the graph is to say of the whole batch: the operand is not read."""
        if self.is_partial(node.inputs[0]):
            self.found.raw[node] = frozenset((0,))
        return [REPLICATED]

    def random(self, node: Node) -> Sequence[State]:
        """Numbers that depend on their place in the whole tensor, which a shard knows."""
        self.combine(node.inputs)
        axis = self.rows.axis(node.outputs[0].shape)
        return [REPLICATED if axis is None else Split(axis)]


class _Kernels:
    """Asks each kernel once for what it makes of operands in given states."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._keys: dict[Node, Any] = {}
        self._kernels: dict[Any, Kernel] = {}
        self._states: dict[Any, tuple[State, ...] | None] = {}
        """By kernel and the states of its operands; None: it is not linear in what is partial."""

    def states(self, node: Node, operands: Sequence[State]) -> tuple[State, ...]:
        """The states of a node's results.

        Raises:
            RefusedError, NotLinearError: as ``result_states``.
        """
        if node not in self._keys:
            self._keys[node] = _signature(node)
        key = (self._keys[node], tuple(operands))
        if key not in self._states:
            self._states[key] = self._of_kernel(node, operands)
        found = self._states[key]
        if found is None:
            raise NotLinearError
        return found

    def _of_kernel(self, node: Node, operands: Sequence[State]) -> tuple[State, ...] | None:
        key = self._keys[node]
        if key not in self._kernels:
            try:
                self._kernels[key] = node.op.kernel(node)
            except NotImplementedError:
                raise RefusedError("has no kernel in which rows could be followed") from None
        try:
            return tuple(result_states(self._kernels[key], operands, self.rows))
        except NotLinearError:
            return None


def _signature(node: Node) -> Any:
    """What decides a node's kernel."""
    types = tuple((t.dtype, t.shape) for t in (*(i.type for i in node.inputs), *node.types))
    attrs = tuple((name, attribute_key(value)) for name, value in sorted(node.attrs.items()))
    return (node.op.name, types, attrs)


def _check_device(node: Node) -> None:
    """Refuse a task: which workers run a node is what the strategy says."""
    if node.device:
        device = Device.parse(node.device)
        if device.job is not None or device.task is not None:
            what = f"is to run on {node.device!r}, but all workers run all of a sharded graph"
            raise RefusedError(what)


def _check_constraints(node: Node, rows: Rows) -> None:
    """Refuse what holds for the whole batch and may not hold for a worker's part of it."""
    for constraint in node.constraints:
        difference = constraint.left - constraint.right
        if rows.in_dim(difference) and rows.factor(difference) is None:
            what = f"that {constraint} can be said of the whole batch alone"
            raise RefusedError(f"{constraint.rule}: {what}")


def _check_smaller(node: Node, states: Sequence[State], partial: Sequence[Tensor]) -> None:
    """Rather combine operands than a result that is larger than each of them.

    Raises:
        NotLinearError: a partial result may be larger.
    """
    results = [t.type for t, s in zip(node.outputs, states, strict=True) if isinstance(s, Partial)]
    for type_ in results:
        spared: list[Dim] = [tensor.type.elements - type_.elements for tensor in partial]
        if not any(provably_at_least(dim, 0) for dim in spared):
            raise NotLinearError


def _message(node: Node, refused: RefusedError) -> str:
    """The rule, and the operand that is to blame."""
    if refused.operand is None:
        return node.error(refused.rule)
    tensor = node.inputs[refused.operand]
    what = f"{tensor.name!r} ({tensor.dtype.name} {user_shape_text(tensor.shape)})"
    return node.error(f"{refused.rule}; it is {what} that is divided among them")


_RULES: Mapping[str, Callable[[_Walk, Node], Sequence[State]]] = {
    "placeholder": _Walk.placeholder,
    "variable": _Walk.replicated,
    "read_variable": _Walk.replicated,
    "assign": _Walk.assign,
    "size": _Walk.measure,
    "shape": _Walk.measure,
    "random_uniform": _Walk.random,
    "random_normal": _Walk.random,
}
