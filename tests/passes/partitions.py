"""What is demanded of the parts of a graph, and how they run: both know nothing of the cutting.

Devices of these tests are called A, B, C in texts, and so do the names of nodes begin (A1, B2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.parse import parse_graph
from graphc.ir.text import print_graph
from graphc.ir.verify import verify
from graphc.ops.state import is_assign

LETTERS = "ABCD"
DEVICES = {letter: f"/job:{letter.lower()}/task:0/cpu:0" for letter in LETTERS}
CLIENT = DEVICES["A"]


def graph_of(*lines: str) -> Graph:
    """The graph whose nodes are on the devices that their names begin with."""
    placed = [f'{line} on "{DEVICES[line[1]]}"' if line.startswith("%") else line for line in lines]
    return parse_graph("graph {\n" + "\n".join(placed) + "\n}\n")


def part_text(part: Graph) -> list[str]:
    """The lines of a part's text, devices by their letters, and not on each node."""
    body = re.sub(r' on "[^"]*"', "", print_graph(part))
    for letter, device in DEVICES.items():
        body = body.replace(device, letter)
    return [line.strip() for line in body.splitlines()[1:-1]]


def check_partitions(whole: Graph, parts: Mapping[str, Graph], client: str = CLIENT) -> None:
    """Assert that ``parts``, with their edges joined, are ``whole``, and that they can run."""
    for part in parts.values():
        verify(part)
    nodes = [node for part in parts.values() for node in part.nodes]
    sends, receives = by_edge(nodes, "send"), by_edge(nodes, "recv")
    assert sends.keys() == receives.keys()
    home = {node: device for device, part in parts.items() for node in part.nodes}
    for edge, send in sends.items():
        receive = receives[edge]
        assert (send.attrs["to"], receive.attrs["source"]) == (home[receive], home[send])
        assert home[receive] != home[send]
        assert send.inputs[0].type == receive.outputs[0].type
        assert send in parts[home[send]].targets
    assert all(node.device == home[node] for node in nodes)
    check_structure(whole, parts, client)
    check_order(whole, parts)


def by_edge(nodes: Iterable[Node], op: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for node in nodes:
        if node.op.name == op:
            assert node.attrs["edge"] not in found, "an edge has one send and one recv"
            found[node.attrs["edge"]] = node
    return found


def check_structure(whole: Graph, parts: Mapping[str, Graph], client: str) -> None:
    """The nodes of ``whole``, each once, over the same operands; ends; nothing sent twice."""
    sends = by_edge((n for part in parts.values() for n in part.nodes), "send")
    added = {"send", "recv"}

    def origin(tensor: Tensor) -> str:
        """What of ``whole`` a tensor is; of an empty one, which node it speaks of."""
        if tensor.node.op.name != "recv":
            return tensor.name
        send = sends[tensor.node.attrs["edge"]]
        if send.controls:
            assert send.inputs[0].type.elements == 0
            assert send.inputs[0].node.name not in whole
            return send.controls[0].name
        return origin(send.inputs[0])

    def control(node: Node) -> str:
        return origin(node.outputs[0]).split(":")[0] if node.op.name == "recv" else node.name

    seen: dict[str, Node] = {}
    for device, part in parts.items():
        arrived = [origin(n.outputs[0]) for n in part.nodes if n.op.name == "recv"]
        assert len(arrived) == len(set(arrived))
        for node in part.nodes:
            if node.name not in whole:
                assert node.op.name in added or is_signal(node)
                continue
            assert node.name not in seen
            seen[node.name] = node
            old = whole.node(node.name)
            facts = (old.op, old.attrs, old.types, old.source, old.forward, old.constraints)
            assert facts == (node.op, node.attrs, node.types, node.source, node.forward,
                             node.constraints)  # fmt: skip
            assert old.device == node.device == device
            assert [t.name for t in old.inputs] == [origin(t) for t in node.inputs]
            assert [c.name for c in old.controls] == [control(c) for c in node.controls]
        ends = (whole.inputs, whole.outputs) if device == client else ((), ())
        assert [t.name for t in ends[0]] == [t.name for t in part.inputs]
        assert [t.name for t in ends[1]] == [origin(t) for t in part.outputs]
        own = [t.name for t in part.targets if t.op.name != "send"]
        assert own == [t.name for t in whole.targets if t.device == device]
        assert part.symbol_count == whole.symbol_count
    assert seen.keys() == {node.name for node in whole.nodes}


def is_signal(node: Node) -> bool:
    return node.op.name == "constant" and node.attrs["value"].size == 0


def check_order(whole: Graph, parts: Mapping[str, Graph]) -> None:
    """Each part keeps the order of ``whole``, and each running in its own order never stops."""
    number = {node.name: i for i, node in enumerate(whole.nodes)}
    for part in parts.values():
        known = [number[node.name] for node in part.nodes if node.name in number]
        assert known == sorted(known)
    assert sum(1 for _ in in_turn(parts)) == sum(len(part) for part in parts.values())


def in_turn(parts: Mapping[str, Graph]) -> Iterable[Node]:
    """All nodes, each part in its order, waiting where a tensor that is read has not been sent."""
    left = {device: list(reversed(part.nodes)) for device, part in parts.items()}
    sent: set[str] = set()

    def waits(node: Node) -> bool:
        before = [*(t.node for t in node.inputs), *node.controls]
        return any(b.op.name == "recv" and b.attrs["edge"] not in sent for b in before)

    moved = True
    while moved:
        moved = False
        for nodes in left.values():
            while nodes and not waits(nodes[-1]):
                node = nodes.pop()
                if node.op.name == "send":
                    sent.add(node.attrs["edge"])
                moved = True
                yield node


def run_parts(
    parts: Mapping[str, Graph],
    feeds: list[np.ndarray],
    variables: Mapping[str, np.ndarray],
    sizes: Mapping[str, int] | None = None,
):
    """Fetched values and variables after a step, by the ops' references alone.

    What each device knows of variables is what lies on it; edges carry arrays by their names.
    """
    (client,) = [part for part in parts.values() if part.inputs or part.outputs] or [
        next(iter(parts.values()))
    ]
    values: dict[Tensor, np.ndarray] = dict(zip(client.inputs, feeds, strict=True))
    edges: dict[str, np.ndarray] = {}
    where = {n.attrs["edge"]: n for p in parts.values() for n in p.nodes if n.op.name == "recv"}
    after = dict(variables)
    for node in in_turn(parts):
        if node.op.name == "send":
            (value,) = node.inputs
            edges[node.attrs["edge"]] = values[value]
            values[where[node.attrs["edge"]].outputs[0]] = values[value].copy()
        elif node.op.name not in ("recv", "placeholder", "variable"):
            operands = [_value(t, values, variables) for t in node.inputs]
            types = [t.substitute(sizes or {}) for t in node.types]
            results = node.op.reference(node, operands, types)
            values |= dict(zip(node.outputs, results, strict=True))
            if is_assign(node):
                after[node.inputs[0].node.attrs["shared_name"]] = np.array(results[0])
    assert edges.keys() == where.keys()
    return [np.array(values[tensor]) for tensor in client.outputs], after


def _value(tensor: Tensor, values: Mapping[Tensor, np.ndarray], variables: Mapping) -> np.ndarray:
    if tensor.type.resource:
        return variables.get(tensor.node.attrs["shared_name"])
    return values[tensor]
