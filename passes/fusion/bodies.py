"""The graph in which each group is one ``fused`` node.

A fused node has the name, source line, forward node and device of the last node of its group; the
nodes of its body keep their own, so that an error names the line that a user wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from graphc.ir.dims import symbols_of
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import TensorType
from graphc.passes.fusion.group import Group
from graphc.passes.fusion.roles import Facts

LEAST = 2
"""A group of fewer nodes that compute is no kernel of its own: its nodes stay as they are."""


class Unit:
    """The nodes of one group that end up in its body, in order."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.members = set(nodes)
        self.outputs: list[Tensor] = []

    def inputs(self) -> Iterator[Tensor]:
        """What the body reads of the graph around it, in order, repeatedly."""
        for node in self.nodes:
            for tensor in node.inputs:
                if tensor.node not in self.members:
                    yield tensor


def rewrite(facts: Facts, groups: Iterable[Group]) -> Graph:
    """The graph of ``facts`` with groups as fused nodes; the same graph if none is left."""
    groups = list(groups)
    units = [unit for unit in (_unit(facts, group) for group in groups) if unit is not None]
    if not units:
        return facts.graph
    times = Counter(n for group in groups for n in group.members)
    copies = {facts.nodes[n] for n, count in times.items() if count > 1}
    return _Writer(facts, units, copies).run()


def _unit(facts: Facts, group: Group) -> Unit | None:
    """What of ``group`` is worth a kernel.

    Views at its ends stay outside, where they cost nothing.
    """
    inside: set[Node] = set()
    kept: list[Node] = []
    for n in reversed(group.members):
        node = facts.nodes[n]
        if not node.op.view or node.inputs[0].node in inside:
            inside.add(node)
            kept.append(node)
    kept = _without_last_views(facts, kept, inside)
    if sum(not node.op.view for node in kept) < LEAST:
        return None
    unit = Unit(kept)
    return unit if _sizes_are_known(unit) else None


def _without_last_views(facts: Facts, kept: list[Node], inside: set[Node]) -> list[Node]:
    """``kept`` without views that nothing in it reads."""
    found: list[Node] = []
    for node in reversed(kept):
        uses = facts.uses[facts.number[node]]
        if node.op.view and not any(facts.nodes[c] in inside for c, _ in uses):
            inside.discard(node)
        else:
            found.append(node)
    return found[::-1]


def _sizes_are_known(unit: Unit) -> bool:
    """Whether every size in the body is that of an axis of one of its inputs."""
    wanted: set[str] = set()
    for node in unit.nodes:
        for type_ in node.types:
            wanted |= _symbols(type_)
    if not wanted:
        return True
    known = {str(dim) for tensor in unit.inputs() for dim in tensor.shape}
    return wanted <= known


def _symbols(type_: TensorType) -> set[str]:
    return {name for dim in type_.shape for name in symbols_of(dim)}


