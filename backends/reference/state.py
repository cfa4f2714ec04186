"""What each node of a step sees of the variables.

A node sees the value that the last assign on a path to it left, and else the value at the start
of the step. Assigns to one variable must lie on one path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.ir.errors import StateError
from graphc.ir.graph import Node, Tensor
from graphc.ops.state import is_assign


@dataclass(frozen=True)
class Sight:
    """``seen``: for a node that takes a variable, the new value it sees; None: that of the start.

    ``last``: for each variable's shared name, what it holds when the step commits. ``start``:
    the ``variable`` nodes whose values at the start of the step are seen by some node.
    """

    seen: dict[Node, Tensor | None] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    start: dict[str, Node] = field(default_factory=dict)


def look(nodes: Sequence[Node]) -> Sight:
    """The sight of a step that runs ``nodes``, which are in topological order.

    Raises:
        StateError: two assigns to one variable that no path orders.
    """
    assigns = [node for node in nodes if is_assign(node)]
    bits = {node: 1 << n for n, node in enumerate(assigns)}
    behind: dict[Node, int] = {}
    previous: dict[str, list[Node]] = {}
    sight = Sight()
    for node in nodes:
        mask = 0
        for before in (*(tensor.node for tensor in node.inputs), *node.controls):
            mask |= behind.get(before, 0) | bits.get(before, 0)
        behind[node] = mask
        if not node.inputs or not node.inputs[0].type.resource:
            continue
        variable = node.inputs[0].node
        name = variable.attrs["shared_name"]
        earlier = previous.setdefault(name, [])
        found = next((a for a in reversed(earlier) if bits[a] & mask), None)
        sight.seen[node] = None if found is None else found.outputs[0]
        if found is None and node.op.name != "assign":
            sight.start[name] = variable
        if node in bits:
            if earlier and found is not earlier[-1]:
                raise _unordered(node, earlier[-1])
            earlier.append(node)
            sight.last[name] = node.outputs[0]
    return sight


def _unordered(node: Node, other: Node) -> StateError:
    message = f"no path orders this and {other.name!r}, which assigns to the same variable"
    where = f"\n  {other.name!r} at {other.source}" if other.source else ""
    hint = "put one under control_dependencies of the other"
    return StateError(node.error(f"{message}: {hint}") + where)
