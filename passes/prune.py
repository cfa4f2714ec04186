"""Leaves out what no output and no target needs."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.graph import Graph, Node
from graphc.passes.context import PassContext
from graphc.passes.rebuild import Rebuild


@dataclass(frozen=True)
class Prune:
    """Keeps inputs, outputs, targets and all that these depend on, over operands and controls.

    Afterwards every node but the inputs is needed.
    """

    name: str = "prune"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        alive = needed(graph)
        if len(alive) == len(graph):
            return graph
        rebuild = Rebuild(graph)
        for node in graph.nodes:
            if node in alive:
                rebuild.keep(node)
            else:
                rebuild.drop()
        return rebuild.finish()


def needed(graph: Graph) -> set[Node]:
    """The nodes that inputs, outputs and targets are, or depend on."""
    ends = (*graph.inputs, *graph.outputs)
    stack = [*(tensor.node for tensor in ends), *graph.targets]
    found = set(stack)
    while stack:
        node = stack.pop()
        for before in (*(tensor.node for tensor in node.inputs), *node.controls):
            if before not in found:
                found.add(before)
                stack.append(before)
    return found
