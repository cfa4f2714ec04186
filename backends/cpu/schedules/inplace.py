"""Which results may be written over which parameters.

An elementwise nest reads every element that it needs at an index before it writes there, so a
parameter that is read at the result's own index alone, and nowhere else in the kernel, may share
its memory. This is how an optimizer updates variables without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.backends.loops.plan import Group, Plan, is_contraction
from graphc.ir.compute.compose import loads_of
from graphc.ir.compute.expr import Const, Index, Load
from graphc.ir.compute.kernel import Kernel, Map, Stage


def in_place_pairs(plan: Plan) -> tuple[tuple[int, int], ...]:
    """Pairs (result, parameter) as positions among the kernel's parameters and then results."""
    kernel = plan.kernel
    reads = _reads(kernel)
    pairs: list[tuple[int, int]] = []
    for i, name in enumerate(kernel.results):
        group = next(g for g in plan.groups if any(s.name == name for s in g.stages))
        stage = kernel.stage(name)
        if not _reads_before_it_writes(group, stage) or kernel.results.count(name) > 1:
            continue
        for j, param in enumerate(kernel.params):
            if param.type.dtype.size == stage.dtype.size and _only_here(
                reads.get(param.name, ()), group, stage
            ):
                pairs.append((len(kernel.params) + i, j))
    return tuple(pairs)


def is_elementwise(group: Group) -> bool:
    """Whether the rows are all that there is: values first, then stores."""
    return all(isinstance(s, Map) and not group.inner(s) for s in group.stages)


def _reads_before_it_writes(group: Group, stage: Stage) -> bool:
    """Whether nothing of an element is read once ``stage`` has written there.

    Elementwise, all values come before all stores; after a matrix product, the last stage is the
    last to read.
    """
    ends_product = is_contraction(group.stages[0]) and stage is group.stages[-1]
    return is_elementwise(group) or (ends_product and isinstance(stage, Map))


def _reads(kernel: Kernel) -> dict[str, list[tuple[str, Load]]]:
    """For each buffer, the loads from it and the stages that they are in."""
    found: dict[str, list[tuple[str, Load]]] = {}
    for stage in kernel.stages:
        for load in loads_of(stage):
            found.setdefault(load.buffer, []).append((stage.name, load))
    return found


def _only_here(reads: Iterable[tuple[str, Load]], group: Group, stage: Stage) -> bool:
    """Whether all loads are of the group's stages, at the index that ``stage`` writes."""
    members = {s.name for s in group.stages}
    return all(name in members and _pointwise(load, stage) for name, load in reads)


def _pointwise(load: Load, stage: Stage) -> bool:
    index = [i for i in load.index if not (isinstance(i, Const) and i.value == 0)]
    return (
        load.where is None
        and len(index) == len(stage.axes)
        and all(
            isinstance(i, Index) and i.axis is axis
            for i, axis in zip(index, stage.axes, strict=True)
        )
    )
