"""The reductions of one step: which plan carries each out, over which memory, in which numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.backends.cpu.executable import Binding
from graphc.backends.loops.program import Program, Reduction
from graphc.compiler.collectives import Plan, choose, direct, library, ring, scattered, shared, tree
from graphc.ir.dims import evaluate
from graphc.ir.dtypes import DType
from graphc.ir.errors import GraphcError
from graphc.runtime.operands import Arrays, is_predefined
from graphc.runtime.reduction import NO_GROUP, Planned
from graphc.runtime.sharding import Sharding

OWN_OF_MPI = "mpi"
"""What a user calls MPI's own reductions."""
OVER_MEMORY = "shared"
"""And what those over memory that the workers share."""
ALGORITHMS = {
    "direct": direct, OWN_OF_MPI: library, "ring": ring, "scattered": scattered,
    OVER_MEMORY: shared,
}  # fmt: skip
"""What a user can ask for by name."""


def planned(program: Program, sharding: Sharding, sizes: Mapping[str, int]) -> tuple[Planned, ...]:
    """The reductions of ``program`` for a member, which all members plan alike.

    Their numbers follow those of feeds and fetches, in the order in which they begin.
    """
    members = tuple(sharding.peer(member) for member in range(len(sharding.ranks)))
    found: list[Planned] = []
    first = sharding.exchanged
    for reduction in program.reductions:
        type_, combiner = program.storages[reduction.rows[0]].type, reduction.combiner
        plan = _plan(sharding, evaluate(type_.elements, sizes), type_.dtype, combiner)
        found.append(
            Planned(plan, members, type_.dtype, combiner, reduction.name, first, sharding.group)
        )
        first = found[-1].end
    return tuple(found)


def arrays_of(program: Program, reduction: Reduction, binding: Binding) -> Arrays:
    """The rows that ``binding`` has for a reduction."""
    rows = []
    for storage in reduction.rows:
        dtype = program.storages[storage].type.dtype.numpy
        rows.append(np.frombuffer(binding.memory(storage), np.uint8).view(dtype))
    return Arrays(rows, reduction.combiner)


def _plan(sharding: Sharding, elements: int, dtype: DType, combiner: str) -> Plan:
    members, member = len(sharding.ranks), sharding.member
    if sharding.same_bits:
        bounds = [block.start for block in sharding.blocks] + [sharding.shards]
        return tree(member, bounds, elements)
    algorithm, own = sharding.algorithm, is_predefined(combiner, dtype)
    if not algorithm or (algorithm == OWN_OF_MPI and not own):
        has_group = sharding.group != NO_GROUP
        shares = has_group and sharding.shares_memory
        own = has_group and own
        return choose(elements, dtype.size, members, own=own, shares=shares).plan(member)
    if algorithm not in ALGORITHMS:
        known = ", ".join(sorted(ALGORITHMS))
        raise GraphcError(f"there is no reduction called {algorithm!r}; there are {known}")
    return ALGORITHMS[algorithm](member, members, elements)
