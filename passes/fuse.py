"""Joins nodes into kernels, so that what one computes and the next reads stays in registers."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.passes.context import PassContext
from graphc.passes.fusion.bodies import rewrite
from graphc.passes.fusion.grouping import Explain, Options, find_groups
from graphc.passes.fusion.roles import Facts


@dataclass(frozen=True)
class Fuse:
    """Groups of at most ``limit`` nodes become ``fused`` nodes that hold them as their body.

    Groups are elementwise nodes over one shape; rows, with what is reduced along them and what
    becomes of it (softmax, normalisation); a reduction over other axes with its operand; a matrix
    product with the elementwise work on its result (``epilogues``); and all updates of variables
    (``updates``). Constants of one element become part of the code. Where a cheap value would be
    stored for several groups, each computes it. A group is on one device.

    Graphs are fused before they are cut. Seen from one device, nodes may look independent that
    wait for each other by way of another: two devices that fuse by themselves can each make a
    group that waits for the other's.

    Needs: no control edges (``resolve_state``), and no node that nobody needs (``prune``). Leaves
    a graph without cycles, in which outputs and targets are what they were.
    """

    limit: int = 256
    epilogues: bool = True
    updates: bool = True
    name: str = "fuse"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        facts = Facts(graph)
        options = Options(self.limit, self.epilogues, self.updates)
        explain = _explain_to(context.notes, facts) if context.dump else None
        return rewrite(facts, find_groups(facts, options, explain))


def explain_fusion(graph: Graph, options: Options | None = None) -> str:
    """For each pair of neighbours that could not become one kernel, the reason, one per line."""
    notes: list[str] = []
    facts = Facts(graph)
    find_groups(facts, options or Options(256, True, True), _explain_to(notes, facts))
    return "\n".join(notes)


def _explain_to(notes: list[str], facts: Facts) -> Explain:
    def explain(n: int, reader: int, reason: str) -> None:
        nodes = facts.nodes
        notes.append(f"{nodes[n].name} | {nodes[reader].name}: {reason}")

    return explain
