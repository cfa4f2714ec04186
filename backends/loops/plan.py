"""Which stages of a kernel share a loop nest, and what kind of nest it is.

Stages that read each other only at the same leading indices (*rows*) form a group: one loop over
the rows, in which each stage is computed for that row alone, so that what they hand on stays in
registers or in a cache line. A softmax is one group; so is a chain of elementwise stages, whose
rows are all of its axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from graphc.ir.compute.compose import inline, loads_of, values_of, with_values
from graphc.ir.compute.expr import (
    Apply,
    Axis,
    Const,
    Expr,
    Index,
    Load,
    postorder,
    rewrite,
    substitute,
)
from graphc.ir.compute.kernel import Kernel, Map, Reduce, Scatter, Stage
from graphc.ir.dtypes import int64


@dataclass(frozen=True)
class Group:
    """Stages over common ``rows``, the same ``Axis`` objects in all of them.

    Each stage's axes are the rows and then its own.
    """

    rows: tuple[Axis, ...]
    stages: tuple[Stage, ...]

    def inner(self, stage: Stage) -> tuple[Axis, ...]:
        """A stage's axes beyond the rows."""
        return stage.axes[len(self.rows) :]


@dataclass(frozen=True)
class Plan:
    """Groups in order; ``kernel`` is normalised and its stages are those of the groups."""

    kernel: Kernel
    groups: tuple[Group, ...]


def plan(kernel: Kernel) -> Plan:
    """Inline, drop axes of extent 1, and group."""
    kernel = _without_unit_axes(inline(kernel))
    groups: list[list[Stage]] = []
    ranks: list[int] = []
    for stage in kernel.stages:
        rank = _joint_rank(groups[-1], ranks[-1], stage) if groups else None
        if rank is None:
            groups.append([stage])
            ranks.append(len(stage.axes))
        else:
            groups[-1].append(stage)
            ranks[-1] = rank
    merged = tuple(_unified(stages, rank) for stages, rank in zip(groups, ranks, strict=True))
    stages = tuple(stage for group in merged for stage in group.stages)
    return Plan(replace(kernel, stages=stages), merged)


def is_contraction(stage: Stage) -> bool:
    """Whether a stage sums products whose factors vary along different axes of its result.

    Such a matrix product has a schedule of its own, which only elementwise stages may join.
    """
    if not isinstance(stage, Reduce) or stage.combiner != "sum":
        return False
    if not isinstance(stage.value, Apply) or stage.value.op != "mul":
        return False
    first, second = (
        {e.axis for e in postorder([factor]) if isinstance(e, Index)} for factor in stage.value.args
    )
    over = set(stage.over)
    if over and not (first & over and second & over):
        return False  # a sum of what is scaled by one number for each row, or for all
    return bool((first ^ second) & set(stage.axes))


def _without_unit_axes(kernel: Kernel) -> Kernel:
    """Axes of extent 1 leave the stages, and the loads that read them."""
    kept: dict[str, tuple[int, ...]] = {}
    stages: list[Stage] = []
    for stage in kernel.stages:
        over = stage.over if isinstance(stage, Reduce) else ()
        unit = {a: Const(0, int64) for a in stage.axes + over if a.extent == 1}
        values = substitute(values_of(stage), unit)
        values = rewrite(values, lambda e: _trimmed(e, kept))
        new = with_values(stage, values)
        if isinstance(new, Reduce):
            new = replace(new, over=tuple(a for a in over if a.extent != 1))
        if not isinstance(new, Scatter):
            kept[stage.name] = tuple(i for i, a in enumerate(stage.axes) if a.extent != 1)
        stages.append(replace(new, axes=tuple(a for a in stage.axes if a.extent != 1)))
    return replace(kernel, stages=tuple(stages))


def _trimmed(expr: Expr, kept: Mapping[str, tuple[int, ...]]) -> Expr:
    if isinstance(expr, Load) and expr.buffer in kept:
        return replace(expr, index=tuple(expr.index[i] for i in kept[expr.buffer]))
    return expr


def _joint_rank(group: Sequence[Stage], rank: int, stage: Stage) -> int | None:
    """How many leading axes ``stage`` would share with ``group``; None if it cannot join."""
    if isinstance(stage, Scatter) or any(isinstance(s, Scatter) for s in group):
        return None
    if is_contraction(stage):
        return None
    members = {s.name: s for s in group}
    loads = [load for load in loads_of(stage) if load.buffer in members]
    if not loads and not _same_domain(group[0], stage) and not _over_rows(group, rank, stage):
        return None
    shared = min(rank, len(stage.axes))
    while shared and not _same_rows(group[0], stage, loads, shared):
        shared -= 1
    if shared == 0 and (rank or stage.axes or any(s.axes for s in group)):
        return None
    if is_contraction(group[0]) and not shared == len(group[0].axes) == len(stage.axes):
        return None
    reduces_rows = any(isinstance(s, Reduce) and len(s.axes) < shared for s in (*group, stage))
    return None if reduces_rows else shared


def _same_domain(first: Stage, stage: Stage) -> bool:
    return isinstance(first, Map) and isinstance(stage, Map) and first.shape == stage.shape


def _over_rows(group: Sequence[Stage], rank: int, stage: Stage) -> bool:
    """Whether a reduction runs over the leading extents of ``group``: one loop serves both."""
    shared = min(rank, len(stage.axes))
    if not shared or not isinstance(group[0], Map) or not isinstance(stage, Reduce):
        return False
    extents = [[axis.extent for axis in s.axes[:shared]] for s in (group[0], stage)]
    return extents[0] == extents[1] and not any(map(partial(_turned, stage), loads_of(stage)))


def _turned(stage: Reduce, load: Load) -> bool:
    """Whether a load goes along what is reduced before it goes along the rows: over columns."""
    axes = [index.axis for index in load.index if isinstance(index, Index)]
    return stage.axes[0] in axes and any(a in stage.over for a in axes[: axes.index(stage.axes[0])])


def _same_rows(first: Stage, stage: Stage, loads: Sequence[Load], rank: int) -> bool:
    if first.axes[:rank] and any(
        a.extent != b.extent for a, b in zip(first.axes[:rank], stage.axes[:rank], strict=True)
    ):
        return False
    return all(
        isinstance(i, Index) and i.axis is axis
        for load in loads
        for i, axis in zip(load.index[:rank], stage.axes[:rank], strict=False)
    ) and all(len(load.index) >= rank for load in loads)


def _unified(stages: Sequence[Stage], rank: int) -> Group:
    rows = tuple(Axis(f"r{i}", axis.extent) for i, axis in enumerate(stages[0].axes[:rank]))
    return Group(rows, tuple(_with_rows(stage, rows) for stage in stages))


def _with_rows(stage: Stage, rows: tuple[Axis, ...]) -> Stage:
    at: dict[Axis, Expr] = {old: Index(new) for old, new in zip(stage.axes, rows, strict=False)}
    values = substitute(values_of(stage), at)
    return replace(with_values(stage, values), axes=rows + stage.axes[len(rows) :])
