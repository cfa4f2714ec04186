"""Loops as text: canonical, so that it can be the key of a kernel, and exact.

Variables and buffers are numbered in the order in which they are defined, so functions of equal
structure have equal texts, whatever their schedules called things. What a statement uses twice,
or nests deeply, is printed once before it, as ``t0``, ``t1``... up to that statement::

    function f(p0: f32, p1: f32 aligned 64; n0) guards 1 {
        workspace w0: f32[n0 * 4] aligned 64
        pooled i0 in 0..n0 step 16 {
            v0: f32x16 = p0[i0 +: 16]
            p1[i0 +: 16] = fma(v0, v0, 1.0:f32x16)
        }
    }

``b[i]`` is an element, ``b[i +: 16]`` 16 elements from ``i`` on, ``b[v]`` with a vector of offsets
one element for each; ``if mask`` before the bracket closes says which lanes. Numbers carry their
type after a colon unless they are int64 or bool scalars. ``parse.py`` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from graphc.backends.loops.ir import (
    I64,
    Alloc,
    Barrier,
    Block,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Extract,
    For,
    Function,
    Guard,
    If,
    Intrinsic,
    Lanes,
    Let,
    Load,
    Op,
    Shuffle,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.walk import expressions
from graphc.ir.compute.notation import ATOM, Text, write_operation, write_values
from graphc.ir.notation import number_text


def print_function(function: Function, name: str = "f") -> str:
    """The text of ``function``, which is called ``name`` in it."""
    return _Printer(canonical=True).function(function, name)


def statement_text(stmt: Stmt) -> str:
    """A statement as an error shows it: under its own names, without the blocks inside it."""
    printer = _Printer(canonical=False)
    _STATEMENTS[type(stmt)](printer, stmt)
    return "\n".join(printer.lines)


Operands: TypeAlias = Sequence[Text]


class _Printer:
    """Holds the lines so far and the names given; blocks are elided where not canonical."""

    def __init__(self, *, canonical: bool) -> None:
        self.canonical = canonical
        self.lines: list[str] = []
        self.indent = ""
        self.names: dict[int, str] = {}
        self.counts: dict[str, int] = {}

    def name(self, what: Var | Buffer, prefix: str) -> str:
        """The name of what is defined here."""
        if not self.canonical:
            return what.name
        count = self.counts.get(prefix, 0)
        self.counts[prefix] = count + 1
        name = self.names[id(what)] = f"{prefix}{count}"
        return name

    def named(self, what: Var | Buffer) -> str:
        """The name of what was defined before."""
        return self.names.get(id(what)) or f"{what.name}{'?' if self.canonical else ''}"

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def block(self, block: Block) -> None:
        before, self.indent = self.indent, self.indent + "    "
        if self.canonical:
            for stmt in block:
                _STATEMENTS[type(stmt)](self, stmt)
        else:
            self.line("...")
        self.indent = before

    def function(self, function: Function, name: str) -> str:
        named = {id(b): self.name(b, "p") for b in function.buffers}
        buffers = []
        for position, buffer in enumerate(function.buffers):
            shared = [p for result, p in sorted(function.in_place) if result == position]
            reuses = "".join(f" reuses p{p}" for p in shared)
            buffers.append(f"{named[id(buffer)]}: {_memory(buffer)}{reuses}")
        sizes = ", ".join(self.name(size, "n") for size in function.sizes)
        head = f"function {name}({', '.join(buffers)}{'; ' if sizes else ''}{sizes})"
        self.line(head + (f" guards {function.guards}" if function.guards else "") + " {")
        self.indent = "    "
        for buffer in function.workspace:
            self.line(f"workspace {self.declared(buffer, 'w')}")
        self.indent = ""
        self.block(function.body)
        self.line("}")
        return "\n".join(self.lines) + "\n"

    def declared(self, buffer: Buffer, prefix: str) -> str:
        size = "?" if buffer.size is None else self.values((buffer.size,))[0]
        return f"{self.name(buffer, prefix)}: {_memory(buffer, f'[{size}]')}"

    def values(self, roots: Sequence[Expr]) -> list[str]:
        """The texts of ``roots``; what they share is printed first."""
        return write_values(roots, self.value, self.line)

    def value(self, expr: Expr, operands: Operands) -> Text:
        return _EXPRESSIONS[type(expr)](self, expr, operands)


def _memory(buffer: Buffer, size: str = "") -> str:
    aligned = f" aligned {buffer.alignment}" if buffer.alignment != 1 else ""
    return f"{buffer.dtype.short}{size}{aligned}"


# Expressions


def _const(_printer: _Printer, expr: Const, _operands: Operands) -> Text:
    type_ = expr.type
    text = number_text(expr.value, type_.dtype)
    plain = type_ == I64 or (type_.dtype.is_bool and type_.lanes == 1)
    return (text if plain else f"{text}:{type_}"), ATOM


def _var(printer: _Printer, expr: Var, _operands: Operands) -> Text:
    return printer.named(expr), ATOM


def _op(_printer: _Printer, expr: Op, operands: Operands) -> Text:
    return write_operation(expr.op, operands, expr.type.dtype)


def _load(printer: _Printer, expr: Load, operands: Operands) -> Text:
    mask = operands[1][0] if expr.mask is not None else None
    place = _place(printer.named(expr.buffer), expr.offset, operands[0][0], expr.type, mask)
    return place, ATOM


def _broadcast(_printer: _Printer, expr: Broadcast, operands: Operands) -> Text:
    return f"broadcast({operands[0][0]}, {expr.type.lanes})", ATOM


def _lanes(_printer: _Printer, expr: Lanes, _operands: Operands) -> Text:
    return f"lanes({expr.type.lanes})", ATOM


def _shuffle(_printer: _Printer, expr: Shuffle, operands: Operands) -> Text:
    lanes = ", ".join(map(str, expr.lanes))
    return f"shuffle({operands[0][0]}, {operands[1][0]}, [{lanes}])", ATOM


def _extract(_printer: _Printer, expr: Extract, operands: Operands) -> Text:
    return f"extract({operands[0][0]}, {expr.lane})", ATOM


def _intrinsic(_printer: _Printer, expr: Intrinsic, operands: Operands) -> Text:
    args = ", ".join(text for text, _ in operands)
    return f"@{expr.name}({args}; {expr.type})", ATOM


def _place(buffer: str, offset: Expr, at: str, type_: ValueType, mask: str | None) -> str:
    lanes = f" +: {type_.lanes}" if offset.type.lanes != type_.lanes else ""
    return f"{buffer}[{at}{lanes}" + (f" if {mask}]" if mask is not None else "]")


_EXPRESSIONS: dict[type[Expr], Callable[[_Printer, Any, Operands], Text]] = {
    Const: _const,
    Var: _var,
    Op: _op,
    Load: _load,
    Broadcast: _broadcast,
    Lanes: _lanes,
    Shuffle: _shuffle,
    Extract: _extract,
    Intrinsic: _intrinsic,
}


# Statements


def _let(printer: _Printer, stmt: Let) -> None:
    (value,) = printer.values((stmt.value,))
    printer.line(f"{printer.name(stmt.var, 'v')}: {stmt.var.type} = {value}")


def _store(printer: _Printer, stmt: Store) -> None:
    offset, value, *mask = printer.values(expressions(stmt))
    name, type_ = printer.named(stmt.buffer), stmt.value.type
    place = _place(name, stmt.offset, offset, type_, mask[0] if mask else None)
    printer.line(f"{place} = {value}")


def _for(printer: _Printer, stmt: For) -> None:
    starts = [c.start for c in stmt.carried]
    begin, end, *start_texts = printer.values((stmt.begin, stmt.end, *starts))
    index = printer.name(stmt.index, "i")
    names = [f"{printer.name(c.var, 'a')}: {c.var.type}" for c in stmt.carried]
    carry = ", ".join(f"{name} = {text}" for name, text in zip(names, start_texts, strict=True))
    step = f" step {stmt.step}" if stmt.step != 1 else ""
    head = f"{stmt.kind} {index} in {begin}..{end}{step}"
    printer.line(head + (f" carry ({carry})" if carry else "") + " {")
    printer.block(stmt.body)
    if stmt.carried:
        before, printer.indent = printer.indent, printer.indent + "    "
        nexts = printer.values([c.next for c in stmt.carried])
        printer.line(f"next ({', '.join(nexts)})")
        printer.indent = before
    results = ", ".join(printer.name(c.result, "r") for c in stmt.carried)
    printer.line(f"}} -> ({results})" if results else "}")


def _if(printer: _Printer, stmt: If) -> None:
    (condition,) = printer.values((stmt.condition,))
    printer.line(f"if {condition} {{")
    printer.block(stmt.then)
    if stmt.orelse:
        printer.line("} else {")
        printer.block(stmt.orelse)
    printer.line("}")


def _alloc(printer: _Printer, stmt: Alloc) -> None:
    printer.line(f"alloc {stmt.buffer.space} {printer.declared(stmt.buffer, 'b')}")


def _barrier(printer: _Printer, _stmt: Barrier) -> None:
    printer.line("barrier")


def _guard(printer: _Printer, stmt: Guard) -> None:
    ok, position = printer.values((stmt.ok, stmt.position))
    printer.line(f"guard {ok} else {stmt.code} at {position}")


_STATEMENTS: dict[type[Any], Callable[[_Printer, Any], None]] = {
    Let: _let,
    Store: _store,
    For: _for,
    If: _if,
    Alloc: _alloc,
    Barrier: _barrier,
    Guard: _guard,
}
