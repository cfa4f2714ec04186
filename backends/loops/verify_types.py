"""The type rules of loops' expressions: one for each class, in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.backends.loops.ir import (
    BOOL,
    I64,
    INTRINSICS,
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
from graphc.ir.compute.scalar import SCALAR_OPS, result_dtype
from graphc.ir.compute.verify import number_wrong

Wrong = str | None


def check_type(expr: Expr) -> Wrong:
    """What is wrong with the type of ``expr``, given those of its operands; None if nothing."""
    rule = _RULES.get(type(expr))
    if rule is None:
        return f"{type(expr).__name__} is no expression"
    if expr.type.lanes < 1:
        return f"a value has {expr.type.lanes} lanes"
    return rule(expr)


def _const(expr: Const) -> Wrong:
    return number_wrong(expr.value, expr.type.dtype)


def _var(_expr: Var) -> Wrong:
    return None


def _op(expr: Op) -> Wrong:
    if expr.op not in SCALAR_OPS:
        return f"there is no operation {expr.op}"
    if any(a.type.lanes != expr.type.lanes for a in expr.args):
        return f"{expr.op} to {expr.type} takes operands {_types(expr.args)}"
    try:
        dtype = result_dtype(expr.op, tuple(a.type.dtype for a in expr.args), expr.type.dtype)
    except TypeError:
        return f"{expr.op} does not take operands {_types(expr.args)}"
    if expr.op == "bitcast" and expr.args[0].type.dtype.size != dtype.size:
        return f"bitcast from {expr.args[0].type} to {expr.type} changes the width"
    return None if dtype is expr.type.dtype else f"{expr.op} gives {dtype.short}, not {expr.type}"


def _load(expr: Load) -> Wrong:
    if expr.type.dtype is not expr.buffer.dtype:
        return f"a {expr.buffer.dtype.short} is read as {expr.type}"
    offset = expr.offset.type
    if offset not in (I64, I64.with_lanes(expr.type.lanes)):
        return f"the offset of {expr.type} is a {offset}"
    if expr.mask is None or expr.mask.type == BOOL.with_lanes(expr.type.lanes):
        return None
    return f"the mask of {expr.type} is a {expr.mask.type}"


def _broadcast(expr: Broadcast) -> Wrong:
    right = expr.value.type == expr.type.with_lanes(1)
    return None if right else f"{expr.value.type} is broadcast to {expr.type}"


def _lanes(expr: Lanes) -> Wrong:
    return None if expr.type.dtype is I64.dtype else f"lanes are i64, not {expr.type.dtype.short}"


def _shuffle(expr: Shuffle) -> Wrong:
    whole = expr.a.type
    if expr.b.type != whole or expr.type != whole.with_lanes(len(expr.lanes)):
        return f"{expr.type} is shuffled out of {whole} and {expr.b.type}"
    inside = all(0 <= lane < 2 * whole.lanes for lane in expr.lanes)
    return None if inside else f"a lane of {list(expr.lanes)} is not in two {whole}"


def _extract(expr: Extract) -> Wrong:
    vector = expr.vector.type
    if expr.type != vector.with_lanes(1):
        return f"{expr.type} is extracted from {vector}"
    return None if 0 <= expr.lane < vector.lanes else f"{vector} has no lane {expr.lane}"


def _intrinsic(expr: Intrinsic) -> Wrong:
    if expr.name not in INTRINSICS:
        return f"there is no intrinsic {expr.name}"
    if not expr.name.startswith("warp_shuffle"):
        return None
    wanted = (expr.type, I64)
    found = tuple(a.type for a in expr.args)
    scalar = expr.type.lanes == 1 and found == wanted
    return None if scalar else f"{expr.name} to {expr.type} takes operands {_types(expr.args)}"


def _types(exprs: tuple[Expr, ...]) -> str:
    return ", ".join(str(e.type) for e in exprs)


_RULES: dict[type[Expr], Callable[[Any], Wrong]] = {
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
