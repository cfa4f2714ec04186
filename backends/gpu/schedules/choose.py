"""The one place that decides which schedule a kernel gets on a GPU."""

from __future__ import annotations

from graphc.backends.gpu.schedules.elementwise import write_elements
from graphc.backends.gpu.schedules.frame import frame
from graphc.backends.gpu.schedules.rows import write_rows
from graphc.backends.loops.ir import Function
from graphc.backends.loops.plan import Group, Plan, plan
from graphc.ir.compute.compose import loads_of
from graphc.ir.compute.expr import Index
from graphc.ir.compute.kernel import Kernel, Map, Reduce, Scatter
from graphc.ir.errors import CompileError


def schedule(kernel: Kernel) -> Function:
    """``kernel`` in loops for a GPU, as one launch.

    Elementwise stages of one shape get a thread for each element, rows with reductions a block
    for each row. What a thread adds up, and in which order, depends on shapes alone.

    Raises:
        CompileError: the kernel has no GPU schedule, for the reason given.
    """
    planned = plan(kernel)
    group = _the_group(planned)
    _check_reads(group)
    started = frame(planned.kernel)
    elementwise = all(isinstance(s, Map) and not group.inner(s) for s in group.stages)
    (write_elements if elementwise else write_rows)(started, group)
    return started.function()


def _the_group(planned: Plan) -> Group:
    for stage in planned.kernel.stages:
        if isinstance(stage, Scatter):
            raise CompileError(f"there is no GPU schedule for {stage.name}: it scatters")
    if len(planned.groups) == 1:
        return planned.groups[0]
    if _is_one_row(planned.kernel):
        return Group((), planned.kernel.stages)
    names = " | ".join(", ".join(s.name for s in g.stages) for g in planned.groups)
    raise CompileError(f"there is no GPU schedule for stages that need several launches: {names}")


def _is_one_row(kernel: Kernel) -> bool:
    """Whether all reductions give one value: one block then does everything, however long."""
    reductions = [stage for stage in kernel.stages if isinstance(stage, Reduce)]
    return bool(reductions) and not any(stage.axes for stage in reductions)


def _check_reads(group: Group) -> None:
    """Stages may read each other only at their own element, which is where the value is."""
    members = {stage.name: stage for stage in group.stages}
    for stage in group.stages:
        own = stage.axes + stage.over if isinstance(stage, Reduce) else stage.axes
        for load in loads_of(stage):
            if load.buffer not in members:
                continue
            axes = [i.axis for i in load.index if isinstance(i, Index)]
            if load.where is not None or axes != list(own[: len(load.index)]):
                raise CompileError(
                    f"there is no GPU schedule for {stage.name}: it reads {load.buffer} at an "
                    "element that another thread computes"
                )
