"""Loops' expressions in LLVM IR: a table from the class of an expression to what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from graphc.backends.cpu import printer_facts as facts
from graphc.backends.cpu import printer_memory
from graphc.backends.cpu.printer_facts import Value
from graphc.backends.cpu.printer_ops import write_op
from graphc.backends.cpu.printer_types import constant, element, offsets, value_type
from graphc.backends.cpu.printer_writer import Writer
from graphc.backends.loops.ir import (
    I64,
    Broadcast,
    Const,
    Expr,
    Extract,
    Intrinsic,
    Lanes,
    Load,
    Op,
    Shuffle,
    Var,
)
from graphc.backends.loops.walk import postorder
from graphc.ir.dtypes import int64
from graphc.ir.errors import CompileError

Operands = Sequence[Value]


def evaluate(writer: Writer, roots: Sequence[Expr]) -> list[Value]:
    """Write what ``roots`` need, each expression once; their operands.

    Raises:
        CompileError: processors have no such value, or a variable is used before it is defined.
    """
    done: dict[int, Value] = {}
    for expr in postorder(roots):
        if isinstance(expr, Var):
            done[id(expr)] = _var(writer, expr)
            continue
        write = _VALUES.get(type(expr))
        if write is None:
            raise CompileError(f"there is no CPU code for {type(expr).__name__}")
        value = write(writer, expr, [done[id(o)] for o in expr.operands])
        if expr.type == I64:
            value = Value(value.text, facts.rooted(value.facts, value.text))
        done[id(expr)] = value
    return [done[id(root)] for root in roots]


def _var(writer: Writer, expr: Var) -> Value:
    if expr not in writer.values:
        raise CompileError(f"{expr.name} is used before it is defined")
    return writer.values[expr]


def _const(_writer: Writer, expr: Const, _operands: Operands) -> Value:
    if expr.type.dtype is int64:
        return Value(constant(expr), facts.of_constant(int(expr.value)))
    return Value(constant(expr))


def _load(writer: Writer, expr: Load, operands: Operands) -> Value:
    mask = operands[1].text if expr.mask is not None else None
    return Value(printer_memory.load(writer, expr, operands[0], mask))


def _broadcast(writer: Writer, expr: Broadcast, operands: Operands) -> Value:
    (value,) = operands
    known = value.facts
    lanes, name = expr.type.lanes, element(expr.type.dtype)
    if isinstance(expr.value, Const) or known.known or lanes == 1:
        number = expr.value.value if isinstance(expr.value, Const) else known.shift
        return Value(constant(Const(number, expr.type)) if lanes > 1 else value.text, known)
    wide = f"<{lanes} x {name}>"
    first = writer.value(f"insertelement {wide} poison, {name} {value.text}, i64 0")
    text = writer.value(
        f"shufflevector {wide} {first}, {wide} poison, <{lanes} x i32> zeroinitializer"
    )
    return Value(text, facts.Facts(known.high, known.power))


def _lanes(_writer: Writer, expr: Lanes, _operands: Operands) -> Value:
    lanes = expr.type.lanes
    return Value(offsets(lanes) if lanes > 1 else "0", facts.of_lanes(lanes))


def _shuffle(writer: Writer, expr: Shuffle, operands: Operands) -> Value:
    source = expr.a.type
    type_, count = value_type(source), len(expr.lanes)
    if source.lanes == 1 or count == 1:
        return Value(_picked(writer, expr, operands))
    lanes = ", ".join(f"i32 {lane}" for lane in expr.lanes)
    a, b = operands[0].text, operands[1].text
    text = writer.value(f"shufflevector {type_} {a}, {type_} {b}, <{count} x i32> <{lanes}>")
    return Value(text)


def _picked(writer: Writer, expr: Shuffle, operands: Operands) -> str:
    """A shuffle from scalars or to one, lane by lane."""
    lanes = [_lane(writer, expr, operands, lane) for lane in expr.lanes]
    if len(lanes) == 1:
        return lanes[0]
    type_, name = value_type(expr.type), element(expr.type.dtype)
    text = "poison"
    for position, lane in enumerate(lanes):
        text = writer.value(f"insertelement {type_} {text}, {name} {lane}, i64 {position}")
    return text


def _lane(writer: Writer, expr: Shuffle, operands: Operands, lane: int) -> str:
    source = expr.a.type
    text = operands[lane // source.lanes].text
    if source.lanes == 1:
        return text
    return writer.value(f"extractelement {value_type(source)} {text}, i64 {lane % source.lanes}")


def _extract(writer: Writer, expr: Extract, operands: Operands) -> Value:
    vector = expr.vector.type
    if vector.lanes == 1:
        return operands[0]
    text = writer.value(f"extractelement {value_type(vector)} {operands[0].text}, i64 {expr.lane}")
    return Value(text, facts.Facts(operands[0].facts.high, operands[0].facts.power))


def _intrinsic(_writer: Writer, expr: Intrinsic, _operands: Operands) -> Value:
    raise CompileError(f"there is no CPU code for the intrinsic {expr.name}")


_VALUES: Mapping[type[Expr], Callable[[Writer, Any, Operands], Value]] = MappingProxyType(
    {
        Const: _const,
        Op: write_op,
        Load: _load,
        Broadcast: _broadcast,
        Lanes: _lanes,
        Shuffle: _shuffle,
        Extract: _extract,
        Intrinsic: _intrinsic,
    }
)
