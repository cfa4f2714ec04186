"""The one list that orders the passes, and the loop that runs, checks, times and dumps them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from graphc.ir.errors import GraphError, VerifyError
from graphc.ir.graph import Graph
from graphc.ir.target import Target
from graphc.ir.text import print_graph
from graphc.ir.verify import verify
from graphc.passes.bucket import Bucket
from graphc.passes.context import Pass, PassContext, PassRecord
from graphc.passes.fold_constants import FoldConstants
from graphc.passes.fuse import Fuse
from graphc.passes.merge_common import MergeCommon
from graphc.passes.place import Place
from graphc.passes.prune import Prune
from graphc.passes.resolve_state import ResolveState
from graphc.passes.shard import Shard
from graphc.passes.simplify import Simplify

__all__ = [
    "Pass",
    "PassContext",
    "PassRecord",
    "cluster_pipeline",
    "default_pipeline",
    "run_pipeline",
    "sharded_pipeline",
    "timings_text",
]

DISABLE_VARIABLE = "GRAPHC_DISABLE_PASSES"
DUMP_VARIABLE = "GRAPHC_DUMP"
_REASONS = {
    "resolve_state": "it gives reads and assigns of variables their meaning, which no backend does",
    "shard": "it gives every worker its rows",
    "place": "it gives every node the device by which the graph is cut",
}
REQUIRED = frozenset(_REASONS)
"""Passes without which nothing can be done with the graph."""


def default_pipeline(target: Target) -> tuple[Pass, ...]:
    """The passes for ``target`` in a session of one process, in order.

    Constants are folded twice, since simplification brings operands together. A GPU kernel is one
    launch of one nest of loops, and cuBLAS takes no epilogues of ours.
    """
    on_cpu = target.kind == "cpu"
    return (
        ResolveState(),
        Prune(),
        FoldConstants(),
        Simplify(),
        FoldConstants(),
        MergeCommon(),
        Prune(),
        Fuse(epilogues=on_cpu, updates=on_cpu),
    )


def cluster_pipeline(target: Target, place: Place) -> tuple[Pass, ...]:
    """The passes over a graph that is to be cut by device (``partition``), in order.

    ``place`` comes before all that may drop the forward node of a gradient. Nothing is left to do
    for the parts: they are not fused one by one, for the reason that ``Fuse`` gives.
    """
    first, second, *others = default_pipeline(target)
    return (first, second, place, *others)


def sharded_pipeline(target: Target, shard: Shard, bucket: Bucket) -> tuple[Pass, ...]:
    """The passes over a graph whose batch is divided over workers, in order.

    Each worker's kernels are fused; what is reduced soon after each other goes in one bucket.
    """
    *before, fuse = default_pipeline(target)
    return (*before, shard, fuse, bucket)


def run_pipeline(
    graph: Graph,
    context: PassContext,
    disabled: frozenset[str] = frozenset(),
    verify_each: bool = True,
    passes: Sequence[Pass] | None = None,
) -> Graph:
    """``graph`` after ``passes``, by default those for the context's target.

    Args:
        graph: as ``graphc.compiler.extract`` gives it.
        context: its records gain one entry for each pass. If it names no folder for dumps, the
            variable GRAPHC_DUMP of the environment may.
        disabled: names of passes to leave out, together with those, separated by commas, in
            GRAPHC_DISABLE_PASSES.
        verify_each: check the graph after each pass.
        passes: others than the default ones.

    Raises:
        GraphError: ``disabled`` names a pass that does not exist or cannot be left out.
        StateError: as ``resolve_state``.
        VerifyError: a pass broke the graph; the message names it.
    """
    passes = default_pipeline(context.target) if passes is None else passes
    left_out = _disabled(disabled, passes)
    folder = context.dump or os.environ.get(DUMP_VARIABLE)
    if folder and not context.dump:
        context = PassContext(context.target, folder, context.records, context.notes)
    dump = _Dump(Path(folder)) if folder else None
    if dump:
        dump.write("input", graph, None, [])
    with _no_collections():
        for step in passes:
            if step.name not in left_out:
                before, graph = graph, _run(step, graph, context, dump)
                if verify_each and graph is not before:
                    _verify(graph, step.name)
    return graph


def _run(step: Pass, graph: Graph, context: PassContext, dump: _Dump | None) -> Graph:
    """The graph after one pass, which is recorded and written down."""
    context.notes.clear()
    start = time.perf_counter()
    result = step.run(graph, context)
    seconds = time.perf_counter() - start
    changed, notes = result is not graph, tuple(context.notes)
    record = PassRecord(step.name, seconds, len(graph), len(result), changed, notes)
    context.records.append(record)
    if dump:
        dump.write(step.name, result, record, context.notes)
    return result


@contextmanager
def _no_collections() -> Iterator[None]:
    """Passes make many objects and little garbage: collections would take a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _verify(graph: Graph, name: str) -> None:
    try:
        verify(graph)
    except VerifyError as error:
        raise VerifyError(f"the pass {name} broke the graph: {error}") from None


def timings_text(records: Sequence[PassRecord]) -> str:
    """A table of what each pass took and did."""
    lines = [f"{'pass':<16}{'ms':>10}{'nodes':>10}{'after':>10}"]
    for r in records:
        mark = "" if r.changed else "  (unchanged)"
        lines.append(f"{r.name:<16}{r.seconds * 1e3:>10.2f}{r.before:>10}{r.after:>10}{mark}")
    lines.append(f"{'all':<16}{sum(r.seconds for r in records) * 1e3:>10.2f}")
    return "\n".join(lines)


def _disabled(disabled: frozenset[str], passes: Sequence[Pass]) -> frozenset[str]:
    """The names of passes to leave out, the environment's among them."""
    listed = os.environ.get(DISABLE_VARIABLE, "").split(",")
    found = disabled | {name.strip() for name in listed if name.strip()}
    known = {step.name for step in passes}
    if unknown := sorted(found - known):
        raise GraphError(
            f"there is no pass called {unknown[0]!r} to switch off; there are "
            + ", ".join(sorted(known))
        )
    if required := sorted(found & REQUIRED):
        reason = _REASONS[required[0]]
        raise GraphError(f"the pass {required[0]!r} cannot be switched off: {reason}")
    return found


class _Dump:
    """Numbered files in one folder: the graph before the first pass, and after each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(
        self, name: str, graph: Graph, record: PassRecord | None, notes: Sequence[str]
    ) -> None:
        """``NN-name.txt``, with ``(unchanged)`` in place of what the file before holds."""
        stem = f"{self.number:02}-{name}"
        self.number += 1
        if record is not None and not record.changed:
            text = f"# {name}: (unchanged)\n"
        else:
            text = print_graph(graph)
            if record is not None:
                took = f"{record.seconds * 1e3:.2f} ms"
                text = f"# {name}: {record.before} -> {record.after} nodes, {took}\n{text}"
        (self.folder / f"{stem}.txt").write_text(text, "utf-8")
        if notes:
            (self.folder / f"{stem}.notes.txt").write_text("\n".join(notes) + "\n", "utf-8")
