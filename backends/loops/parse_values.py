"""Reads expressions in the text of loops: the half of ``parse.py`` below statements."""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.loops.ir import (
    I64,
    INTRINSICS,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Extract,
    Intrinsic,
    Lanes,
    Load,
    Op,
    Shuffle,
    ValueType,
    Var,
)
from graphc.ir.compute.notation import OperationReader
from graphc.ir.compute.scalar import result_dtype
from graphc.ir.dtypes import DTYPES, DType, bool_, int64
from graphc.ir.notation import Line, read_number

_TYPES = {dtype.short: ValueType(dtype) for dtype in DTYPES}
_NUMBERS = {"bool": bool, "float": float, "int": int, "uint": int}


class Values(OperationReader[Expr]):
    """What the names read so far stand for; reads expressions over them."""

    def __init__(self) -> None:
        self.vars: dict[str, Var] = {}
        self.buffers: dict[str, Buffer] = {}
        self.temporaries: dict[str, Expr] = {}

    def type(self, line: Line) -> ValueType:
        """``f32`` or ``f32x16``."""
        token = line.peek()
        dtype, _, lanes = token.partition("x")
        found = _TYPES.get(dtype)
        if found is None or (lanes and not lanes.isdecimal()) or len(lanes) > 6:
            line.fail(f"expected a type, not {token!r}")
        line.next()
        return found.with_lanes(int(lanes or 1))

    def place(self, line: Line) -> tuple[Expr, int, Expr | None]:
        """The rest of ``buffer[offset +: lanes if mask]``."""
        offset = self.value(line)
        lanes = line.integer() if line.accept("+:") else offset.type.lanes
        mask = self.value(line) if line.accept("if") else None
        line.expect("]")
        return offset, lanes, mask

    def atom(self, line: Line) -> Expr:
        token = line.peek()
        if token in self.vars or token in self.temporaries:
            line.next()
            return self.vars.get(token) or self.temporaries[token]
        if token[:1] == "@":
            return self.intrinsic(line)
        if token in self.buffers:
            line.expect(token, "[")
            buffer = self.buffers[token]
            offset, lanes, mask = self.place(line)
            return Load(buffer, offset, ValueType(buffer.dtype, lanes), mask)
        if token in _CALLS:
            line.expect(token, "(")
            return _CALLS[token](self, line)
        return self.const(line)

    def const(self, line: Line) -> Const:
        value = read_number(line)
        type_ = ValueType(bool_) if isinstance(value, bool) else I64
        if line.accept(":"):
            type_ = self.type(line)
        if type(value) is not _NUMBERS[type_.dtype.kind]:
            line.fail(f"{value!r} is no {type_.dtype.short}")
        return Const(value, type_)

    def intrinsic(self, line: Line) -> Intrinsic:
        name = line.next()[1:]
        if name not in INTRINSICS:
            line.fail(f"there is no intrinsic {name!r}")
        line.expect("(")
        args = [] if line.peek() == ";" else [self.value(line)]
        while line.accept(","):
            args.append(self.value(line))
        line.expect(";")
        type_ = self.type(line)
        line.expect(")")
        return Intrinsic(name, tuple(args), type_)

    def operation(self, line: Line, op: str, args: tuple[Expr, ...], given: DType | None) -> Expr:
        try:
            dtype = result_dtype(op, tuple(a.type.dtype for a in args), given)
        except TypeError as error:
            line.fail(str(error))
        return Op(op, args, ValueType(dtype, args[0].type.lanes))


# Calls: the name and the bracket are read


def _broadcast(reader: Values, line: Line) -> Expr:
    value = reader.value(line)
    line.expect(",")
    lanes = line.integer()
    line.expect(")")
    return Broadcast(value, value.type.with_lanes(lanes))


def _lanes(_reader: Values, line: Line) -> Expr:
    lanes = line.integer()
    line.expect(")")
    return Lanes(ValueType(int64, lanes))


def _shuffle(reader: Values, line: Line) -> Expr:
    a = reader.value(line)
    line.expect(",")
    b = reader.value(line)
    line.expect(",", "[")
    lanes = tuple(line.listed(line.integer, "]"))
    line.expect(")")
    return Shuffle(a, b, lanes, a.type.with_lanes(len(lanes)))


def _extract(reader: Values, line: Line) -> Expr:
    vector = reader.value(line)
    line.expect(",")
    lane = line.integer()
    line.expect(")")
    return Extract(vector, lane, vector.type.with_lanes(1))


_CALLS: dict[str, Callable[[Values, Line], Expr]] = {
    "broadcast": _broadcast,
    "lanes": _lanes,
    "shuffle": _shuffle,
    "extract": _extract,
}
