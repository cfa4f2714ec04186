"""Scalar expressions of ``ir/compute`` as loops values, one element or a vector of them at a time.

A ``Position`` says where in the iteration space a schedule stands; ``Lowering`` evaluates
expressions there. Along the vector axis, values that do not change stay scalars, loads of
neighbouring elements become vector loads, and only what jumps in memory becomes a gather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.loops import affine, build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Buffer, Const, Expr, Lanes, Var
from graphc.backends.loops.ir import ValueType as Type
from graphc.ir import dims
from graphc.ir.compute import expr as compute
from graphc.ir.compute.expr import Axis
from graphc.ir.dims import Dim, Shape


@dataclass(frozen=True)
class View:
    """A buffer, and the distance in elements between neighbours along each index position."""

    buffer: Buffer
    strides: tuple[Dim, ...]

    @staticmethod
    def dense(buffer: Buffer, shape: Shape) -> View:
        return View(buffer, affine.row_major(shape))


@dataclass(frozen=True)
class Position:
    """A place in the iteration space: for each axis a scalar index.

    Along ``vector``, ``lanes`` elements are taken from its index on, those where ``mask`` holds.
    """

    axes: Mapping[Axis, Expr]
    vector: Axis | None = None
    lanes: int = 1
    mask: Expr | None = None


@dataclass
class Lowering:
    """Evaluates expressions into ``emit``'s current block.

    ``views`` are the buffers that can be loaded from, ``values`` the stages whose value at the
    current position is at hand, ``sizes`` the parameters that symbols stand for.
    """

    emit: Emitter
    sizes: Mapping[str, Var]
    views: dict[str, View] = field(default_factory=dict)
    values: dict[str, Expr] = field(default_factory=dict)

    def dim(self, dim: Dim) -> Expr:
        """A dimension as a scalar."""
        return self.emit.let(size_expr(dim, self.sizes))

    def value(self, expr: compute.Expr, at: Position) -> Expr:
        """``expr`` at a position: a vector if it changes along the vector axis, else a scalar."""
        return _Evaluation(self, at).run(expr)

    def vector(self, expr: compute.Expr, at: Position) -> Expr:
        """``expr`` at a position, in all of its lanes."""
        return self.emit.wide(self.value(expr, at), at.lanes)

    def offset(self, index: Sequence[Expr], strides: Sequence[Dim]) -> Expr:
        """The flat offset of an element; a vector if an index is one."""
        total: Expr = build.const(0)
        for position, stride in zip(index, strides, strict=True):
            lanes = position.type.lanes
            step = self.emit.wide(self.dim(stride), lanes)
            scaled = self.emit.op("mul", position, step)
            total = self.emit.op("add", total, scaled)
        return total

    def flat(self, axes: Sequence[Axis], at: Position) -> Expr:
        """The row-major number of the position among ``axes``; a vector over the lanes."""
        index = [self.value(compute.Index(axis), at) for axis in axes]
        return self.offset(index, affine.row_major(tuple(axis.extent for axis in axes)))


def size_expr(dim: Dim, sizes: Mapping[str, Var]) -> Expr:
    """A dimension as an expression over the size parameters alone."""
    if isinstance(dim, int):
        return build.const(dim)
    total: Expr = build.const(0)
    for monomial, factor in dim.terms:
        term: Expr = build.const(factor)
        for atom in monomial:
            term = build.mul(term, _atom_expr(atom, sizes))
        total = build.add(total, term)
    return total


def _atom_expr(atom: dims.Atom, sizes: Mapping[str, Var]) -> Expr:
    if isinstance(atom, dims.Symbol):
        return sizes[atom.name]
    a, b = size_expr(atom.dividend, sizes), size_expr(atom.divisor, sizes)
    return build.op("mod" if atom.remainder else "floordiv", a, b)


class _Evaluation:
    """One walk over an expression: each (expression, with or without lanes) is computed once."""

    def __init__(self, lowering: Lowering, at: Position) -> None:
        self.lowering = lowering
        self.emit = lowering.emit
        self.at = at
        self.done: dict[tuple[int, bool], Expr] = {}
        self._varying: dict[int, bool] = {}

    def run(self, root: compute.Expr) -> Expr:
        self._mark(root)
        stack = [(root, self._varies(root))]
        while stack:
            expr, lanes = stack[-1]
            if (id(expr), lanes) in self.done:
                stack.pop()
                continue
            needs = [n for n in self._needs(expr, lanes) if (id(n[0]), n[1]) not in self.done]
            if needs:
                stack.extend(reversed(needs))
                continue
            self.done[id(expr), lanes] = self._compute(expr, lanes)
            stack.pop()
        return self.done[id(root), self._varies(root)]

    def _mark(self, root: compute.Expr) -> None:
        for expr in compute.postorder([root]):
            if isinstance(expr, compute.Index):
                varies = expr.axis is self.at.vector
            elif isinstance(expr, compute.Load) and expr.buffer in self.lowering.values:
                varies = self.lowering.values[expr.buffer].type.lanes > 1
            else:
                varies = any(self._varying[id(o)] for o in expr.operands)
            self._varying[id(expr)] = varies

    def _varies(self, expr: compute.Expr) -> bool:
        return self._varying[id(expr)]

    def _stride(self, load: compute.Load) -> Dim | None:
        assert self.at.vector is not None
        view = self.lowering.views[load.buffer]
        return affine.stride(load.index, view.strides, self.at.vector)

    def _needs(self, expr: compute.Expr, lanes: bool) -> list[tuple[compute.Expr, bool]]:
        if isinstance(expr, compute.Load):
            if expr.buffer in self.lowering.values:
                return []
            gathers = lanes and self._stride(expr) not in (0, 1)
            needs = [(i, gathers and self._varies(i)) for i in expr.index]
            if expr.where is not None:
                needs.append((expr.where, lanes and self._varies(expr.where)))
            return needs
        return [(o, lanes and self._varies(o)) for o in expr.operands]

    def _compute(self, expr: compute.Expr, lanes: bool) -> Expr:
        return _RULES[type(expr)](self, expr, lanes)

    def _get(self, expr: compute.Expr, lanes: bool) -> Expr:
        return self.done[id(expr), lanes and self._varies(expr)]

    def const(self, expr: compute.Const, lanes: bool) -> Expr:
        return Const(expr.value, Type(expr.dtype))

    def size(self, expr: compute.Size, lanes: bool) -> Expr:
        return self.lowering.dim(expr.dim)

    def index(self, expr: compute.Index, lanes: bool) -> Expr:
        base = self.at.axes[expr.axis]
        if not lanes:
            return base
        steps = Lanes(I64.with_lanes(self.at.lanes))
        return self.emit.op("add", base, self.emit.let(steps))

    def apply(self, expr: compute.Apply, lanes: bool) -> Expr:
        args = tuple(self._get(a, lanes) for a in expr.args)
        if expr.op == "cast":
            return self.emit.let(build.cast(args[0], expr.dtype))
        if expr.op == "bitcast":
            return self.emit.let(build.bitcast(args[0], expr.dtype))
        return self.emit.op(expr.op, *args)

    def load(self, expr: compute.Load, lanes: bool) -> Expr:
        if expr.buffer in self.lowering.values:
            return self.lowering.values[expr.buffer]
        view = self.lowering.views[expr.buffer]
        stride = self._stride(expr) if lanes else 0
        gathers = stride not in (0, 1)
        index = [self._get(i, gathers) for i in expr.index]
        offset = self.lowering.offset(index, view.strides)
        where = None if expr.where is None else self._get(expr.where, lanes)
        if stride == 0 and (where is None or where.type.lanes == 1):
            return self.emit.load(view.buffer, offset, 1, where)
        mask = self._masked(where)
        if stride == 0:
            offset = self.emit.wide(offset, self.at.lanes)
        return self.emit.load(view.buffer, offset, self.at.lanes, mask)

    def _masked(self, where: Expr | None) -> Expr | None:
        if where is None:
            return self.at.mask
        where = self.emit.wide(where, self.at.lanes)
        return where if self.at.mask is None else self.emit.op("and", where, self.at.mask)

    def guard(self, expr: compute.Guard, lanes: bool) -> Expr:
        ok, value = self._get(expr.ok, lanes), self._get(expr.value, lanes)
        valid = ok
        if self.at.mask is not None and ok.type.lanes > 1:
            valid = self.emit.op("or", ok, self.emit.op("not", self.at.mask))
        position = self.lowering.flat(tuple(self.at.axes), self.at)
        if valid.type.lanes == 1 and position.type.lanes > 1:
            position = self.emit.let(build.extract(position, 0))
        self.emit.guard(valid, expr.code, self.emit.wide(position, valid.type.lanes))
        zero = build.const(0, value.type)
        return self.emit.op("select", ok, value, zero)


_RULES: dict[type[compute.Expr], Callable[[_Evaluation, Any, bool], Expr]] = {
    compute.Const: _Evaluation.const,
    compute.Size: _Evaluation.size,
    compute.Index: _Evaluation.index,
    compute.Apply: _Evaluation.apply,
    compute.Load: _Evaluation.load,
    compute.Guard: _Evaluation.guard,
}
