"""Programs: what a graph becomes for one device, as data.

A program is a list of calls of kernels over *storages*. It runs in two phases: calls before
``commit`` compute, those from there on may write variables; an error before ``commit`` leaves
every variable as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from graphc.backends.loops.ir import Const, Expr, Function, Op, Var
from graphc.ir.compute import scalar
from graphc.ir.dims import Dim, evaluate, linear
from graphc.ir.graph import Graph
from graphc.ir.types import Constraint, TensorType

STORAGE_KINDS = ("feed", "fetch", "constant", "variable", "temporary")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the memory of ``storage``, a temporary, from element ``first`` on."""

    storage: int
    first: Dim


@dataclass(frozen=True, eq=False)
class Storage:
    """Memory for one tensor (or for several that share their bytes).

    ``feed`` and ``fetch`` are handed over at each run, in the order of ``Program.feeds`` and
    ``Program.fetches``; a ``constant`` lies in ``Program.constants`` under its name, a
    ``variable`` in the session's under its name; a ``temporary`` has a place in the arena.
    """

    kind: str
    type: TensorType
    name: str = ""
    workspace: Expr | None = None
    """The number of elements, if this is no tensor but a kernel's workspace."""
    inside: Place | None = None
    """Where it lies in another temporary, if it has no place of its own."""

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """How much memory this takes when the symbols have these sizes."""
        if self.workspace is not None:
            return evaluate_size(self.workspace, sizes) * self.type.dtype.size
        shape = self.type.shape
        return math.prod([evaluate(dim, sizes) for dim in shape]) * self.type.dtype.size


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``Program.kernels[kernel]``: on parameters, then results, then workspace."""

    kernel: int
    storages: tuple[int, ...]
    params: int
    """How many of the storages, from the first on, are parameters."""
    sizes: tuple[Dim, ...]
    blame: tuple[str, ...] = ()
    """For each error code of the kernel: the message, with op, rule and the user's line."""
    name: str = ""
    """The node that it computes, for profiles and error messages."""

    @property
    def reads(self) -> tuple[int, ...]:
        return self.storages[: self.params]

    @property
    def writes(self) -> tuple[int, ...]:
        return self.storages[self.params :]


@dataclass(frozen=True, eq=False)
class Transfer:
    """A tensor that goes to the program of another device, or comes from there."""

    edge: str
    """What both programs call it; unique among all edges of a step."""
    storage: int
    peer: str
    """The other device."""
    call: int
    """A send can begin after so many calls; a receive must end before this call, the first that
    needs it. What is only fetched may come behind the commit: then it is ``commit + 1``."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """Tensors that lie one behind the other and are combined with those of the other workers.

    A worker has a row for each logical shard of the batch that it holds; what all rows of all
    workers combine to is in the first row in the end, the same on every worker.
    """

    rows: tuple[int, ...]
    """The storages, of one type."""
    combiner: str
    begin: int
    """It can begin after so many calls."""
    end: int
    """It must end before this call, the first that needs it."""
    name: str
    """The node that it is, for timelines and error messages."""


@dataclass(frozen=True, eq=False)
class Check:
    """A constraint on sizes, and the message if it does not hold."""

    constraint: Constraint
    message: str


@dataclass(frozen=True, eq=False)
class Program:
    """Everything needed to run, and nothing of the graph but ``graph`` for people to read."""

    kernels: tuple[Function, ...]
    storages: tuple[Storage, ...]
    calls: tuple[Call, ...]
    commit: int
    """The first call that may write variables."""
    feeds: tuple[int, ...]
    fetches: tuple[int, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    """NumPy arrays by name."""
    checks: tuple[Check, ...] = ()
    graph: Graph | None = None
    sends: tuple[Transfer, ...] = ()
    receives: tuple[Transfer, ...] = ()
    """In order of their calls. What is sent is not overwritten before the commit phase."""
    reductions: tuple[Reduction, ...] = ()
    """In the order in which they begin, which is that of all workers."""

    @cached_property
    def variables(self) -> tuple[int, ...]:
        """The storages of variables."""
        return tuple(i for i, s in enumerate(self.storages) if s.kind == "variable")

    @property
    def symbols(self) -> tuple[str, ...]:
        """The sizes that the shapes of feeds tell, in order."""
        dims = (dim for slot in self.feeds for dim in self.storages[slot].type.shape)
        return tuple(dict.fromkeys(found[0] for dim in dims if (found := linear(dim))))


def evaluate_size(expr: Expr, sizes: Mapping[str, int]) -> int:
    """An expression over a function's size parameters, which bear the names of symbols."""
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, Var):
        return sizes[expr.name]
    assert isinstance(expr, Op)
    args = tuple(np.int64(evaluate_size(a, sizes)) for a in expr.args)
    return int(scalar.evaluate(expr.op, args, expr.type.dtype))


def lifetimes_of(program: Program) -> dict[int, tuple[int, int]]:
    """For each temporary with a place of its own that is used: the first and the last call.

    What comes from elsewhere is touched from the first call on, what goes elsewhere up to the
    last, and what is reduced from where that begins until it has ended.
    """
    end = max(0, len(program.calls) - 1)
    touched = [(transfer.storage, 0) for transfer in program.receives]
    touched += [(index, n) for n, call in enumerate(program.calls) for index in call.storages]
    touched += [(transfer.storage, end) for transfer in program.sends]
    for reduction in program.reductions:
        for at in (max(0, reduction.begin - 1), min(end, reduction.end)):
            touched += [(row, at) for row in reduction.rows]
    found: dict[int, tuple[int, int]] = {}
    for index, step in touched:
        storage = program.storages[index]
        if storage.kind == "temporary":
            home = index if storage.inside is None else storage.inside.storage
            first, last = found.get(home, (step, step))
            found[home] = (min(first, step), max(last, step))
    return found
