"""Graph + fetches + target -> ``Program``: passes, kernels, storages.

The one place where the language, the passes and a backend's schedules meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphc.backends.loops.ir import Function
from graphc.backends.loops.program import Program
from graphc.compiler.commit import Shared, finish
from graphc.compiler.extract import Extract, extract
from graphc.compiler.freeze import freeze
from graphc.compiler.lower import Draft, lower
from graphc.ir.compute.kernel import Kernel
from graphc.ir.errors import CompileError
from graphc.ir.graph import Graph
from graphc.ir.target import Target
from graphc.passes.pipeline import PassContext, run_pipeline

__all__ = ["CompileOptions", "Extract", "compile_graph", "compile_part", "extract", "freeze"]


@dataclass(frozen=True)
class CompileOptions:
    """What a user can say about compilation.

    ``disabled_passes`` names passes to leave out; ``verify`` checks the graph after each pass;
    ``dump`` is a folder for the graph before and after each pass. ``target`` names the processor
    that a session compiles for: ``host`` or a level such as ``x86-64-v3``, which this machine must
    run (``compile`` is told its targets by itself).
    """

    disabled_passes: frozenset[str] = field(default_factory=frozenset)
    verify: bool = True
    dump: str | None = None
    target: str = "host"


def compile_graph(
    extracted: Extract,
    target: Target,
    options: CompileOptions | None = None,
    scheduled: Callable[[Function], None] | None = None,
) -> Program:
    """The program that computes an extract's outputs and runs its targets for their effects.

    ``scheduled`` is told each kernel's loops as soon as they are there, so that machine code can
    be made while the others are scheduled.

    Raises:
        StateError: two assigns to one variable that no control path orders.
        CompileError: no backend compiles for ``target``.
    """
    options = options or CompileOptions()
    context = PassContext(target=target, dump=options.dump)
    graph = run_pipeline(extracted.graph, context, options.disabled_passes, options.verify)
    return finish(_lowered(graph, target, scheduled), graph, extracted.checks)


def compile_part(
    graph: Graph,
    target: Target,
    scheduled: Callable[[Function], None] | None = None,
    *,
    apart: bool = False,
    fetched: frozenset[str] = frozenset(),
) -> Program:
    """The program of one device, of the part of an optimised graph that ``partition`` gave it.

    ``apart``: each variable is written by a call that writes nothing else. ``fetched``: the edges
    whose tensors may be sent after variables are written.

    Raises:
        CompileError: as ``compile_graph``.
    """
    shared = Shared(apart, fetched)
    return finish(_lowered(graph, target, scheduled), graph, (), shared)


def _lowered(graph: Graph, target: Target, scheduled: Callable[[Function], None] | None) -> Draft:
    schedule = _schedule_for(target)

    def loops(kernel: Kernel) -> Function:
        function = schedule(kernel, target)
        if scheduled is not None:
            scheduled(function)
        return function

    return lower(graph, loops)


def _schedule_for(target: Target) -> Callable[[Kernel, Target], Function]:
    if target.kind == "cpu":
        from graphc.backends.cpu.schedules.general import schedule

        return schedule
    raise CompileError(f"programs for {target.kind} cannot be compiled yet: {target.name}")
