"""The entry points of an artifact, as LLVM IR: plain functions of pointers.

    int64_t NAME_workspace_size(const int64_t *dims);
    int64_t NAME_run(const void *constants, void *const *variables, void *workspace,
                     const void *const *inputs, void *const *outputs, const int64_t *dims,
                     const graphc_parallel *parallel);

The function is straight-line: it writes the addresses of each call's buffers next to each other
and calls the kernel. It has no globals and allocates nothing but a few words of stack. Temporaries
lie in slots of the workspace (``graphc.backends.loops.memory.plan_slots``) if sizes are symbolic,
and at planned offsets if not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.backends.loops.ir import Const, Expr, Op, Var
from graphc.backends.loops.memory import ALIGNMENT, Interval, plan_memory, plan_slots
from graphc.backends.loops.program import Call, Program, lifetimes_of
from graphc.ir.dims import Dim, Expression, Quotient, Symbol

ASSUMED_SIZE = 64
"""What a symbolic size counts for when slots are chosen."""


@dataclass
class Text:
    """Lines of one function, with numbered values."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def value(self, text: str) -> str:
        """``text`` as a new value; gives its name."""
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def at(self, base: str, offset: str | int) -> str:
        """The address ``offset`` bytes after ``base``."""
        return base if offset == 0 else self.value(f"getelementptr i8, ptr {base}, i64 {offset}")


@dataclass(frozen=True)
class ErrorCode:
    """What a status word means: its upper 16 bits are the error's number, counted from 1."""

    message: str
    call: int
    code: int


def error_codes(program: Program) -> tuple[ErrorCode, ...]:
    """Every error that a run can end with, in the order of their numbers."""
    return tuple(
        ErrorCode(message, number, code)
        for number, call in enumerate(program.calls)
        for code, message in enumerate(call.blame)
    )


def entry_ir(
    program: Program, name: str, kernels: Sequence[str], constants: Mapping[str, int]
) -> str:
    """The two functions.

    ``kernels`` are the names of the program's kernels in the module, ``constants`` the offsets of
    the constants in their region.
    """
    run = _run_function(program, name, kernels, constants)
    return "\n".join((_size_function(program, name), run))


def _size_function(program: Program, name: str) -> str:
    text = Text()
    sizes = _Sizes(program, text)
    total = _Arena(program, sizes).total
    text.do(f"ret i64 {total}")
    return _function(f"i64 @{name}_workspace_size(ptr %dims)", text)


def _run_function(
    program: Program, name: str, kernels: Sequence[str], constants: Mapping[str, int]
) -> str:
    text = Text()
    text.do("%status = alloca i64")
    text.do("store i64 -1, ptr %status")
    widest = max((len(c.storages) for c in program.calls), default=1)
    most = max((len(c.sizes) for c in program.calls), default=1)
    text.do(f"%args = alloca [{max(1, widest)} x ptr]")
    text.do(f"%sizes = alloca [{max(1, most)} x i64]")
    sizes = _Sizes(program, text)
    addresses = _addresses(program, text, _Arena(program, sizes), constants)
    errors = {(e.call, e.code): i + 1 for i, e in enumerate(error_codes(program))}
    for number, call in enumerate(program.calls):
        _call(text, sizes, call, kernels[call.kernel], addresses)
        if call.blame:
            _check(text, number, errors[number, 0])
    text.do("ret i64 0")
    pointers = ("constants", "variables", "workspace", "inputs", "outputs", "dims", "parallel")
    params = ", ".join(f"ptr %{p}" for p in pointers)
    return _function(f"i64 @{name}_run({params})", text)


def _function(head: str, text: Text) -> str:
    return "\n".join([f"define {head} {{", "entry:", *text.lines, "}", ""])


def _call(text: Text, sizes: _Sizes, call: Call, kernel: str, addresses: Mapping[int, str]) -> None:
    for position, storage in enumerate(call.storages):
        text.do(f"store ptr {addresses[storage]}, ptr {text.at('%args', 8 * position)}")
    for position, dim in enumerate(call.sizes):
        text.do(f"store i64 {sizes.dim(dim)}, ptr {text.at('%sizes', 8 * position)}")
    text.do(f"call void @{kernel}(ptr %args, ptr %sizes, ptr %parallel, ptr %status)")


def _check(text: Text, number: int, first: int) -> None:
    """Return if the kernel failed: its code, counted on from ``first``, and the position."""
    word = text.value("load i64, ptr %status")
    failed = text.value(f"icmp ne i64 {word}, -1")
    text.do(f"br i1 {failed}, label %failed{number}, label %passed{number}")
    text.lines.append(f"failed{number}:")
    text.do(f"ret i64 {text.value(f'add i64 {word}, {first << 48}')}")
    text.lines.append(f"passed{number}:")


