"""What optimizers do: elementwise work whose results become values of variables, and nothing else.

It is collected before anything else is grouped, across variables and shapes, so that a step ends
in few kernels. They run when the step commits and write the variables in place, so nothing in
them may fail.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.passes.fusion.group import Group, Joining, Kind
from graphc.passes.fusion.roles import Facts, Place, Role

_RANK = 1
"""Assigns have rank 0, and nobody else reads what is grouped here."""


@dataclass(eq=False)
class _Part:
    """Nodes of one frame that depend on each other, by number, consumers first."""

    members: list[int]
    into: _Part | None = None
    """Where the members went, if two parts became one."""

    def current(self) -> _Part:
        part = self
        while part.into is not None:
            part = part.into
        return part


def update_groups(facts: Facts, limit: int) -> list[Group]:
    """Groups of at most ``limit`` nodes, with the parts for different variables one by one."""
    batches: list[list[_Part]] = []
    latest: dict[str, list[_Part]] = {}
    for part in _parts(facts, limit):
        device = facts.nodes[part.members[0]].device
        batch = latest.get(device)
        if batch is None or sum(len(p.members) for p in batch) + len(part.members) > limit:
            batch = latest[device] = []
            batches.append(batch)
        batch.append(part)
    return [_group(facts, batch) for batch in batches]


def _group(facts: Facts, batch: list[_Part]) -> Group:
    group = Group(Kind.UPDATE, _RANK, (), facts.nodes[batch[0].members[0]].device)
    for part in reversed(batch):
        for n in sorted(part.members, reverse=True):
            group.admit(n, Joining(), exposed=False, feeds=0)
    return group


def _parts(facts: Facts, limit: int) -> list[_Part]:
    """In the order of the graph; without those that read no variable: initial values."""
    found: dict[int, _Part] = {}
    for n in reversed(range(len(facts.nodes))):
        if facts.role[n] is not Role.POINTWISE or n in facts.demanded or facts.can_fail(n):
            continue
        readers = _readers(facts, n, found)
        if readers is not None and 1 + sum(len(p.members) for p in readers) <= limit:
            found[n] = _merged(n, readers)
    parts = {id(p): p for p in (part.current() for part in reversed(found.values()))}
    return [part for part in parts.values() if _reads_variable(facts, part)]


def _readers(facts: Facts, n: int, found: dict[int, _Part]) -> list[_Part] | None:
    """The parts that take ``n``, at its own place; None if anybody else does."""
    readers: dict[int, _Part] = {}
    for consumer, position in facts.uses[n]:
        if facts.nodes[consumer].device != facts.nodes[n].device:
            return None
        if facts.nodes[consumer].op.name == "assign":
            continue
        if consumer not in found or facts.place(consumer, position) is not Place.SAME:
            return None
        part = found[consumer].current()
        readers[id(part)] = part
    return list(readers.values()) if facts.uses[n] else None


def _merged(n: int, parts: list[_Part]) -> _Part:
    """One part of ``n`` and all of ``parts``."""
    if not parts:
        return _Part([n])
    first, *others = parts
    for other in others:
        first.members.extend(other.members)
        other.into = first
    first.members.append(n)
    return first


def _reads_variable(facts: Facts, part: _Part) -> bool:
    nodes = facts.nodes
    return any(nodes[o].op.name == "read_variable" for n in part.members for o in facts.operands[n])
