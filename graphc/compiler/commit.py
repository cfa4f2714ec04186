"""The end of a program: fetches, stores to variables, and memory that can be used again.

The call that computes a variable's new value writes the variable itself, if nothing that fails or
reads the old value comes later; otherwise the value goes to a temporary and is copied in the
commit phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from graphc.backends.loops.ir import Expr, Var
from graphc.backends.loops.program import Call, Check, Program, Storage
from graphc.compiler.lower import Departure, Draft, with_storages
from graphc.compiler.transfers import reductions_of, transfers
from graphc.ir.compute.expr import rewrite
from graphc.ir.dims import product
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType


@dataclass(frozen=True)
class Shared:
    """How variables are written that others may write while a step computes.

    An update is then made to what a variable holds in the commit phase, whatever else is computed
    from it before. ``apart``: each variable is written by a copy of its own. What goes over one
    of the edges ``fetched`` may be sent after that; others may wait for all else.
    """

    apart: bool = False
    fetched: frozenset[str] = frozenset()


def finish(
    draft: Draft, graph: Graph, checks: tuple[Check, ...], shared: Shared | None = None
) -> Program:
    """The program of ``draft``: fetches as ``graph.outputs``, assigns committed."""
    fetches = _fetches(draft, graph)
    committed = _Commit(draft, shared)
    compute, commit = committed.phases()
    calls = [_with_workspace(draft, call) for call in (*compute, *commit)]
    calls, moved = _reusing_memory(draft, calls)
    fetched = shared.fetched if shared is not None else frozenset()
    sends, receives = transfers(draft, calls, committed.direct | moved, len(compute), fetched)
    reductions = reductions_of(draft, calls, len(compute))
    return Program(
        kernels=tuple(draft.kernels),
        storages=tuple(draft.storages),
        calls=tuple(calls),
        commit=len(compute),
        feeds=tuple(draft.place[t] for t in graph.inputs),
        fetches=fetches,
        constants=draft.constants,
        checks=checks,
        graph=graph,
        sends=sends,
        receives=receives,
        reductions=reductions,
    )


def _fetches(draft: Draft, graph: Graph) -> tuple[int, ...]:
    """A storage of its own for each output: the temporary itself, or a copy."""
    found: list[int] = []
    for position, tensor in enumerate(graph.outputs):
        source = draft.place[tensor]
        name = f"fetch{position}"
        storage = draft.storages[source]
        if storage.kind == "temporary" and storage.inside is None:
            # The output's type, not the storage's: a view of it may have been fetched.
            draft.storages[source] = Storage("fetch", tensor.type, name)
            found.append(source)
        else:
            target = draft.add_storage("fetch", tensor.type, name)
            draft.calls.append(draft.copy(source, target, tensor.node.name))
            found.append(target)
    return tuple(found)


class _Commit:
    """Decides which calls write variables directly, and in which order they commit."""

    def __init__(self, draft: Draft, shared: Shared | None) -> None:
        self.draft, self.shared = draft, shared
        self.apart = shared is not None and shared.apart
        self.producer: dict[int, Call] = {}
        self.consumers: dict[int, list[Call]] = {}
        for call in draft.calls:
            for storage in call.reads:
                self.consumers.setdefault(storage, []).append(call)
            for storage in call.writes:
                self.producer[storage] = call
        self.direct: dict[int, int] = {}
        """Storages of new values that become the variable's storage."""
        self.copies: list[tuple[int, int, str]] = []

    def phases(self) -> tuple[list[Call], list[Call]]:
        """Calls that compute, then calls that commit."""
        late = self._late()
        for node, value in self.draft.assigns:
            variable = self.draft.variable(node.inputs[0])
            if self._writes_directly(value, variable, late):
                self.direct[value] = variable
            elif value != variable:
                self.copies.append((value, variable, node.name))
        compute = self._computed(late)
        ordered = self._ordered([call for call in self.draft.calls if call in late])
        commit = [with_storages(call, self.direct) for call in ordered]
        return compute + self._saved(), commit + self._copied()

    def _late(self) -> set[Call]:
        """Calls that cannot fail and whose results go to assigns, and else to such calls alone.

        Of shared variables, results may go elsewhere as well (``_computed``).
        """
        assigned = {value for _, value in self.draft.assigns}
        combined = {storage for bucket in self.draft.reductions for storage in bucket.operands}
        late: set[Call] = set()
        for call in reversed(self.draft.calls):
            results = call.writes
            readers = [reader for r in results for reader in self.consumers.get(r, ())]
            if (
                not self.draft.kernels[call.kernel].guards
                and combined.isdisjoint(results)
                and any(r in assigned for r in results)
                and (self.shared is not None or all(reader in late for reader in readers))
            ):
                late.add(call)
        return late

    def _computed(self, late: set[Call]) -> list[Call]:
        """The calls before the commit, in order; of late ones whose results are needed, copies.

        Readers and early sends take what the copies compute, the assigns what the calls do later.
        """
        change: dict[int, int] = {}
        fetched = self.shared.fetched if self.shared is not None else frozenset()
        early = {send for send in self.draft.sends if send.node.attrs["edge"] not in fetched}
        needed = {send.storage for send in early}
        needed.update(storage for bucket in self.draft.reductions for storage in bucket.operands)
        found: list[Call] = []
        for call in reversed(self.draft.calls):
            if call in late and needed.isdisjoint(call.writes):
                continue
            needed.update(call.reads)
            found.append(call)
            for result in call.writes if call in late else ():
                type_ = self.draft.storages[result].type
                change[result] = self.draft.add_storage("temporary", type_)
        kept = set(found)
        before = [0, *accumulate(call in kept for call in self.draft.calls)]
        self.draft.sends = [
            Departure(
                send.node,
                change.get(send.storage, send.storage) if send in early else send.storage,
                before[send.after],
            )
            for send in self.draft.sends
        ]
        return [with_storages(call, change) for call in reversed(found)]

    def _writes_directly(self, value: int, variable: int, late: set[Call]) -> bool:
        call = self.producer.get(value)
        if self.apart or call is None or call not in late or value in self.direct:
            return False
        if self.draft.storages[value].kind != "temporary":
            return False
        result = call.storages.index(value)
        allowed = {p for r, p in self.draft.kernels[call.kernel].in_place if r == result}
        params = enumerate(call.reads)
        return all(i in allowed for i, storage in params if storage == variable)

    def _ordered(self, late: Sequence[Call]) -> list[Call]:
        """Readers of an old value before its writer; a cycle is broken by a copy."""
        left, order = list(late), []
        while left:
            ready = next((c for c in left if not self._blocked(c, left)), None)
            if ready is None:
                self._demote(left)
                continue
            order.append(ready)
            left.remove(ready)
        return order

    def _blocked(self, call: Call, left: Sequence[Call]) -> bool:
        needs = set(call.reads)
        writes = {self.direct[r] for r in call.writes if r in self.direct}
        return any(
            other is not call and (needs & set(other.writes) or writes & set(other.reads))
            for other in left
        )

    def _demote(self, left: Sequence[Call]) -> None:
        for call in left:
            for result in call.writes:
                if result in self.direct:
                    self.copies.append((result, self.direct.pop(result), call.name))
                    return
        raise AssertionError("calls that commit form a cycle without a store")

    def _saved(self) -> list[Call]:
        """Old values of variables that are assigned to others, saved before anything is stored."""
        calls: list[Call] = []
        for i, (source, target, name) in enumerate(self.copies):
            storage = self.draft.storages[source]
            if storage.kind == "variable":
                saved = self.draft.add_storage("temporary", storage.type)
                calls.append(self.draft.copy(source, saved, name))
                self.copies[i] = (saved, target, name)
        return calls

    def _copied(self) -> list[Call]:
        """Copies read the variable itself where a value was written there directly."""
        return [self.draft.copy(self.direct.get(s, s), t, name) for s, t, name in self.copies]


