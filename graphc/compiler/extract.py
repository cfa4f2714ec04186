"""From the user's graph to what one call needs: the nodes below its fetches, cut at its feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.loops.program import Check
from graphc.ir.dims import (
    Dim,
    Expression,
    linear,
    provably_unequal,
    substitute,
    symbol_name,
    symbols_of,
)
from graphc.ir.errors import FeedError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.source import located
from graphc.ir.types import Constraint, user_shape_text


@dataclass(frozen=True)
class Extract:
    """A graph with its inputs (the feeds, in order), outputs and targets, and what to check."""

    graph: Graph
    checks: tuple[Check, ...]


def extract(fetches: Sequence[Tensor], targets: Sequence[Node], feeds: Sequence[Tensor]) -> Extract:
    """Copy what ``fetches`` and ``targets`` need; a fed tensor becomes a placeholder.

    A target runs, and so does what others are ordered after, even if all its outputs are fed.

    Raises:
        FeedError: a placeholder that is needed but not fed, or sizes that feeds do not tell.
    """
    new: dict[Tensor, Tensor] = {}
    nodes: dict[Node, Node] = {}
    graph = Graph()
    order = _needed(fetches, targets, frozenset(feeds))
    _refuse_unfed(order)
    checks = [Check(c, n.error(f"{c.rule} ({c})")) for n in order for c in n.constraints]
    _check_known(order, feeds)
    one_name = equal_symbols([check.constraint for check in checks])
    for fed in feeds:
        new[fed] = _placeholder(graph, fed, one_name)
        if fed.node.op.name == "placeholder":
            nodes[fed.node] = new[fed].node
    graph.inputs = tuple(new[fed] for fed in feeds)
    for node in order:
        inputs = [new[t] for t in node.inputs]
        name = None if node.name in graph else node.name
        controls = [nodes[c] for c in node.controls]
        copied = graph.copy_node(node, inputs, controls, name=name, sizes=one_name)
        nodes[node] = copied
        for old, tensor in zip(node.outputs, copied.outputs, strict=True):
            new.setdefault(old, tensor)
    graph.outputs = tuple(new[t] for t in fetches)
    graph.targets = tuple(nodes[t] for t in dict.fromkeys(targets))
    return Extract(graph, tuple(checks))


def equal_symbols(constraints: Sequence[Constraint]) -> dict[str, Dim]:
    """Symbols that every valid run makes equal, each replaced by the first of them.

    Two batches that are added have one size after all, and what is computed from both has one
    shape, which is what fusion looks at. Contradictory constraints are left to the run's checks.
    """
    first: dict[str, Dim] = {}
    for constraint in constraints:
        left, right = (substitute(d, first) for d in (constraint.left, constraint.right))
        a, b = symbol_name(left), symbol_name(right)
        if constraint.at_least or a is None or b is None or a == b:
            continue
        first = {name: substitute(dim, {b: left}) for name, dim in first.items()} | {b: left}
    replaced = [c.substitute(first) for c in constraints if not c.at_least]
    return {} if any(provably_unequal(c.left, c.right) for c in replaced) else first


def _check_known(order: Sequence[Node], feeds: Sequence[Tensor]) -> None:
    """Refuse feeds from whose shapes the sizes of what is computed cannot be told."""
    known = {found[0] for fed in feeds for dim in fed.shape if (found := linear(dim))}
    computed = [(n, t.shape) for n in order if n.op.name != "placeholder" for t in n.types]
    for node, shape in computed + [(fed.node, fed.shape) for fed in feeds]:
        for dim in shape:
            if isinstance(dim, Expression) and not symbols_of(dim) <= known:
                unknown = ", ".join(sorted(symbols_of(dim) - known))
                what = f"the size {unknown} cannot be told from the shapes of what is fed"
                raise FeedError(node.error(f"{what}: feed a tensor that has it as a size"))


def _placeholder(graph: Graph, fed: Tensor, sizes: Mapping[str, Dim]) -> Tensor:
    attrs = {"dtype": fed.dtype, "shape": tuple(substitute(dim, sizes) for dim in fed.shape)}
    name = fed.node.name if fed.node.op.name == "placeholder" else f"{fed.node.name}/fed"
    node = graph.add("placeholder", (), attrs, name=name, source=fed.node.source)
    return node.outputs[0]


def _needed(
    fetches: Sequence[Tensor], targets: Sequence[Node], fed: frozenset[Tensor]
) -> list[Node]:
    """Nodes in topological order, operands and controls first; fed tensors need nothing."""
    done = {tensor.node for tensor in fed if tensor.node.op.name == "placeholder"}
    order: list[Node] = []
    roots = [*(tensor.node for tensor in fetches if tensor not in fed), *targets]
    stack = [(node, False) for node in reversed(roots)]
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


def _refuse_unfed(order: Sequence[Node]) -> None:
    for node in order:
        if node.op.name == "placeholder":
            (type_,) = node.types
            what = f"placeholder {node.name!r} ({type_.dtype.name} {user_shape_text(type_.shape)})"
            message = f"{what} is needed for these fetches but is not fed"
            raise FeedError(located(message, node.source))
