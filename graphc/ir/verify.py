"""Says whether a graph is well formed; run after every pass, and on every text that is read.

1. Names are unique, and a node and its outputs belong to the graph that lists them.
2. Inputs and controls come from earlier nodes of the same graph: the order is topological.
3. A node has as many inputs as its op takes, and the attributes that it declares.
4. Its output types are those that the op's rule gives, and it carries every constraint of it.
5. Its device is a device.
6. Inputs, outputs and targets of the graph are its own; no input is listed twice.
7. Graphs among the attributes are well formed, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.ir.attributes import check_attributes
from graphc.ir.device import Device
from graphc.ir.errors import DeviceError, GraphcError, GraphError, VerifyError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.op import Typing
from graphc.ir.text import node_text


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold; ``node`` is guilty, unless the graph as a whole is."""

    rule: str
    node: Node | None = None

    def __str__(self) -> str:
        if self.node is None:
            return self.rule
        return f"{self.rule}, in\n    {node_text(self.node)}"


def verify(graph: Graph) -> None:
    """Check ``graph``.

    Raises:
        VerifyError: it breaks an invariant; the message says which, and shows the node.
    """
    found = violation(graph)
    if found is not None:
        raise VerifyError(str(found))


def violation(graph: Graph) -> Violation | None:
    """A rule that ``graph`` breaks, if it breaks one; that of the innermost graph first."""
    graphs = [graph]
    for outer in graphs:
        for node in outer.nodes:
            graphs += [value for value in node.attrs.values() if isinstance(value, Graph)]
    for inner in reversed(graphs):
        found = _of_nodes(inner) or _of_ends(inner)
        if found is not None:
            return found
    return None


def _of_nodes(graph: Graph) -> Violation | None:
    earlier: set[Node] = set()
    for node in graph.nodes:
        if node.graph is not graph or node.name not in graph or graph.node(node.name) is not node:
            return Violation(f"1. {node.name!r} is not the graph's node of that name", node)
        rule = _order(node, earlier)
        for check in _CHECKS:
            rule = rule or check(node)
        if rule is not None:
            return Violation(rule, node)
        earlier.add(node)
    return None


def _order(node: Node, earlier: set[Node]) -> str | None:
    for index, output in enumerate(node.outputs):
        if output.node is not node or output.index != index:
            return f"1. output {index} is not the node's own"
    for tensor in node.inputs:
        if tensor.node not in earlier or tensor not in tensor.node.outputs:
            return f"2. the input {tensor.name} does not come from an earlier node"
    for control in node.controls:
        if control not in earlier:
            return f"2. the control input {control.name} is no earlier node"
    return None


def _operands(node: Node) -> str | None:
    count, wanted = len(node.inputs), len(node.op.operands)
    if count < wanted - 1 if node.op.variadic else count != wanted:
        return f"3. {node.op.name} takes the operands {node.op.operands}, not {count}"
    try:
        check_attributes(node.op, node.attrs, None)
    except GraphError as error:
        return f"3. {error}"
    for key, value in node.attrs.items():
        if isinstance(value, np.ndarray) and value.flags.writeable:
            return f"3. the array {key} can be written to"
    return None


def _types(node: Node) -> str | None:
    typing = Typing([tensor.type for tensor in node.inputs], node.attrs)
    try:
        wanted = tuple(node.op.infer(typing))
    except GraphcError as error:
        return f"4. {node.op.name}: {error}"
    except Exception as error:  # noqa: BLE001, attributes may hold anything of the right Python type
        return f"4. {node.op.name} has no types: {type(error).__name__}: {error}"
    if wanted != node.types:
        texts = (", ".join(map(str, types)) for types in (node.types, wanted))
        return "4. the types are {}, where the op's rule gives {}".format(*texts)
    # What they say to the user may name sizes by other names than these have by now.
    known = {(c.left, c.right, c.at_least) for c in node.constraints}
    for constraint in typing.constraints:
        if (constraint.left, constraint.right, constraint.at_least) not in known:
            return f"4. the constraint {constraint} is missing"
    return None


def _device(node: Node) -> str | None:
    try:
        Device.parse(node.device)
    except DeviceError as error:
        return f"5. {error}"
    return None


def _of_ends(graph: Graph) -> Violation | None:
    nodes = set(graph.nodes)

    def owns(tensor: Tensor) -> bool:
        return tensor.node in nodes and tensor in tensor.node.outputs

    for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in tensors:
            if not owns(tensor):
                return Violation(f"6. the graph's {what} {tensor.name} is not its own")
    if len(set(graph.inputs)) != len(graph.inputs):
        return Violation("6. an input of the graph is listed twice")
    for target in graph.targets:
        if target not in nodes:
            return Violation(f"6. the graph's target {target.name} is not its own")
    return None


_CHECKS: tuple[Callable[[Node], str | None], ...] = (_operands, _types, _device)
