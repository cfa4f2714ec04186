"""Rewrites each node by itself, by a table of rules for its op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphc.ir.dims import provably_at_least
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.op import OPS
from graphc.passes.context import PassContext
from graphc.passes.guards import Guards
from graphc.passes.rebuild import Rebuild
from graphc.passes.rules import arithmetic, arrangement
from graphc.passes.rules.application import Application, Operand, Rule, Without

RULES: Mapping[str, tuple[Rule, ...]] = {**arithmetic.RULES, **arrangement.RULES}
"""The rules of each op, tried in order."""

FORWARDED = frozenset({"custom_gradient"})
"""Ops whose outputs are their first operands; the others were there for gradients."""

_NO_RULES: tuple[Rule, ...] = ()
_STEPS = 32
"""Rules shrink what they rewrite; so many in a row for one node would be a pair that does not."""


@dataclass(frozen=True)
class Simplify:
    """Applies ``RULES`` until none applies, operands first.

    No rule changes a bit of any result, or lets a step succeed that would fail. Nor does a device
    come to read a tensor of another one, unless this is smaller than what was made of it and
    read. Nodes that are not needed any more are left for ``prune``.
    """

    name: str = "simplify"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        rewriting = _Rewriting(graph)
        for node in graph.nodes:
            rewriting.take(node)
        return rewriting.rebuild.finish()


class _Rewriting:
    """One run of the pass."""

    def __init__(self, graph: Graph) -> None:
        self.rebuild = Rebuild(graph)
        self.guards = Guards()

    def take(self, node: Node) -> None:
        """Keep the next node, or put in its place what rules make of it."""
        if node.op.name in FORWARDED and not node.controls:
            kept = len(node.outputs)
            inputs = [self.rebuild[t] for t in node.inputs]
            if all(map(self._can_drop, inputs[kept:])):
                self.rebuild.replace(node, inputs[:kept])
                return
        found = self._rewritten(node)
        if found is None or self._carries_more(node, found):
            self.rebuild.keep(node)
        else:
            self.rebuild.replace(node, [_made(found, self.rebuild, node)])

    def _rewritten(self, node: Node) -> Operand | None:
        """What ``node`` becomes; None: it stays."""
        if not (node.op.elementwise or node.op.name in RULES):
            return None
        if len(node.outputs) != 1 or node.controls:
            return None
        inputs = tuple([self.rebuild[t] for t in node.inputs])
        start = found = Application(node.op.name, inputs, node.attrs, node.outputs[0].type)
        for _ in range(_STEPS):
            rewritten = self._step(found)
            if rewritten is None:
                return None if found is start else found
            if not isinstance(rewritten, Application):
                return rewritten
            found = rewritten
        raise AssertionError(node.error("rules go round in circles"))

    def _step(self, x: Application) -> Operand | None:
        """The first rule's result."""
        for rule in RULES.get(x.op, _NO_RULES):
            found = rule(x)
            if found is None:
                continue
            if not isinstance(found, Without):
                return found
            if self._can_drop(found.lost):
                return found.result
        return arrangement.narrow(x) if OPS[x.op].elementwise else None

    def _carries_more(self, node: Node, found: Operand) -> bool:
        """Whether ``found`` takes more from other devices than ``node``."""
        given = {self.rebuild[t] for t in node.inputs}
        new = {t for t in _tensors(found) if t.device != node.device} - given
        return any(not any(_is_smaller(t, whole) for whole in given) for t in new)

    def _can_drop(self, operand: Operand) -> bool:
        """Whether the step cannot fail because of ``operand``."""
        if isinstance(operand, Application):
            return operand.op == "constant"
        return self.guards.can_be_dropped(operand)


def _tensors(found: Operand) -> Iterator[Tensor]:
    """The tensors that nested applications take."""
    if isinstance(found, Application):
        for operand in found.inputs:
            yield from _tensors(operand)
    else:
        yield found


def _is_smaller(part: Tensor, whole: Tensor) -> bool:
    """Whether ``whole`` is made of ``part``, and takes more bytes."""
    grows = provably_at_least(whole.type.bytes - part.type.bytes, 1)
    return part in whole.node.inputs and grows


def _made(found: Operand, rebuild: Rebuild, like: Node, part: str = "") -> Tensor:
    """The tensor that ``found`` is, with nodes for applications."""
    if not isinstance(found, Application):
        return found
    inputs = [_made(x, rebuild, like, f"{part}{i}") for i, x in enumerate(found.inputs)]
    node = rebuild.add(found.op, inputs, found.attrs, like=like, part=part)
    if node.outputs[0].type != found.type:
        # Sizes that a run makes equal may bear two names; which one a result has depends on order.
        attrs = {"shape": found.type.shape}
        node = rebuild.add("reshape", node.outputs, attrs, like=like, part=f"{part}sizes")
    return node.outputs[0]
