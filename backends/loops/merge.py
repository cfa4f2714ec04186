"""Axes that memory does not tell apart: two loops that are really one.

Rows and columns of dense operands of one shape are merged into a single run of elements, which
is what every schedule likes best: no inner remainders, no division of one index into several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.loops import affine
from graphc.backends.loops.lower import View
from graphc.ir.compute.compose import values_of, with_values
from graphc.ir.compute.expr import Axis, Const, Index, Load, postorder, substitute
from graphc.ir.compute.expr import Expr as Value
from graphc.ir.compute.kernel import Stage
from graphc.ir.dims import Dim
from graphc.ir.dtypes import int64


@dataclass(frozen=True)
class Work:
    """A stage to be emitted, and where its elements go: an index into its view (None: nowhere)."""

    stage: Stage
    index: tuple[Value, ...] | None

    @property
    def values(self) -> tuple[Value, ...]:
        return values_of(self.stage)

    def with_values(self, values: Sequence[Value]) -> Work:
        """This work with the stage's expressions replaced."""
        return Work(with_values(self.stage, values), self.index)

    def substituted(self, axes: Mapping[Axis, Value]) -> Work:
        """This work with the indices of some axes replaced in its expressions."""
        stage = with_values(self.stage, substitute(self.values, axes))
        return Work(stage, None if self.index is None else tuple(substitute(self.index, axes)))


def merge_axes(
    axes: Sequence[Axis], works: Sequence[Work], views: Mapping[str, View]
) -> tuple[tuple[Axis, ...], tuple[Work, ...]]:
    """Neighbouring axes that memory does not tell apart become one.

    ``a`` and ``b`` merge if along ``a`` every access moves exactly as far as along all of ``b``,
    and no value depends on them but through these accesses.
    """
    used = _axes_used_directly([value for work in works for value in work.values])
    kept: list[Axis] = []
    for axis in axes:
        last = kept[-1] if kept else None
        if last is None or {last, axis} & used or not _move_as_one(last, axis, works, views):
            kept.append(axis)
            continue
        merged = Axis(f"{last.name}{axis.name}", last.extent * axis.extent)
        replaced: dict[Axis, Value] = {last: Const(0, int64), axis: Index(merged)}
        works = [work.substituted(replaced) for work in works]
        kept[-1] = merged
    return tuple(kept), tuple(works)


def _axes_used_directly(values: Sequence[Value]) -> set[Axis]:
    """Axes whose index is used other than linearly within a load's index."""
    found: set[Axis] = set()
    stack: list[Value] = list(values)
    seen: set[int] = set()
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        if isinstance(expr, Index):
            found.add(expr.axis)
        elif isinstance(expr, Load):
            stack.extend([] if expr.where is None else [expr.where])
            stack.extend(e for e in expr.index if any(isinstance(x, Load) for x in postorder([e])))
        else:
            stack.extend(expr.operands)
    return found


def _move_as_one(a: Axis, b: Axis, works: Sequence[Work], views: Mapping[str, View]) -> bool:
    for index, strides in _accesses(works, views):
        along_a, along_b = (affine.stride(index, strides, axis) for axis in (a, b))
        if along_a is None or along_b is None or along_a != along_b * b.extent:
            return False
    return True


def _accesses(
    works: Sequence[Work], views: Mapping[str, View]
) -> Iterator[tuple[tuple[Value, ...], tuple[Dim, ...]]]:
    for work in works:
        if work.index is not None:
            yield work.index, views[work.stage.name].strides
        for expr in postorder(work.values):
            if isinstance(expr, Load) and expr.buffer in views:
                yield expr.index, views[expr.buffer].strides