def _addresses(
    program: Program, text: Text, arena: _Arena, constants: Mapping[str, int]
) -> dict[int, str]:
    """The address of every storage that a call touches."""
    used = {storage for call in program.calls for storage in call.storages}
    order = {
        "feed": ("inputs", program.feeds),
        "fetch": ("outputs", program.fetches),
        "variable": ("variables", program.variables),
    }
    found: dict[int, str] = {}
    for index in sorted(used):
        storage = program.storages[index]
        if storage.kind == "temporary":
            found[index] = text.at("%workspace", arena.offsets[index])
        elif storage.kind == "constant":
            found[index] = text.at("%constants", constants[storage.name])
        else:
            array, members = order[storage.kind]
            place = text.at(f"%{array}", 8 * members.index(index))
            found[index] = text.value(f"load ptr, ptr {place}")
    return found


class _Sizes:
    """Dimensions as values, each computed once."""

    def __init__(self, program: Program, text: Text) -> None:
        self.text = text
        self._symbols: dict[str, str] = {}
        self._dims: dict[Dim, str] = {}
        for position, name in enumerate(program.symbols):
            place = text.at("%dims", 8 * position)
            self._symbols[name] = text.value(f"load i64, ptr {place}")

    def dim(self, dim: Dim) -> str:
        """A dimension as an i64 operand."""
        if not isinstance(dim, Expression):
            return str(dim)
        if dim not in self._dims:
            self._dims[dim] = self._polynomial(dim)
        return self._dims[dim]

    def expr(self, expr: Expr) -> str:
        """A workspace size as an i64 operand."""
        if isinstance(expr, Const):
            return str(int(expr.value))
        if isinstance(expr, Var):
            return self._symbols[expr.name]
        assert isinstance(expr, Op)
        a, b = (self.expr(arg) for arg in expr.args)
        return self.text.value(_INTEGER_OPS[expr.op].format(a=a, b=b))

    def _polynomial(self, dim: Expression) -> str:
        total = "0"
        for monomial, factor in dim.terms:
            term = str(factor)
            for atom in monomial:
                term = self.text.value(f"mul i64 {term}, {self._atom(atom)}")
            total = self.text.value(f"add i64 {total}, {term}")
        return total

    def _atom(self, atom: Symbol | Quotient) -> str:
        if isinstance(atom, Symbol):
            return self._symbols[atom.name]
        a, b = self.dim(atom.dividend), self.dim(atom.divisor)
        return self.text.value(f"{'urem' if atom.remainder else 'udiv'} i64 {a}, {b}")


_INTEGER_OPS = {
    "add": "add i64 {a}, {b}",
    "sub": "sub i64 {a}, {b}",
    "mul": "mul i64 {a}, {b}",
    "floordiv": "udiv i64 {a}, {b}",
    "mod": "urem i64 {a}, {b}",
    "min": "call i64 @llvm.umin.i64(i64 {a}, i64 {b})",
    "max": "call i64 @llvm.umax.i64(i64 {a}, i64 {b})",
}
"""Sizes are never negative."""


class _Arena:
    """Offsets of the temporaries in the workspace, as operands, and the workspace's size."""

    def __init__(self, program: Program, sizes: _Sizes) -> None:
        self.text, self.sizes = sizes.text, sizes
        lifetimes = lifetimes_of(program)
        guess = dict.fromkeys(program.symbols, ASSUMED_SIZE)
        intervals = [
            Interval(max(1, program.storages[i].bytes(guess)), *lifetimes[i]) for i in lifetimes
        ]
        if not program.symbols:
            layout = plan_memory(intervals)
            self.offsets = {i: str(o) for i, o in zip(lifetimes, layout.offsets, strict=True)}
            self.total = str(layout.peak)
            return
        slots = dict(zip(lifetimes, plan_slots(intervals), strict=True))
        starts = ["0"]
        for slot in range(max(slots.values(), default=-1) + 1):
            members = [i for i, s in slots.items() if s == slot]
            starts.append(self._after(starts[-1], [self._bytes(program, i) for i in members]))
        self.offsets = {i: starts[slot] for i, slot in slots.items()}
        self.total = starts[-1]

    def _bytes(self, program: Program, index: int) -> str:
        storage = program.storages[index]
        if storage.workspace is None:
            return self.sizes.dim(storage.type.bytes)
        count = self.sizes.expr(storage.workspace)
        return self.text.value(f"mul i64 {count}, {storage.type.dtype.size}")

    def _after(self, start: str, sizes: Sequence[str]) -> str:
        """The next multiple of 64 after the largest of ``sizes`` bytes from ``start`` on."""
        largest = sizes[0]
        for size in sizes[1:]:
            if size != largest:
                largest = self.text.value(_INTEGER_OPS["max"].format(a=largest, b=size))
        end = self.text.value(f"add i64 {start}, {largest}")
        rounded = self.text.value(f"add i64 {end}, {ALIGNMENT - 1}")
        return self.text.value(f"and i64 {rounded}, {-ALIGNMENT}")
