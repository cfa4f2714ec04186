"""The reductions of one step: which plan carries each out, over which memory, in which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.backends.cpu.executable import Binding
from graphc.backends.loops.program import Program, Reduction
from graphc.compiler.collectives import Plan, choose, direct, ring, scattered, tree
from graphc.ir.dims import evaluate
from graphc.ir.errors import GraphcError
from graphc.runtime.operands import Arrays
from graphc.runtime.sharding import Sharding

ALGORITHMS = {"direct": direct, "ring": ring, "scattered": scattered}
"""What a user can ask for by name."""


@dataclass(frozen=True)
class Planned:
    """A reduction of a program, for certain sizes; its messages have numbers from ``first`` on."""

    reduction: Reduction
    plan: Plan
    first: int
    itemsize: int

    @property
    def end(self) -> int:
        """The number behind those of its messages."""
        return self.first + self.plan.messages

    def arrays(self, program: Program, binding: Binding) -> Arrays:
        """The rows that ``binding`` has for it."""
        rows = []
        for storage in self.reduction.rows:
            dtype = program.storages[storage].type.dtype.numpy
            rows.append(np.frombuffer(binding.memory(storage), np.uint8).view(dtype))
        return Arrays(rows, self.reduction.combiner)


def planned(program: Program, sharding: Sharding, sizes: Mapping[str, int]) -> tuple[Planned, ...]:
    """The reductions of ``program`` for a member, which all members plan alike.

    Their numbers follow those of feeds and fetches.
    """
    found: list[Planned] = []
    first = sharding.exchanged
    for reduction in program.reductions:
        type_ = program.storages[reduction.rows[0]].type
        plan = _plan(sharding, evaluate(type_.elements, sizes), type_.dtype.size)
        found.append(Planned(reduction, plan, first, type_.dtype.size))
        first += plan.messages
    return tuple(found)


def _plan(sharding: Sharding, elements: int, itemsize: int) -> Plan:
    members, member = len(sharding.ranks), sharding.member
    if sharding.same_bits:
        bounds = [block.start for block in sharding.blocks] + [sharding.shards]
        return tree(member, bounds, elements)
    if not sharding.algorithm:
        return choose(elements, itemsize, members).plan(member)
    algorithm = ALGORITHMS.get(sharding.algorithm)
    if algorithm is None:
        known = ", ".join(sorted(ALGORITHMS))
        raise GraphcError(f"there is no reduction called {sharding.algorithm!r}; there are {known}")
    return algorithm(member, members, elements)