def _with_workspace(draft: Draft, call: Call) -> Call:
    function = draft.kernels[call.kernel]
    if not function.workspace:
        return call
    here = {var.name: str(dim) for var, dim in zip(function.sizes, call.sizes, strict=True)}

    def renamed(expr: Expr) -> Expr:
        return replace(expr, name=here[expr.name]) if isinstance(expr, Var) else expr

    extra: list[int] = []
    for buffer in function.workspace:
        assert buffer.size is not None, "a workspace has a size"
        extra.append(len(draft.storages))
        (size,) = rewrite([buffer.size], renamed)
        element = TensorType(buffer.dtype, ())
        draft.storages.append(Storage("temporary", element, workspace=size))
    return replace(call, storages=(*call.storages, *extra))


def _reusing_memory(draft: Draft, calls: Sequence[Call]) -> tuple[list[Call], dict[int, int]]:
    """Results that may be written in place take the memory of a parameter that dies there.

    Also gives the storages that became others. What is sent does not die.
    """
    last: dict[int, int] = {}
    for step, call in enumerate(calls):
        last |= dict.fromkeys(call.storages, step)
    last |= dict.fromkeys((send.storage for send in draft.sends), len(calls))
    change: dict[int, int] = {}
    result: list[Call] = []
    for step, call in enumerate(calls):
        new = with_storages(call, change)
        placed: set[int] = set()
        for r, p in draft.kernels[call.kernel].in_place:
            old, over = new.storages[r], new.storages[p]
            dies = last[over] == step and new.storages.count(over) == 1
            if dies and r not in placed and _can_share(draft, old, over):
                change[old] = over
                last[over] = last[old]
                placed.add(r)
                new = with_storages(new, {old: over})
        result.append(new)
    return result, change


def _can_share(draft: Draft, a: int, b: int) -> bool:
    first, second = draft.storages[a], draft.storages[b]
    same = product(first.type.shape) == product(second.type.shape)
    own = first.inside is None and second.inside is None
    return a != b and first.kind == second.kind == "temporary" and same and own
