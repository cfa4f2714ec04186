"""A task's own part: it compiles programs for its device, keeps variables, and prepares steps.

Everything here is local and waits for nobody; the worker role decides when.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from graphc.backends.cpu.executable import Binding, Executable
from graphc.backends.loops.instructions import Instruction, instructions_of, one_by_one
from graphc.backends.loops.program import Call, Transfer
from graphc.compiler import compile_part
from graphc.ir.target import Target
from graphc.runtime.compiled import executable_of
from graphc.runtime.memory import check_storages, kept
from graphc.runtime.part import Part
from graphc.runtime.state import VariableStore, accesses_of

Array = npt.NDArray[Any]


class Engine:
    """Compiles what one task runs; ``store`` has the task's variables.

    ``apart``: calls of kernels are made one by one, so that a timeline shows each of them.
    """

    def __init__(self, target: Target, store: VariableStore, *, apart: bool = False) -> None:
        self.target = target
        self.store = store
        self.apart = apart
        self._clients: set[Hashable] = set()

    def load(self, part: Part, client: Hashable) -> Loaded:
        """Compile a part of a program of ``client`` for this task.

        Raises:
            CompileError: as ``compile_part``.
            StateError: a variable exists with another dtype or shape.
        """
        executable = executable_of(
            lambda scheduled: compile_part(
                part.graph, self.target, scheduled, apart=part.once, fetched=part.fetched
            ),
            self.target,
        )
        program = executable.program
        storages = [program.storages[i] for i in program.variables]
        variables = {s.name: self.store.allocate(s.name, s.type) for s in storages}
        self._clients.add(client)
        self.store.shared = len(self._clients) > 1
        return Loaded(part, executable, self.store, variables, self.apart)


@dataclass
class Loaded:
    """A part of a program, ready for steps of any sizes."""

    part: Part
    executable: Executable
    store: VariableStore
    variables: Mapping[str, Array]
    apart: bool = False
    _bindings: dict[tuple[int, ...], Binding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = self.executable.program
        made = instructions_of(self.program)
        self.instructions: tuple[Instruction, ...] = one_by_one(made) if self.apart else made
        self.writes, self.reads = accesses_of(self.program)
        commit, end = self.program.commit, len(self.program.calls)
        self.commits = [(commit, end)] if end > commit else []
        """The range of calls of the commit phase, if there are any."""
        self._late = [t for t in self.program.sends if t.call > commit]
        written = ", ".join(call.name for call in self.program.calls[commit:])
        self.about_commit = f"commit {written}" if written else ""
        """What a timeline calls the commit; there is none of a part that writes nothing."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Variables that a step reads and that have no value yet."""
        return tuple(sorted(self.reads - self.store.initialized))

    def bind(self, sizes: Sequence[int]) -> Binding:
        """Memory and addresses for steps of these sizes, in the order of the part's symbols.

        Raises:
            GraphcError: more memory than any machine has.
        """
        return kept(self._bindings, tuple(sizes), self._bound)

    def _bound(self, sizes: Sequence[int]) -> Binding:
        named = dict(zip(self.part.symbols, sizes, strict=True))
        check_storages(self.program, named)
        return Binding(self.executable, named, self.variables)

    def memory(self, binding: Binding, transfer: Transfer) -> Any:
        """What a transfer takes or fills; of a variable that others may write, a copy."""
        memory = binding.memory(transfer.storage)
        return bytes(memory) if self._is_shared(transfer) else memory

    def commit(self, binding: Binding) -> dict[int, bytes]:
        """Write the variables; nothing fails here. Gives copies of those to be sent after it."""
        for first, last in self._committed() if self.part.once else self.commits:
            binding.run_calls(first, last)
        self.store.initialized |= self.writes
        return {t.storage: self.memory(binding, t) for t in self._late if self._is_shared(t)}

    def _is_shared(self, transfer: Transfer) -> bool:
        """Whether it sends a variable that another session may write meanwhile."""
        return self.store.shared and self.program.storages[transfer.storage].kind == "variable"

    def _committed(self) -> list[tuple[int, int]]:
        """The calls of the commit phase whose variables have no value, as ranges."""
        calls = self.program.calls
        begin, end = self.program.commit, len(calls)
        return [(n, n + 1) for n in range(begin, end) if not self._has_value(calls[n])]

    def _has_value(self, call: Call) -> bool:
        storages = self.program.storages
        names = {storages[i].name for i in call.writes if storages[i].kind == "variable"}
        return bool(names) and names <= self.store.initialized
