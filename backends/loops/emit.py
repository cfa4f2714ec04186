"""Collects the statements of a function while a schedule writes it, and numbers values.

Equal expressions of one scope become one ``Let``. Loads are numbered as well, which is right
because a schedule stores to a buffer only after its last load of the iteration; ``forget_loads``
says where that ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.backends.loops import build
from graphc.backends.loops.ir import (
    I64,
    Alloc,
    Barrier,
    Block,
    Buffer,
    Carried,
    Const,
    Expr,
    For,
    Guard,
    If,
    Let,
    Load,
    Op,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.ir.dtypes import DType


class Loop:
    """A loop under construction: its index, the values it carries, and what they become."""

    def __init__(self, index: Var, values: tuple[Var, ...]) -> None:
        self.index = index
        self.values = values
        self.next: tuple[Expr, ...] = values
        self.results: tuple[Var, ...] = ()

    def carry(self, *values: Expr) -> None:
        """Set what the carried values are in the next iteration."""
        self.next = values


class Emitter:
    """A stack of open blocks."""

    def __init__(self) -> None:
        self._blocks: list[list[Stmt]] = [[]]
        self._numbers: list[dict[Any, Expr]] = [{}]
        self._count = 0

    @property
    def block(self) -> Block:
        """The statements of the innermost open block so far."""
        return tuple(self._blocks[-1])

    def var(self, type_: ValueType, hint: str = "v") -> Var:
        """A new variable."""
        self._count += 1
        return Var(f"{hint}{self._count}", type_)

    def let(self, value: Expr) -> Expr:
        """``value`` computed here or before; constants and variables stay as they are."""
        if isinstance(value, Const | Var):
            return value
        key = _key(value)
        for numbers in self._numbers:
            if key in numbers:
                return numbers[key]
        var = self.var(value.type)
        self._blocks[-1].append(Let(var, value))
        self._numbers[-1][key] = var
        return var

    def op(self, name: str, *args: Expr) -> Expr:
        """A scalar operation, computed here or before."""
        wide = max(a.type.lanes for a in args)
        return self.let(build.op(name, *(self.wide(a, wide) for a in args)))

    def wide(self, value: Expr, lanes: int) -> Expr:
        """``value`` in ``lanes`` lanes."""
        return self.let(build.broadcast(value, lanes))

    def add(self, a: Expr, b: Expr | int) -> Expr:
        return self.let(build.add(a, b))

    def sub(self, a: Expr, b: Expr | int) -> Expr:
        return self.let(build.sub(a, b))

    def mul(self, a: Expr, b: Expr | int) -> Expr:
        return self.let(build.mul(a, b))

    def minimum(self, a: Expr, b: Expr | int) -> Expr:
        return self.let(build.minimum(a, b))

    def load(self, buffer: Buffer, offset: Expr, lanes: int = 1, mask: Expr | None = None) -> Expr:
        """Elements of ``buffer`` from ``offset`` on (or at a vector of offsets)."""
        return self.let(Load(buffer, offset, ValueType(buffer.dtype, lanes), mask))

    def store(self, buffer: Buffer, offset: Expr, value: Expr, mask: Expr | None = None) -> None:
        self._blocks[-1].append(Store(buffer, offset, value, mask))

    def guard(self, ok: Expr, code: int, position: Expr) -> None:
        self._blocks[-1].append(Guard(ok, code, position))

    def barrier(self) -> None:
        self._blocks[-1].append(Barrier())
        self.forget_loads()

    def alloc(self, name: str, dtype: DType, size: int, space: str = "thread") -> Buffer:
        """A private array of ``size`` elements until the end of the block."""
        self._count += 1
        buffer = Buffer(f"{name}{self._count}", dtype, space, build.const(size), 64)
        self.declare(buffer)
        return buffer

    def declare(self, buffer: Buffer) -> None:
        """Give a private ``buffer`` memory until the end of the block."""
        self._blocks[-1].append(Alloc(buffer))

    def forget_loads(self) -> None:
        """What was loaded before may have been overwritten."""
        for numbers in self._numbers:
            for key in [k for k in numbers if k[0] is Load]:
                del numbers[key]

    @contextmanager
    def loop(
        self,
        begin: Expr | int,
        end: Expr | int,
        step: int = 1,
        kind: str = "serial",
        carry: Sequence[Expr] = (),
        hint: str = "i",
    ) -> Iterator[Loop]:
        """``for index in range(begin, end, step)`` with the statements written inside ``with``."""
        loop = Loop(self.var(I64, hint), tuple(self.var(c.type, "a") for c in carry))
        with self._scope() as body:
            yield loop
        loop.results = tuple(self.var(c.type, "r") for c in carry)
        carried = tuple(map(Carried, loop.values, carry, loop.next, loop.results))
        begin, end = (build.const(e) if isinstance(e, int) else e for e in (begin, end))
        self._blocks[-1].append(For(loop.index, begin, end, step, kind, tuple(body), carried))
        self.forget_loads()

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """The statements written inside ``with`` run if the scalar ``condition`` holds."""
        if isinstance(condition, Const) and condition.value:
            yield
            return
        with self._scope() as body:
            yield
        self._blocks[-1].append(If(condition, tuple(body)))
        self.forget_loads()

    @contextmanager
    def _scope(self) -> Iterator[list[Stmt]]:
        body: list[Stmt] = []
        self._blocks.append(body)
        self._numbers.append({})
        try:
            yield body
        finally:
            self._blocks.pop()
            self._numbers.pop()


def _key(expr: Expr) -> tuple[Any, ...]:
    """What makes two expressions equal: their kind, their fields, their operands."""
    operands = tuple(_operand_key(o) for o in expr.operands)
    if isinstance(expr, Load):
        return (Load, id(expr.buffer), expr.type, expr.mask is None, operands)
    if isinstance(expr, Op):
        return (Op, expr.op, expr.type, operands)
    names = ("lanes", "lane", "name")
    fields = tuple(getattr(expr, name, None) for name in names)
    return (type(expr), fields, expr.type, operands)


def _operand_key(expr: Expr) -> Any:
    if isinstance(expr, Const):
        return (repr(expr.value), expr.type)
    return id(expr) if isinstance(expr, Var) else _key(expr)
