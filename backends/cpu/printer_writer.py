"""The text of LLVM IR while it is written: a module, and one function of it.

Text is written directly, with values numbered as LLVM numbers them, since building objects for
each instruction first takes several times as long as everything else that is done with it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.backends.cpu.printer_facts import Value
from graphc.backends.loops.ir import Buffer, Function, Var
from graphc.ir.target import Target

PARALLEL = "%parallel"


@dataclass
class ModuleText:
    """Functions, the intrinsics that they call, and metadata nodes."""

    target: Target
    functions: list[str] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    _loop_hints: tuple[int, int] | None = None
    _unlikely: int | None = None

    def declare(self, name: str, result: str, parameters: str) -> None:
        """Make the function ``name`` known."""
        self.declarations[name] = f"declare {result} @{name}({parameters})"

    def node(self, text: str = "") -> int:
        """A new metadata node; ``{0}`` in its text is its own number."""
        number = len(self.metadata)
        self.metadata.append(text.replace("{0}", str(number)))
        return number

    def loop_node(self) -> int:
        """The node of a loop that LLVM shall leave as the schedule made it."""
        if self._loop_hints is None:
            vectorize = self.node('!{!"llvm.loop.vectorize.enable", i1 false}')
            self._loop_hints = vectorize, self.node('!{!"llvm.loop.unroll.disable"}')
        vectorize, unroll = self._loop_hints
        return self.node(f"distinct !{{!{{0}}, !{vectorize}, !{unroll}}}")

    def unlikely_node(self) -> int:
        """The node of a branch that is hardly ever taken."""
        if self._unlikely is None:
            self._unlikely = self.node('!{!"branch_weights", i32 1, i32 1048575}')
        return self._unlikely

    def text(self) -> str:
        """The whole module."""
        nodes = [f"!{number} = {text}" for number, text in enumerate(self.metadata)]
        return "\n".join((*self.functions, *self.declarations.values(), "", *nodes, ""))


@dataclass
class Aliasing:
    """Which buffers of a kernel may overlap, as LLVM's metadata of scopes.

    Nothing overlaps but a result and the parameter that it is computed in the place of (and two
    results of one parameter). The loads and stores of a buffer carry its scope and the scopes of
    all that it cannot overlap.
    """

    module: ModuleText
    function: Function
    _domain: int = -1
    _nodes: dict[Buffer, tuple[int, int, int]] = field(default_factory=dict)

    def suffix(self, buffer: Buffer) -> str:
        """What a load or store of ``buffer`` ends with."""
        if buffer not in self._nodes:
            self._nodes[buffer] = self._new()
        _, alone, others = self._nodes[buffer]
        return f", !alias.scope !{alone}, !noalias !{others}"

    def _new(self) -> tuple[int, int, int]:
        node = self.module.node
        if self._domain < 0:
            self._domain = node("distinct !{!{0}}")
        scope = node(f"distinct !{{!{{0}}, !{self._domain}}}")
        return scope, node(f"!{{!{scope}}}"), node()

    def finish(self) -> None:
        """Write the lists of scopes, now that all buffers are known."""
        shared = self._sharing()
        for buffer, (_, _, others) in self._nodes.items():
            apart = [
                f"!{scope}"
                for other, (scope, _, _) in self._nodes.items()
                if other is not buffer and other not in shared.get(buffer, ())
            ]
            self.module.metadata[others] = f"!{{{', '.join(apart)}}}"

    def _sharing(self) -> dict[Buffer, set[Buffer]]:
        """For each buffer the others that it may overlap."""
        buffers = self.function.buffers
        groups: dict[Buffer, set[Buffer]] = {}
        for result, parameter in self.function.in_place:
            groups.setdefault(buffers[parameter], {buffers[parameter]}).add(buffers[result])
        shared: dict[Buffer, set[Buffer]] = {}
        for group in groups.values():
            for buffer in group:
                shared.setdefault(buffer, set()).update(group)
        return shared


@dataclass
class Writer:
    """One function being written: its lines, and the operands that stand for loops' values."""

    module: ModuleText
    aliasing: Aliasing
    name: str
    status: str = "%status"
    """The address of the status word."""
    in_task: bool = False
    """Whether this is the body of a pooled loop; loops inside are not pooled again."""
    values: dict[Var, Value] = field(default_factory=dict)
    pointers: dict[Buffer, str] = field(default_factory=dict)
    addresses: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Addresses at hand in this block, by element type, base and offset."""
    allocations: list[str] = field(default_factory=list)
    stack_bytes: int = 0
    tasks: list[str] = field(default_factory=list)
    """The functions that pooled loops became."""
    label: str = "entry"
    lines: list[str] = field(default_factory=list)
    _count: int = 0
    _labels: int = 0

    @property
    def target(self) -> Target:
        return self.module.target

    def value(self, text: str) -> str:
        """Write an instruction that has a result; its name."""
        name = f"%{self._count}"
        self._count += 1
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Write an instruction without a result."""
        self.lines.append(f"  {text}")

    def later(self) -> tuple[str, int]:
        """The name of an instruction that is written when its operands are known, its place."""
        place = len(self.lines)
        return self.value(""), place

    def fill(self, later: tuple[str, int], text: str) -> None:
        """Write the instruction that ``later`` left room for."""
        name, place = later
        self.lines[place] = f"  {name} = {text}"

    def new_label(self, hint: str) -> str:
        self._labels += 1
        return f"{hint}{self._labels}"

    def begin(self, label: str) -> None:
        """Start a block."""
        self.lines.append(f"{label}:")
        self.label = label

    def branch(self, condition: str, yes: str, no: str, suffix: str = "") -> None:
        self.do(f"br i1 {condition}, label %{yes}, label %{no}{suffix}")

    def call(self, name: str, result: str, parameters: str, arguments: str) -> str:
        """Call an intrinsic that has a result."""
        self.module.declare(name, result, parameters)
        return self.value(f"call {result} @{name}({arguments})")

    def allocate(self, size: int, alignment: int) -> str:
        """The address of ``size`` bytes of the function's stack."""
        name = f"%stack{len(self.allocations)}"
        self.allocations.append(f"  {name} = alloca [{size} x i8], align {alignment}")
        self.stack_bytes += size
        return name

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Addresses computed inside are not at hand after it."""
        before, self.addresses = self.addresses, dict(self.addresses)
        yield
        self.addresses = before

    def text(self, head: str) -> str:
        """The function, given its line without attributes and brace."""
        probe = ' "probe-stack"="inline-asm"' if self.stack_bytes > _PAGE else ""
        lines = [f'{head} nounwind mustprogress "no-builtins"{probe} {{', "entry:"]
        return "\n".join((*lines, *self.allocations, *self.lines, "  ret void", "}", ""))


_PAGE = 4096
