"""Loops' values in CUDA C: one table from the class of an expression to its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from graphc.backends.gpu.scalars import literal, operation
from graphc.backends.loops.ir import Const, Expr, Intrinsic, Load, Op, Var
from graphc.ir.dtypes import bool_
from graphc.ir.errors import CompileError

Names: TypeAlias = Mapping[int, str]
"""The C names of variables and buffers, by identity."""

_FULL_WARP = "0xffffffffu"
_SHUFFLES = {"warp_shuffle_down": "__shfl_down_sync", "warp_shuffle_xor": "__shfl_xor_sync"}


def value_text(expr: Expr, operands: Sequence[str], names: Names) -> str:
    """The C expression of ``expr`` over operands that are names or literals.

    Raises:
        CompileError: a GPU has no such value, or a variable is used before it is defined.
    """
    text = _VALUES.get(type(expr))
    if text is None or expr.type.lanes != 1:
        raise CompileError(f"there is no CUDA C for {type(expr).__name__} of {expr.type}")
    return text(expr, operands, names)


def _const(expr: Const, _operands: Sequence[str], _names: Names) -> str:
    return literal(expr.value, expr.type.dtype)


def _var(expr: Var, _operands: Sequence[str], names: Names) -> str:
    if id(expr) not in names:
        raise CompileError(f"{expr.name} is used before it is defined")
    return names[id(expr)]


def _op(expr: Op, operands: Sequence[str], _names: Names) -> str:
    dtypes = [arg.type.dtype for arg in expr.args]
    return operation(expr.op, expr.type.dtype, list(zip(operands, dtypes, strict=True)))


def _load(expr: Load, operands: Sequence[str], names: Names) -> str:
    element = f"{names[id(expr.buffer)]}[{operands[0]}]"
    if expr.mask is None:
        return element
    return f"{operands[1]} ? {element} : {literal(0, expr.type.dtype)}"


def _intrinsic(expr: Intrinsic, operands: Sequence[str], _names: Names) -> str:
    shuffle = _SHUFFLES.get(expr.name)
    if shuffle is None:
        raise CompileError(f"there is no CUDA C for the intrinsic {expr.name}")
    value, distance = operands
    widened = f"(int){value}" if expr.type.dtype is bool_ else value
    return f"{shuffle}({_FULL_WARP}, {widened}, (int){distance})"


_VALUES: dict[type[Expr], Callable[[Any, Sequence[str], Names], str]] = {
    Const: _const,
    Var: _var,
    Op: _op,
    Load: _load,
    Intrinsic: _intrinsic,
}
