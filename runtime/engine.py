"""A task's own part: it compiles programs for its device, keeps variables, and prepares steps.

Everything here is local and waits for nobody; the worker role decides when.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy.typing as npt

from graphc.backends.cpu.executable import Allocate, Binding, Executable, aligned
from graphc.backends.loops.instructions import (
    Instruction,
    Reduced,
    Run,
    instructions_of,
    one_by_one,
)
from graphc.backends.loops.program import Call, Transfer
from graphc.compiler import compile_part
from graphc.ir.dims import symbols_of
from graphc.ir.target import Target
from graphc.runtime.compiled import executable_of
from graphc.runtime.decisions import Decisions
from graphc.runtime.exchange import Exchange
from graphc.runtime.in_flight import check_memory
from graphc.runtime.memory import check_storages, kept
from graphc.runtime.operands import Arrays
from graphc.runtime.order import Strand, strands_of
from graphc.runtime.part import Part
from graphc.runtime.planned import OVER_MEMORY, arrays_of, planned
from graphc.runtime.reduction import Planned
from graphc.runtime.rows import Rows
from graphc.runtime.sharding import EVERYONE
from graphc.runtime.state import VariableStore, accesses_of
from graphc.runtime.transfers import Peer

Array = npt.NDArray[Any]


class Compiled:
    """A part for any session: its machine code and what it does in which order.

    ``apart``: calls of kernels are made one by one, so that a timeline shows each of them.
    """

    def __init__(self, executable: Executable, *, apart: bool) -> None:
        self.executable = executable
        self.program = executable.program
        made = instructions_of(self.program)
        self.instructions: tuple[Instruction, ...] = one_by_one(made) if apart else made
        self.numbers = {r: number for number, r in enumerate(self.program.reductions)}
        self.writes, self.reads = accesses_of(self.program)
        storages = [self.program.storages[i] for i in self.program.variables]
        self.variables = [(storage.name, storage.type) for storage in storages]
        self.transfers = (*self.program.sends, *self.program.receives)
        self.checked: dict[tuple[tuple[str, int], ...], bool] = {}
        """The sizes for which there is enough memory."""
        commit, end = self.program.commit, len(self.program.calls)
        self.commits = [(commit, end)] if end > commit else []
        """The range of calls of the commit phase, if there are any."""
        self.ahead = sum(1 for _ in takewhile(lambda i: isinstance(i, Run), self.instructions))
        """How many instructions come before the first transfer or the commit."""
        self.late = [t for t in self.program.sends if t.call > commit]
        written = ", ".join(call.name for call in self.program.calls[commit:])
        self.about_commit = f"commit {written}" if written else ""
        """What a timeline calls the commit; there is none of a part that writes nothing."""

    @cached_property
    def is_safe_at_end(self) -> bool:
        """Whether nothing fails behind the last reduction."""
        ends = [n for n, i in enumerate(self.instructions) if isinstance(i, Reduced)]
        runs = [i for i in self.instructions[ends[-1] :] if isinstance(i, Run)] if ends else []
        calls = self.program.calls
        kernels = {calls[n].kernel for run in runs for n in range(run.first, run.last)}
        return bool(ends) and not any(self.program.kernels[k].guards for k in kernels)


class Engine:
    """Compiles what one task runs; ``store`` has the task's variables.

    ``compiled`` keeps what was compiled, by text; left out, as long as a session uses it.
    ``apart``: as of ``Compiled``. ``allocate`` gives memory for what is sent, as of ``Binding``.
    """

    def __init__(
        self,
        target: Target,
        store: VariableStore,
        compiled: MutableMapping[Hashable, Compiled] | None = None,
        *,
        apart: bool = False,
        allocate: Allocate = aligned,
    ) -> None:
        self.target = target
        self.store = store
        self.apart = apart
        self._allocate = allocate
        self.decisions = Decisions()
        """What the sessions of this task decided."""
        self._compiled = WeakValueDictionary() if compiled is None else compiled
        self._clients: set[Hashable] = set()

    def compiled(self, part: Part) -> Compiled:
        """The machine code of a part, of which only one is kept; other threads may ask as well.

        Raises:
            CompileError: as ``compile_part``.
            ParseError: the part was damaged.
            PlanError: the program touches memory while a transfer owns it.
        """
        key = part.text, part.once, part.fetched
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(part)
        return found

    def load(self, part: Part, client: Hashable) -> Loaded:
        """Compile a part of a program of ``client`` for this task.

        Raises:
            GraphcError: as ``compiled`` and ``keep``.
        """
        return self.keep(part, self.compiled(part), client)

    def keep(self, part: Part, compiled: Compiled, client: Hashable) -> Loaded:
        """A compiled part of a program of ``client``, with this task's variables.

        Raises:
            StateError: a variable exists with another dtype or shape.
        """
        variables = {name: self.store.allocate(name, type_) for name, type_ in compiled.variables}
        self._clients.add(client)
        self.store.shared = len(self._clients) > 1
        return Loaded(part, compiled, self.store, variables, self._allocate)

    def forget(self, client: Hashable) -> None:
        """``client`` has no program any more."""
        self._clients.discard(client)

    def _compile(self, part: Part) -> Compiled:
        executable = executable_of(
            lambda scheduled: compile_part(
                part.graph, self.target, scheduled, apart=bool(part.once), fetched=part.fetched
            ),
            self.target,
        )
        compiled = Compiled(executable, apart=self.apart)
        check_memory(compiled.program, compiled.instructions)
        return compiled


@dataclass
class Loaded:
    """A part of a program, ready for steps of any sizes."""

    part: Part
    compiled: Compiled
    store: VariableStore
    variables: Mapping[str, Array]
    allocate: Allocate
    _bindings: dict[tuple[int, ...], Binding] = field(default_factory=dict)
    _planned: dict[tuple[int, ...], tuple[Planned, ...]] = field(default_factory=dict)
    _together: dict[tuple[int, ...], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program, self.instructions = self.compiled.program, self.compiled.instructions
        routes = self.part.routes
        self.ends = {
            t: ((route := routes[t.edge]).number, Peer(route.peer, t.peer))
            for t in self.compiled.transfers
        }
        """For each transfer its number, and the task at the other end."""

    @cached_property
    def _rows(self) -> WeakKeyDictionary[Binding, tuple[Arrays, ...]]:
        return WeakKeyDictionary()

    @property
    def missing(self) -> tuple[str, ...]:
        """Variables that a step reads and that have no value yet."""
        return tuple(sorted(self.compiled.reads - self.store.initialized))

    @property
    def strands(self) -> list[Strand]:
        """In which order a step communicates."""
        return strands_of(self.instructions, self.part.routes)

    def bound(self, sizes: tuple[int, ...]) -> Binding | None:
        """What ``bind`` gives, if it was made before."""
        return self._bindings.get(sizes)

    def bind(self, sizes: Sequence[int]) -> Binding:
        """Memory and addresses for steps of these sizes, in the order of the part's symbols.

        Raises:
            GraphcError: more memory than any machine has.
        """
        return kept(self._bindings, tuple(sizes), self._bound)

    def _bound(self, sizes: Sequence[int]) -> Binding:
        named = dict(zip(self.part.symbols, sizes, strict=True))
        kept(self.compiled.checked, tuple(named.items()), self._checked)
        sends = self.program.sends or self.program.reductions
        allocate = self.allocate if sends else aligned
        return Binding(self.compiled.executable, named, self.variables, allocate)

    def _checked(self, named: tuple[tuple[str, int], ...]) -> bool:
        check_storages(self.program, dict(named))
        return True

    def reductions(self, sizes: Sequence[int]) -> tuple[Planned, ...]:
        """What is reduced over the members in a step of these sizes; all plan alike."""
        return kept(self._planned, tuple(sizes), self._plan)

    def _plan(self, sizes: Sequence[int]) -> tuple[Planned, ...]:
        sharding = self.part.sharding
        if sharding is None:
            return ()
        return planned(self.program, sharding, dict(zip(self.part.symbols, sizes, strict=True)))

    @cached_property
    def needs_nobody(self) -> bool:
        """Whether a member's step needs no rows of others, nor their number, and only reads."""
        sharding, program = self.part.sharding, self.program
        if sharding is None or self.compiled.commits or program.reductions:
            return False
        sizes = {name for call in program.calls for dim in call.sizes for name in symbols_of(dim)}
        return sizes.isdisjoint(sharding.of_batch)

    def ends_together(self, sizes: Sequence[int]) -> bool:
        """Whether all that is reduced in a step is reduced over memory, and nothing fails after it.

        Then it has ended nowhere before all members have come so far.
        """
        return kept(self._together, tuple(sizes), self._end_together)

    def _end_together(self, sizes: Sequence[int]) -> bool:
        planned = self.reductions(sizes)
        over_memory = all(p.plan.algorithm == OVER_MEMORY and p.plan.moves for p in planned)
        return bool(planned) and over_memory and self.compiled.is_safe_at_end

    def exchange(self, sizes: Sequence[int], rows: Rows | None) -> Exchange | None:
        """How a member of a batch comes to its feeds in a step, and fetches to the client."""
        sharding = self.part.sharding
        if sharding is None or (sharding.client == EVERYONE and len(sharding.own) == 1):
            return None
        graph, named = self.part.graph, dict(zip(self.part.symbols, sizes, strict=True))
        return Exchange(sharding, graph.inputs, graph.outputs, named, rows)

    def numbers(self, sizes: Sequence[int]) -> int:
        """How many numbers the transfers take that a shared batch makes in a step."""
        sharding, planned = self.part.sharding, self.reductions(sizes)
        if sharding is None:
            return 0
        return planned[-1].end if planned else sharding.exchanged

    def rows(self, binding: Binding) -> tuple[Arrays, ...]:
        """What the reductions of a step work on: memory of ``binding``, which has to live on."""
        found = self._rows.get(binding)
        if found is None:
            program = self.program
            found = tuple(arrays_of(program, r, binding) for r in program.reductions)
            self._rows[binding] = found
        return found

    def memory(self, binding: Binding, transfer: Transfer) -> Any:
        """What a transfer takes or fills; of a variable that others may write, a copy."""
        memory = binding.memory(transfer.storage)
        return bytes(memory) if self._is_shared(transfer) else memory

    def commit(self, binding: Binding) -> dict[int, bytes]:
        """Write the variables; nothing fails here. Gives copies of those to be sent after it."""
        for first, last in self._committed() if self.part.once else self.compiled.commits:
            binding.run_calls(first, last)
        self.store.initialized |= self.compiled.writes
        late = self.compiled.late
        return {t.storage: self.memory(binding, t) for t in late if self._is_shared(t)}

    def _is_shared(self, transfer: Transfer) -> bool:
        """Whether it sends a variable that another session may write meanwhile."""
        return self.store.shared and self.program.storages[transfer.storage].kind == "variable"

    def _committed(self) -> list[tuple[int, int]]:
        """The calls of the commit phase but those that initialise what has a value, as ranges."""
        calls = self.program.calls
        begin, end = self.program.commit, len(calls)
        return [(n, n + 1) for n in range(begin, end) if not self._has_value(calls[n])]

    def _has_value(self, call: Call) -> bool:
        storages = self.program.storages
        names = {storages[i].name for i in call.writes if storages[i].kind == "variable"}
        return bool(names) and names <= self.store.initialized & {*self.part.once}
