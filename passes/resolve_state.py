"""Turns reads and writes of variables into plain values, and what is left into a final commit.

Afterwards a graph is pure but for its targets: one ``assign`` for each variable that changes, and
whatever can fail and is run for that alone. There are no control edges: they only said in which
order things happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir.errors import StateError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ops.state import is_assign
from graphc.passes.context import PassContext
from graphc.passes.guards import Guards
from graphc.passes.prune import needed
from graphc.passes.rebuild import Rebuild

_UPDATES: Mapping[str, str] = {"assign_add": "add", "assign_sub": "subtract"}
"""The op that makes the new value of the old one and the operand."""
_ORDERING = frozenset({"no_op", "group"})
"""Ops that do nothing but order others."""


@dataclass(frozen=True)
class ResolveState:
    """A read sees what the last assign on a path to it left, else the value at the step's start.

    Of the assigns to a variable, which have to lie on one path, the last stays, as a target; what
    the others assigned is used directly. ``assign_add`` and ``assign_sub`` become arithmetic and
    an ``assign``; one ``read_variable`` for each variable is left, of the value at the start.

    Needs: a graph as users build it. Every assign in it runs.
    Leaves: no control edges, no ``assign_add``, ``assign_sub``, ``no_op`` or ``group``.

    Raises:
        StateError: two assigns to one variable that no path orders.
    """

    name: str = "resolve_state"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        accesses = [n for n in graph.nodes if n.inputs and n.inputs[0].type.resource]
        seen = _seen(graph, accesses)
        last = {_variable(node): node for node in accesses if is_assign(node)}
        if _is_resolved(graph, accesses, last):
            return graph
        return _Resolution(graph, seen, last).run()


def _seen(graph: Graph, accesses: list[Node]) -> dict[Node, Node | None]:
    """For each access to a variable the last assign on a path to it; None: there is none.

    Each node is given the set of assigns on paths to it, as the bits of an integer.
    """
    bits = {node: 1 << n for n, node in enumerate(filter(is_assign, accesses))}
    before = _assigns_before(graph, bits) if bits else {}
    earlier: dict[str, list[Node]] = {}
    seen: dict[Node, Node | None] = {}
    for node in accesses:
        assigns = earlier.setdefault(_variable(node), [])
        ordered = before.get(node, 0)
        found = next((a for a in reversed(assigns) if bits[a] & ordered), None)
        seen[node] = found
        if node in bits:
            if assigns and found is not assigns[-1]:
                raise StateError(_unordered(assigns[-1], node))
            assigns.append(node)
    return seen


def _assigns_before(graph: Graph, bits: Mapping[Node, int]) -> dict[Node, int]:
    """The assigns on paths to each node that has some."""
    before: dict[Node, int] = {}
    for node in graph.nodes:
        found = 0
        for tensor in node.inputs:
            found |= before.get(tensor.node, 0)
        for control in node.controls:
            found |= before.get(control, 0)
        found |= bits.get(node, 0)
        if found:
            before[node] = found
    return {node: found & ~bits.get(node, 0) for node, found in before.items()}


def _is_resolved(graph: Graph, accesses: list[Node], last: Mapping[str, Node]) -> bool:
    reads = [_variable(n) for n in accesses if n.op.name == "read_variable"]
    assigns = [n for n in accesses if is_assign(n)]
    outputs = {tensor.node for tensor in graph.outputs}
    return (
        len(reads) == len(set(reads))
        and len(assigns) == len(last)
        and set(assigns) <= set(graph.targets)
        and not outputs & set(assigns)
        and not any(n.op.name in _UPDATES for n in assigns)
        and not any(n.controls or n.op.name in _ORDERING for n in graph.nodes)
        and not any(is_assign(t.node) for n in graph.nodes for t in n.inputs)
    )


class _Resolution:
    """The rewrite: values of variables as tensors, then the assigns that are left."""

    def __init__(
        self, graph: Graph, seen: Mapping[Node, Node | None], last: Mapping[str, Node]
    ) -> None:
        self.graph, self.seen = graph, seen
        self.last = set(last.values())
        self.rebuild = Rebuild(graph)
        self.starts: dict[str, Tensor] = {}
        """The value of each variable at the start of the step, as far as it is read."""
        self.values: dict[Node, Tensor] = {}
        """What each assign gives its variable."""
        self.kept: dict[Node, Node] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if node.op.name in _ORDERING:
                self.rebuild.drop()
            elif node.op.name == "read_variable":
                self.rebuild.replace(node, [self._value_for(node)])
            elif is_assign(node):
                self._assign(node)
            else:
                self.rebuild.keep_free(node)
        targets = [self.kept[node] for node in self.graph.nodes if node in self.last]
        result = self.rebuild.finish(targets)
        result.targets += tuple(self._failing(result))
        return result

    def _value_for(self, node: Node) -> Tensor:
        """The value of its variable that ``node`` sees."""
        assign = self.seen[node]
        if assign is not None:
            return self.values[assign]
        name = _variable(node)
        if name not in self.starts:
            part = "" if node.op.name == "read_variable" else "read"
            read = self.rebuild.add("read_variable", node.inputs[:1], like=node, part=part)
            self.starts[name] = read.outputs[0]
        return self.starts[name]

    def _assign(self, node: Node) -> None:
        """The value that is assigned and, if it is the variable's last, the assign."""
        value = self.rebuild[node.inputs[1]]
        attrs = node.attrs
        if node.op.name in _UPDATES:
            operands = [self._value_for(node), value]
            op = _UPDATES[node.op.name]
            value = self.rebuild.add(op, operands, like=node, part="value").outputs[0]
            attrs = {"initializer": False}
        if value.shape != node.inputs[0].shape:
            value = self._shaped(node, value)
        self.values[node] = value
        if node in self.last:
            operands = [node.inputs[0], value]
            self.kept[node] = self.rebuild.add("assign", operands, attrs, like=node)
        self.rebuild.replace(node, [value])

    def _shaped(self, node: Node, value: Tensor) -> Tensor:
        """``value`` in the variable's shape, where only a run shows that it has it."""
        attrs = {"shape": node.inputs[0].shape}
        return self.rebuild.add("reshape", [value], attrs, like=node, part="shaped").outputs[0]

    def _failing(self, result: Graph) -> list[Node]:
        """What nobody needs any more but has to run, because it may make the step fail."""
        guards, alive = Guards(), needed(result)
        dead = (node for node in result.nodes if node not in alive)
        return [node for node in dead if guards.can_fail(node)]


def _variable(node: Node) -> str:
    """The name of the variable that ``node`` reads or writes."""
    return str(node.inputs[0].node.attrs["shared_name"])


def _unordered(first: Node, second: Node) -> str:
    name = _variable(second)
    where = f" at {first.source}" if first.source else ""
    text = f"\n    {first.source.text}" if first.source and first.source.text else ""
    return second.error(
        f"variable {name!r} is assigned to here and by {first.op.name} {first.name!r}{where}, and "
        "no path orders the two; put one under control_dependencies of the other"
    ) + (f"\n  the other{where}{text}" if where else "")
