"""From the user's graph to what one call needs: the nodes below its fetches, cut at its feeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphc.backends.loops.program import Check
from graphc.ir.errors import FeedError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.source import located
from graphc.ir.types import user_shape_text


@dataclass(frozen=True)
class Extract:
    """A graph with its inputs (the feeds, in order), outputs and targets, and what to check."""

    graph: Graph
    checks: tuple[Check, ...]


def extract(fetches: Sequence[Tensor], targets: Sequence[Node], feeds: Sequence[Tensor]) -> Extract:
    """Copy what ``fetches`` and ``targets`` need; a fed tensor becomes a placeholder.

    Raises:
        FeedError: a placeholder that is needed but not fed.
    """
    new: dict[Tensor, Tensor] = {}
    nodes: dict[Node, Node] = {}
    graph = Graph()
    for fed in feeds:
        new[fed] = _placeholder(graph, fed)
    graph.inputs = tuple(new[fed] for fed in feeds)
    order = _needed([*(t.node for t in fetches), *targets], new, fetches)
    checks: list[Check] = []
    for node in order:
        _refuse_unfed(node, new)
        inputs = [new[t] for t in node.inputs]
        name = None if node.name in graph else node.name
        copied = graph.copy_node(node, inputs, [nodes[c] for c in node.controls], name=name)
        nodes[node] = copied
        for old, tensor in zip(node.outputs, copied.outputs, strict=True):
            new.setdefault(old, tensor)
        checks += [Check(c, node.error(f"{c.rule} ({c})")) for c in node.constraints]
    graph.outputs = tuple(new[t] for t in fetches)
    graph.targets = tuple(nodes[t] for t in dict.fromkeys(targets))
    return Extract(graph, tuple(checks))


def _placeholder(graph: Graph, fed: Tensor) -> Tensor:
    attrs = {"dtype": fed.dtype, "shape": fed.shape}
    name = fed.node.name if fed.node.op.name == "placeholder" else f"{fed.node.name}/fed"
    node = graph.add("placeholder", (), attrs, name=name, source=fed.node.source)
    return node.outputs[0]


def _needed(
    roots: Iterable[Node], fed: dict[Tensor, Tensor], fetches: Sequence[Tensor]
) -> list[Node]:
    """Nodes in topological order, operands and controls first; fed tensors need nothing."""
    done: set[Node] = set()
    order: list[Node] = []
    whole = {t.node for t in fetches if t not in fed}
    stack = [
        (node, False) for node in reversed(list(roots)) if node in whole or not _is_fed(node, fed)
    ]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done.add(node)
            order.append(node)
            continue
        stack.append((node, True))
        stack.extend((t.node, False) for t in reversed(node.inputs) if t not in fed)
        stack.extend((c, False) for c in reversed(node.controls))
    return order


def _is_fed(node: Node, fed: dict[Tensor, Tensor]) -> bool:
    return bool(node.outputs) and all(t in fed for t in node.outputs)


def _refuse_unfed(node: Node, fed: dict[Tensor, Tensor]) -> None:
    if node.op.name == "placeholder" and node.outputs[0] not in fed:
        tensor = node.outputs[0]
        what = f"placeholder {node.name!r} ({tensor.dtype.name} {user_shape_text(tensor.shape)})"
        raise FeedError(located(f"{what} is needed for these fetches but is not fed", node.source))
