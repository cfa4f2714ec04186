"""How far apart in memory the elements are that neighbouring iterations touch.

A schedule picks its vector axis, merges loops and proves in-place updates by the *stride* of each
access along each axis: the change of the flat offset when the axis' index grows by one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Index, Size, postorder
from graphc.ir.dims import Dim, Shape


def row_major(shape: Shape) -> tuple[Dim, ...]:
    """The strides, in elements, of a dense tensor."""
    strides: list[Dim] = []
    step: Dim = 1
    for extent in reversed(shape):
        strides.append(step)
        step = step * extent
    return tuple(reversed(strides))


def stride(index: Sequence[Expr], strides: Sequence[Dim], axis: Axis) -> Dim | None:
    """The change of the offset along ``axis``; None if it is not the same everywhere."""
    total: Dim = 0
    for expr, step in zip(index, strides, strict=True):
        slope = derivative(expr, axis)
        if slope is None:
            return None
        total = total + slope * step
    return total


def derivative(expr: Expr, axis: Axis) -> Dim | None:
    """The change of an index expression along ``axis``; None if it is not constant."""
    slopes: dict[int, Dim | None] = {}
    for e in postorder([expr]):
        slopes[id(e)] = _slope(e, [slopes[id(o)] for o in e.operands], axis)
    return slopes[id(expr)]


def depends(expr: Expr, axis: Axis) -> bool:
    """Whether the value changes along ``axis``."""
    return any(isinstance(e, Index) and e.axis is axis for e in postorder([expr]))


def _slope(expr: Expr, slopes: Sequence[Dim | None], axis: Axis) -> Dim | None:
    if isinstance(expr, Index):
        return 1 if expr.axis is axis else 0
    if all(isinstance(s, int) and s == 0 for s in slopes):
        return 0
    known = [s for s in slopes if s is not None]
    if not isinstance(expr, Apply) or len(known) < len(slopes):
        return None
    if expr.op == "mul":
        return _scaled(expr, known)
    return _LINEAR[expr.op](*known) if expr.op in _LINEAR else None


def _scaled(product: Apply, slopes: Sequence[Dim]) -> Dim | None:
    left, right = (_constant(a) for a in product.args)
    if left is not None:
        return left * slopes[1]
    return None if right is None else slopes[0] * right


_LINEAR: dict[str, Callable[..., Dim]] = {
    "add": operator.add,
    "sub": operator.sub,
    "neg": operator.neg,
}


def _constant(expr: Expr) -> Dim | None:
    if isinstance(expr, Const):
        return int(expr.value)
    return expr.dim if isinstance(expr, Size) else None
