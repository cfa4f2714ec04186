"""Scalar expressions: what one element of a stage is.

Expressions form a DAG and compare by identity; lowering numbers values, so writing the same thing
twice costs nothing. All walks are iterative, since a fused chain nests hundreds of levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import is_
from typing import Any, Protocol, TypeAlias, TypeVar

from graphc.ir.compute.scalar import result_dtype
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType, bool_, int64


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """An index that runs from 0 to ``extent`` - 1."""

    name: str
    extent: Dim

    def __str__(self) -> str:
        return f"{self.name} < {self.extent}"


class Expr:
    """A scalar value of some ``dtype``; Python's operators build expressions."""

    __slots__ = ()
    dtype: DType

    @property
    def operands(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of."""
        return ()

    def with_operands(self, operands: tuple[Expr, ...]) -> Expr:
        """The same operation over other operands."""
        return self

    def __add__(self, other: Value) -> Expr:
        return apply("add", self, other)

    def __radd__(self, other: Value) -> Expr:
        return apply("add", other, self)

    def __sub__(self, other: Value) -> Expr:
        return apply("sub", self, other)

    def __rsub__(self, other: Value) -> Expr:
        return apply("sub", other, self)

    def __mul__(self, other: Value) -> Expr:
        return apply("mul", self, other)

    def __rmul__(self, other: Value) -> Expr:
        return apply("mul", other, self)

    def __truediv__(self, other: Value) -> Expr:
        return apply("div", self, other)

    def __rtruediv__(self, other: Value) -> Expr:
        return apply("div", other, self)

    def __floordiv__(self, other: Value) -> Expr:
        return apply("floordiv", self, other)

    def __mod__(self, other: Value) -> Expr:
        return apply("mod", self, other)

    def __neg__(self) -> Expr:
        return apply("neg", self)

    def __and__(self, other: Value) -> Expr:
        return apply("and", self, other)

    def __or__(self, other: Value) -> Expr:
        return apply("or", self, other)

    def __xor__(self, other: Value) -> Expr:
        return apply("xor", self, other)

    def __lt__(self, other: Value) -> Expr:
        return apply("lt", self, other)

    def __le__(self, other: Value) -> Expr:
        return apply("le", self, other)

    def __gt__(self, other: Value) -> Expr:
        return apply("gt", self, other)

    def __ge__(self, other: Value) -> Expr:
        return apply("ge", self, other)


Value: TypeAlias = "Expr | int | float | bool"


@dataclass(frozen=True, eq=False, slots=True)
class Const(Expr):
    """A number that every element shares."""

    value: Any
    dtype: DType


@dataclass(frozen=True, eq=False, slots=True)
class Index(Expr):
    """The position along an axis, int64."""

    axis: Axis
    dtype: DType = int64


@dataclass(frozen=True, eq=False, slots=True)
class Size(Expr):
    """A dimension as a number, int64."""

    dim: Dim
    dtype: DType = int64


@dataclass(frozen=True, eq=False, slots=True)
class Load(Expr):
    """The element of a parameter or of an earlier stage at ``index`` (int64 expressions).

    Where ``where`` is false nothing is read and the value is 0: padding, parts of a concat.
    """

    buffer: str
    index: tuple[Expr, ...]
    dtype: DType
    where: Expr | None = None

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.index if self.where is None else (*self.index, self.where)

    def with_operands(self, operands: tuple[Expr, ...]) -> Load:
        rank = len(self.index)
        where = operands[rank] if self.where is not None else None
        return Load(self.buffer, operands[:rank], self.dtype, where)


@dataclass(frozen=True, eq=False, slots=True)
class Apply(Expr):
    """A scalar operation of ``graphc.ir.compute.scalar``."""

    op: str
    args: tuple[Expr, ...]
    dtype: DType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.args

    def with_operands(self, operands: tuple[Expr, ...]) -> Apply:
        return Apply(self.op, operands, self.dtype)


@dataclass(frozen=True, eq=False, slots=True)
class Guard(Expr):
    """``value`` where ``ok``; elsewhere the step fails with error ``code`` of the kernel.

    The element has the value 0 then, so that what follows stays within bounds; ``code`` indexes
    ``Kernel.guards``.
    """

    ok: Expr
    value: Expr
    code: int
    dtype: DType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.ok, self.value)

    def with_operands(self, operands: tuple[Expr, ...]) -> Guard:
        return Guard(operands[0], operands[1], self.code, self.dtype)


def const(value: Any, dtype: DType) -> Const:
    """``value`` as a number of ``dtype``."""
    return Const(dtype.numpy.type(value).item(), dtype)


def apply(op: str, *args: Value) -> Expr:
    """``op`` over expressions; Python numbers take the dtype of the others."""
    known = [a for a in args if isinstance(a, Expr)]
    like = known[-1].dtype if op == "select" else known[0].dtype
    exprs = tuple(a if isinstance(a, Expr) else const(a, like) for a in args)
    return Apply(op, exprs, result_dtype(op, tuple(e.dtype for e in exprs)))


def cast(value: Expr, dtype: DType) -> Expr:
    """``value`` converted to ``dtype``, saturating."""
    return value if value.dtype is dtype else Apply("cast", (value,), dtype)


def bitcast(value: Expr, dtype: DType) -> Expr:
    """The bits of ``value`` read as ``dtype``, which has the same width."""
    return Apply("bitcast", (value,), dtype)


def select(condition: Expr, yes: Value, no: Value) -> Expr:
    """``yes`` where ``condition``, else ``no``; both are evaluated."""
    return apply("select", condition, yes, no)


def size(dim: Dim) -> Expr:
    """A dimension as an int64 expression."""
    return Const(dim, int64) if isinstance(dim, int) else Size(dim)


def all_of(conditions: Iterable[Expr]) -> Expr:
    """The conjunction of bools; true if there are none."""
    result: Expr | None = None
    for condition in conditions:
        result = condition if result is None else result & condition
    return Const(True, bool_) if result is None else result


class Term(Protocol):
    """What the walks below need of an expression: those of loops have it too."""

    @property
    def operands(self) -> tuple[Any, ...]: ...

    def with_operands(self, operands: Any) -> Any: ...


T = TypeVar("T", bound=Term)


def postorder(roots: Iterable[T]) -> list[T]:
    """Every expression below ``roots`` once, operands first."""
    done: set[int] = set()
    order: list[T] = []
    stack = list(roots)
    stack.reverse()
    while stack:
        expr = stack[-1]
        waiting = [operand for operand in expr.operands if id(operand) not in done]
        if waiting and id(expr) not in done:
            waiting.reverse()
            stack += waiting
            continue
        stack.pop()
        if id(expr) not in done:
            done.add(id(expr))
            order.append(expr)
    return order


def rewrite(roots: Iterable[T], change: Callable[[T], T]) -> list[T]:
    """``roots`` rebuilt bottom-up: ``change`` sees each expression with its new operands."""
    roots = list(roots)
    new: dict[int, T] = {}
    for expr in postorder(roots):
        before = expr.operands
        operands = tuple([new[id(operand)] for operand in before])
        same = all(map(is_, operands, before))
        new[id(expr)] = change(expr if same else expr.with_operands(operands))
    return [new[id(root)] for root in roots]


def substitute(roots: Iterable[Expr], axes: Mapping[Axis, Expr]) -> list[Expr]:
    """``roots`` with the indices of ``axes`` replaced."""
    return rewrite(roots, lambda e: axes.get(e.axis, e) if isinstance(e, Index) else e)