class _Writer:
    """Emits units and single nodes, each after what it reads."""

    def __init__(self, facts: Facts, units: list[Unit], copies: set[Node]) -> None:
        self.old, self.new = facts.graph, Graph()
        self.new.symbol_count = self.old.symbol_count
        self.tensors: dict[Tensor, Tensor] = {}
        self.made: dict[Node, Node] = {}
        self.copies = copies
        """Nodes that several groups compute, each for itself."""
        self.unit = {node: unit for unit in units for node in unit.nodes}
        self._find_outputs(facts, units)

    def run(self) -> Graph:
        for node in self.old.nodes:
            unit = self.unit.get(node)
            ends = unit is None or unit.nodes[-1] is node
            if ends and node not in self.copies and not _is_number(node):
                self._emit(node)
        for tensor in self.old.outputs:
            self._emit(tensor.node)
        new = self.new
        new.inputs = tuple(self.tensors[t] for t in self.old.inputs)
        new.outputs = tuple(self.tensors[t] for t in self.old.outputs)
        new.targets = tuple(dict.fromkeys(self.made[n] for n in self.old.targets))
        return new

    def _find_outputs(self, facts: Facts, units: list[Unit]) -> None:
        """For each unit, what others read of it; of views, what they are views of."""
        demanded = {*self.old.outputs, *(n.outputs[0] for n in self.old.targets if n.outputs)}
        for unit in units:
            found: dict[Tensor, None] = {}
            for node in unit.nodes:
                if node not in self.copies:
                    taken = self._taken_elsewhere(facts, unit, node)
                    exposed = (t for t in node.outputs if t in taken or t in demanded)
                    found |= dict.fromkeys(self._behind_views(unit, t) for t in exposed)
            unit.outputs = list(found)

    def _taken_elsewhere(self, facts: Facts, unit: Unit, node: Node) -> set[Tensor]:
        """The outputs of ``node`` that are read outside of ``unit``."""
        found: set[Tensor] = set()
        for c, position in facts.uses[facts.number[node]]:
            reader = facts.nodes[c]
            if reader not in unit.members or reader in self.copies:
                found.add(reader.inputs[position])
        return found

    def _behind_views(self, unit: Unit, tensor: Tensor) -> Tensor:
        while tensor.node.op.view and tensor.node in unit.members:
            tensor = tensor.node.inputs[0]
        return tensor

    def _emit(self, root: Node) -> None:
        """``root``, or the unit that it belongs to, after all that has to come before it."""
        stack = [root]
        while stack:
            node = stack[-1]
            if node in self.made:
                stack.pop()
                continue
            unit = None if node in self.copies else self.unit.get(node)
            before = [t.node for t in (node.inputs if unit is None else unit.inputs())]
            missing = [
                n for n in before if n not in self.made and (unit is None or not _is_number(n))
            ]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if unit is None:
                self._record(node, self._copy(node))
            else:
                self._emit_unit(unit)

    def _copy(self, node: Node) -> Node:
        controls = [self.made[c] for c in node.controls]
        return self.new.copy_node(node, [self.tensors[t] for t in node.inputs], controls)

    def _record(self, node: Node, made: Node) -> None:
        self.made[node] = made
        for old, new in zip(node.outputs, made.outputs, strict=True):
            self.tensors[old] = new

    def _emit_unit(self, unit: Unit) -> None:
        """The fused node, then views of its results that others read."""
        inputs = [t for t in dict.fromkeys(unit.inputs()) if not _is_number(t.node)]
        last = next(node for node in reversed(unit.nodes) if not node.op.view)
        fused = self.new.add(
            "fused", [self.tensors[t] for t in inputs], {"body": _body(unit, inputs)},
            name=last.name, device=last.device, source=last.source, forward=last.forward,
        )  # fmt: skip
        for node in unit.nodes:
            if node not in self.copies:
                self.made[node] = fused
        for tensor, output in zip(unit.outputs, fused.outputs, strict=True):
            self.tensors[tensor] = output
        for node in unit.nodes:
            if node.op.view and node.inputs[0] in self.tensors and node not in self.copies:
                self._record(node, self._copy(node))


def _is_number(node: Node) -> bool:
    """Whether a node is a constant of one element, which becomes part of the code."""
    return node.op.name == "constant" and bool(node.attrs["value"].size == 1)


def _body(unit: Unit, inputs: list[Tensor]) -> Graph:
    body = Graph()
    new: dict[Tensor, Tensor] = {}
    for tensor in inputs:
        attrs = {"dtype": tensor.dtype, "shape": tensor.shape}
        node = body.add("placeholder", (), attrs, name=tensor.node.name)
        new[tensor] = node.outputs[0]
    for tensor in unit.inputs():
        if tensor not in new:
            new[tensor] = body.copy_node(tensor.node, ()).outputs[0]
    for node in unit.nodes:
        copied = body.copy_node(node, [new[t] for t in node.inputs])
        new.update(zip(node.outputs, copied.outputs, strict=True))
    body.inputs = tuple(new[t] for t in inputs)
    body.outputs = tuple(new[t] for t in unit.outputs)
    return body
