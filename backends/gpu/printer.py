"""Loops to CUDA C. Every decision was made by a schedule; this only spells it.

Each value becomes a constant of its own, so that the C++ compiler is never asked in which order
to evaluate. All that a statement may be is in ``_STATEMENTS``, every kind of loop in ``_LOOPS``;
what is not there is not CUDA's, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.gpu.geometry import Geometry, extent, geometry, thread_nests
from graphc.backends.gpu.scalars import PRELUDE, c_type
from graphc.backends.gpu.values import value_text
from graphc.backends.loops.ir import (
    Alloc,
    Barrier,
    Block,
    Const,
    Expr,
    For,
    Function,
    Guard,
    If,
    Let,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.walk import postorder, statements
from graphc.ir.errors import CompileError

STATUS_OK = 2**64 - 1
"""What a caller puts into the status word; whatever else is there after a run is an error."""
POSITION_BITS = 48
"""An error is ``code << POSITION_BITS | position``: the smallest is the one to report."""

PREFIX = "graphc_"
"""Of the names of kernels, lest one is called like a function of CUDA's library."""

_DIMENSIONS = "xyz"
_NO_NAME = re.compile(r"\W")
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        alignas alignof and asm auto bool break case catch char class compl concept const constexpr
        continue default delete do double else enum explicit export extern false float for friend
        goto if inline int long mutable namespace new noexcept not nullptr operator or private
        protected public register requires return short signed sizeof static struct switch template
        this throw true try typedef typeid typename union unsigned using virtual void volatile while
        xor i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 status floor_divide floor_modulo
        threadIdx blockIdx blockDim gridDim warpSize fabs floor ceil rint trunc
        """,
    )
)


@dataclass(frozen=True, slots=True)
class CudaKernel:
    """One ``extern "C"`` kernel: ``name`` in ``source``, launched as ``geometry`` says.

    It takes the addresses of the function's buffers, its sizes as 64-bit integers, the addresses
    of its workspace and, if ``has_status``, that of an unsigned 64-bit status word.
    """

    name: str
    source: str
    geometry: Geometry
    buffers: int
    """How many buffers it takes before the sizes."""
    sizes: tuple[str, ...]
    has_status: bool


def print_cuda(function: Function) -> CudaKernel:
    """``function`` in CUDA C.

    Raises:
        CompileError: it holds what a GPU has not: vectors, pooled loops, unknown intrinsics.
    """
    return _Printer(function, geometry(function)).print()


@dataclass
class _Printer:
    """Holds the text so far, and the name that each variable and buffer got."""

    function: Function
    geometry: Geometry
    lines: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(_RESERVED))
    depth: int = 1
    temporaries: int = 0

    def print(self) -> CudaKernel:
        name = self.name(self.function, f"{PREFIX}{self.function.name}")
        parameters = ",\n    ".join(self.parameters())
        self.block(self.function.body)
        body = "\n".join(self.lines)
        head = f'extern "C" __global__ void __launch_bounds__({self.geometry.threads}) {name}('
        source = f"{PRELUDE}\n{head}\n    {parameters}) {{\n{body}\n}}\n"
        return CudaKernel(
            name,
            source,
            self.geometry,
            buffers=len(self.function.buffers),
            sizes=tuple(size.name for size in self.function.sizes),
            has_status=self.function.guards > 0,
        )

    def parameters(self) -> list[str]:
        body = statements(self.function.body)
        written = {id(stmt.buffer) for stmt in body if isinstance(stmt, Store)}
        aliased = {i for pair in self.function.in_place for i in pair}
        buffers = (*self.function.buffers, *self.function.workspace)
        texts = []
        for position, buffer in enumerate(buffers):
            const = "" if id(buffer) in written else "const "
            restrict = "" if position in aliased else " __restrict__"
            name = self.name(buffer, buffer.name)
            texts.append(f"{const}{c_type(buffer.dtype)}*{restrict} {name}")
        sizes = [f"i64 {self.name(size, size.name)}" for size in self.function.sizes]
        count = len(self.function.buffers)
        status = ["u64* status"] if self.function.guards else []
        return texts[:count] + sizes + texts[count:] + status

    def name(self, what: object, wanted: str) -> str:
        """The C name of a variable or buffer; two of one name stay apart."""
        known = self.names.get(id(what))
        if known is not None:
            return known
        base = _NO_NAME.sub("_", wanted)
        base = f"_{base}" if base[:1].isdigit() else base
        name, number = base, 1
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        self.names[id(what)] = name
        return name

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def block(self, body: Block) -> None:
        for stmt in body:
            print_statement = _STATEMENTS.get(type(stmt))
            if print_statement is None:
                raise CompileError(f"there is no CUDA C for the statement {type(stmt).__name__}")
            print_statement(self, stmt)

    def braces(self, head: str, body: Block, tail: str = "}") -> None:
        self.line(f"{head} {{".lstrip())
        self.depth += 1
        self.block(body)
        self.depth -= 1
        self.line(tail)

    def value(self, root: Expr, into: str | None = None) -> str:
        """Prints what ``root`` needs and returns its text, a name or a literal.

        ``into`` is the name that the value shall have, which is declared here.
        """
        texts: dict[int, str] = {}
        for expr in postorder([root]):
            text = value_text(expr, [texts[id(o)] for o in expr.operands], self.names)
            if expr is root and into is not None:
                text = self.declare(into, expr.type, text)
            elif not isinstance(expr, Const | Var):
                text = self.declare(self.temporary(), expr.type, text)
            texts[id(expr)] = text
        return texts[id(root)]

    def declare(self, name: str, type_: ValueType, text: str) -> str:
        self.line(f"const {c_type(type_.dtype)} {name} = {text};")
        return name

    def temporary(self) -> str:
        while True:
            name, self.temporaries = f"t{self.temporaries}", self.temporaries + 1
            if name not in self.taken:
                self.taken.add(name)
                return name


# Statements


def _let(printer: _Printer, stmt: Let) -> None:
    name = printer.name(stmt.var, stmt.var.name)
    printer.value(stmt.value, into=name)


def _store(printer: _Printer, stmt: Store) -> None:
    if stmt.value.type.lanes != 1:
        raise CompileError(f"CUDA C stores no {stmt.value.type}")
    offset = printer.value(stmt.offset)
    value = printer.value(stmt.value)
    condition = "" if stmt.mask is None else f"if ({printer.value(stmt.mask)}) "
    printer.line(f"{condition}{printer.names[id(stmt.buffer)]}[{offset}] = {value};")


def _if(printer: _Printer, stmt: If) -> None:
    head = f"if ({printer.value(stmt.condition)})"
    printer.braces(head, stmt.then, "} else {" if stmt.orelse else "}")
    if stmt.orelse:
        printer.depth += 1
        printer.block(stmt.orelse)
        printer.depth -= 1
        printer.line("}")


def _alloc(printer: _Printer, stmt: Alloc) -> None:
    buffer = stmt.buffer
    qualifier = _QUALIFIERS.get(buffer.space)
    if qualifier is None or not isinstance(buffer.size, Const):
        raise CompileError(f"a GPU kernel cannot allocate the {buffer.space} buffer {buffer.name}")
    aligned = f"__align__({buffer.alignment}) " if buffer.alignment > buffer.dtype.size else ""
    name = printer.name(buffer, buffer.name)
    printer.line(f"{qualifier}{aligned}{c_type(buffer.dtype)} {name}[{buffer.size.value}];")


_QUALIFIERS = {"shared": "__shared__ ", "thread": "", "register": ""}


def _barrier(printer: _Printer, _stmt: Barrier) -> None:
    printer.line("__syncthreads();")


def _guard(printer: _Printer, stmt: Guard) -> None:
    if stmt.ok.type.lanes != 1:
        raise CompileError("CUDA C guards one lane at a time")
    ok, position = printer.value(stmt.ok), printer.value(stmt.position)
    error = f"{stmt.code}ull << {POSITION_BITS} | (u64){position}"
    printer.line(f"if (!{ok}) atomicMin(status, {error});")


def _for(printer: _Printer, stmt: For) -> None:
    print_loop = _LOOPS.get(stmt.kind)
    if print_loop is None:
        raise CompileError(f"a GPU has no {stmt.kind} loops ({stmt.index.name})")
    print_loop(printer, stmt)


def _counted(printer: _Printer, stmt: For) -> None:
    """A loop of the C language; what it carries lives in variables declared before it."""
    begin, end = printer.value(stmt.begin), printer.value(stmt.end)
    for carried in stmt.carried:
        start = printer.value(carried.start)
        name = printer.name(carried.var, carried.var.name)
        printer.line(f"{c_type(carried.var.type.dtype)} {name} = {start};")
    index = printer.name(stmt.index, stmt.index.name)
    if stmt.kind == "unrolled":
        printer.line("#pragma unroll")
    printer.line(f"for (i64 {index} = {begin}; {index} < {end}; {index} += {stmt.step}) {{")
    printer.depth += 1
    printer.block(stmt.body)
    following = [
        (printer.names[id(c.var)], printer.value(c.next, into=printer.temporary()))
        for c in stmt.carried
    ]
    for name, value in following:
        printer.line(f"{name} = {value};")
    printer.depth -= 1
    printer.line("}")
    for carried in stmt.carried:
        result = printer.name(carried.result, carried.result.name)
        printer.declare(result, carried.result.type, printer.names[id(carried.var)])


def _of_grid(printer: _Printer, stmt: For) -> None:
    position = printer.geometry.blocks[::-1].index(stmt)
    _parallel(printer, stmt, f"blockIdx.{_DIMENSIONS[position]}")


def _of_block(printer: _Printer, stmt: For) -> None:
    below = [loop for nest in thread_nests(stmt.body) for loop in nest]
    stride = 1
    for loop in below:
        stride *= extent(loop)
    quotient = "threadIdx.x" + (f" / {stride}" if stride > 1 else "")
    whole = stride * extent(stmt) == printer.geometry.threads
    _parallel(printer, stmt, quotient if whole else f"{quotient} % {extent(stmt)}")


def _parallel(printer: _Printer, stmt: For, index: str) -> None:
    printer.line("{")
    printer.depth += 1
    printer.declare(printer.name(stmt.index, stmt.index.name), stmt.index.type, index)
    printer.block(stmt.body)
    printer.depth -= 1
    printer.line("}")


_LOOPS: dict[str, Callable[[_Printer, For], None]] = {
    "serial": _counted,
    "unrolled": _counted,
    "block": _of_grid,
    "warp": _of_block,
    "thread": _of_block,
}

_STATEMENTS: dict[type[Stmt], Callable[[_Printer, Any], None]] = {
    Let: _let,
    Store: _store,
    For: _for,
    If: _if,
    Alloc: _alloc,
    Barrier: _barrier,
    Guard: _guard,
}
