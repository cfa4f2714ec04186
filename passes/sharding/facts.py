"""What becomes of one element's expression where a worker has only its own rows.

Let a worker's rows begin at row f of the batch. Its element at place i along the divided axis, of
extent n * rows, is the whole tensor's at i + n * f. So every index is asked by how many times f it
grows when its axes do: its *shift*. An element can be computed by the worker alone if each load
from a tensor that is split, along an axis of extent m * rows, has the shift m there, and all else
has the shift 0: then it reads the same elements as in the undivided graph. Sums, products with
numbers, and the division and remainder that reshapes are made of have shifts that are known.

Loads of partial tensors are followed at the same time: an expression is partial if it is linear in
them, so that it may be computed before they are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size, postorder
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import int64
from graphc.passes.sharding.states import (
    NEEDED,
    NotLinearError,
    Partial,
    RefusedError,
    Rows,
    Split,
    State,
)

_PLACE = f"{NEEDED}: it depends on where in the batch a row is"
_COUNT = f"{NEEDED}: it counts along the whole batch"


@dataclass(frozen=True, slots=True)
class Fact:
    """How an expression's value moves with the first row, and how it is combined if partial."""

    shift: Dim = 0
    partial: str | None = None


PLAIN = Fact()


@dataclass(frozen=True)
class Source:
    """A buffer that can be loaded from; ``operand`` is its place if it is a parameter."""

    shape: Shape
    state: State
    operand: int | None = None


@dataclass(frozen=True)
class Facts:
    """The facts of one stage, of which ``axis`` is divided (None: none is)."""

    rows: Rows
    sources: Mapping[str, Source]
    axis: Axis | None

    def of(self, roots: Sequence[Expr]) -> list[Fact]:
        """The facts of ``roots``.

        Raises:
            RefusedError: what they are cannot be computed from the worker's own rows.
            NotLinearError: they are not linear in what is partial.
        """
        found: dict[int, Fact] = {}
        for expr in postorder(roots):
            found[id(expr)] = _RULES[type(expr)](self, expr, [found[id(o)] for o in expr.operands])
        return [found[id(root)] for root in roots]

    def const(self, expr: Const, _operands: Sequence[Fact]) -> Fact:
        return PLAIN

    def index(self, expr: Index, _operands: Sequence[Fact]) -> Fact:
        return Fact(self.multiple(expr.axis.extent)) if expr.axis is self.axis else PLAIN

    def size(self, expr: Size, _operands: Sequence[Fact]) -> Fact:
        if self.rows.in_dim(expr.dim):
            raise RefusedError(_COUNT)
        return PLAIN

    def load(self, expr: Load, operands: Sequence[Fact]) -> Fact:
        source = self.sources[expr.buffer]
        where = settled(operands[len(expr.index)]) if expr.where is not None else None
        for axis, fact in enumerate(operands[: len(expr.index)]):
            if fact.partial:
                raise NotLinearError
            if fact.shift != self.wanted(source, axis):
                raise RefusedError(NEEDED, source.operand)
        if not isinstance(source.state, Partial):
            return PLAIN
        if self.axis is not None or (where is not None and source.state.combiner != "sum"):
            raise NotLinearError
        return Fact(0, source.state.combiner)

    def wanted(self, source: Source, axis: int) -> Dim:
        """The shift of an index along an axis of a buffer that reads the worker's own rows."""
        split = isinstance(source.state, Split) and source.state.axis == axis
        return self.multiple(source.shape[axis]) if split else 0

    def multiple(self, extent: Dim) -> Dim:
        """n of an extent n * rows."""
        found = self.rows.factor(extent)
        assert found is not None, extent
        return found

    def guard(self, expr: Guard, operands: Sequence[Fact]) -> Fact:
        ok, value = operands
        settled(ok)
        if value.partial:
            raise NotLinearError
        return value

    def apply(self, expr: Apply, operands: Sequence[Fact]) -> Fact:
        if any(fact.partial for fact in operands):
            return _linear(expr, operands)
        if all(fact.shift == 0 for fact in operands):
            return PLAIN
        rule = _SHIFTS.get(expr.op)
        if rule is None or expr.dtype is not int64:
            raise RefusedError(_PLACE)
        return Fact(rule(expr, operands))


def settled(fact: Fact) -> Fact:
    """``fact`` of what must be the same number on every worker.

    Raises:
        RefusedError, NotLinearError: it is not.
    """
    if fact.partial:
        raise NotLinearError
    if fact.shift != 0:
        raise RefusedError(_PLACE)
    return fact


def _linear(expr: Apply, operands: Sequence[Fact]) -> Fact:
    """What is linear in sums: other combiners bear no arithmetic at all."""
    if any(fact.shift != 0 or fact.partial not in (None, "sum") for fact in operands):
        raise NotLinearError
    partial = [fact.partial is not None for fact in operands]
    addend = [p or _is_zero(arg) for p, arg in zip(partial, expr.args, strict=True)]
    linear = {
        "add": all(addend),
        "sub": all(addend),
        "neg": True,
        "mul": partial.count(True) == 1,
        "div": partial == [True, False],
        "select": not partial[0] and all(addend[1:]),
    }
    if not linear.get(expr.op, False):
        raise NotLinearError
    return Fact(0, "sum")


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and bool(expr.value == 0)


def _number(expr: Expr) -> Dim:
    """A factor or divisor that is known.

    Raises:
        RefusedError: it is not.
    """
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, Size):
        return expr.dim
    raise RefusedError(_PLACE)


def _product(expr: Apply, operands: Sequence[Fact]) -> Dim:
    (a, b), (left, right) = operands, expr.args
    return b.shift * _number(left) if a.shift == 0 else a.shift * _number(right)


def _quotient(expr: Apply, operands: Sequence[Fact]) -> Dim:
    """Exact only where whole multiples of the divisor are added to what is divided."""
    divisor = _number(expr.args[1])
    if (isinstance(divisor, int) and divisor < 1) or operands[0].shift % divisor != 0:
        raise RefusedError(_PLACE)
    return operands[0].shift // divisor


def _remainder(expr: Apply, operands: Sequence[Fact]) -> Dim:
    _quotient(expr, operands)
    return 0


_SHIFTS: Mapping[str, Callable[[Apply, Sequence[Fact]], Dim]] = {
    "add": lambda _, operands: operands[0].shift + operands[1].shift,
    "sub": lambda _, operands: operands[0].shift - operands[1].shift,
    "mul": _product,
    "floordiv": _quotient,
    "mod": _remainder,
    "cast": lambda _, operands: operands[0].shift,
}

_RULES: Mapping[type[Expr], Callable[..., Fact]] = {
    Const: Facts.const,
    Index: Facts.index,
    Size: Facts.size,
    Load: Facts.load,
    Apply: Facts.apply,
    Guard: Facts.guard,
}
