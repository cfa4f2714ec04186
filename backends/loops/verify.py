"""Says whether a function in loops is well formed; run after every schedule and rewrite in tests.

1. Values are defined once and used where they are visible; so are buffers.
2. Every expression has the type that its operands give it.
3. Stores, masks, conditions and guards have the types of what they go to.
4. Loops carry values only where their kind allows it, and parallel loops nest as machines do.
5. Buffers live where they may, with a size that is known there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from graphc.backends.loops.ir import (
    BOOL,
    I64,
    KINDS,
    Alloc,
    Barrier,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Guard,
    If,
    Let,
    Load,
    Op,
    Stmt,
    Store,
    Var,
)
from graphc.backends.loops.text import statement_text
from graphc.backends.loops.verify_types import check_type
from graphc.backends.loops.walk import expressions, postorder
from graphc.ir.errors import VerifyError

CARRYING = ("serial", "unrolled")
_OF_GPU = ("block", "warp", "thread")
_INSIDE: dict[str, tuple[str, ...]] = {
    "pooled": (),
    "block": ("block",),
    "warp": ("block",),
    "thread": ("block", "warp", "thread"),
}
"""Which parallel loops each parallel kind may stand in; loops of other kinds stand anywhere."""


def verify_function(function: Function) -> None:
    """Check ``function``.

    Raises:
        VerifyError: it is not well formed; the message says why and shows the statement.
    """
    try:
        _Verifier(function).run()
    except _Broken as broken:
        raise VerifyError(f"{function.name}: {broken}") from None


class _Broken(Exception):  # noqa: N818, becomes a VerifyError
    """A rule that does not hold."""


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise _Broken(rule)


class _Verifier:
    """Walks a function; ``visible`` is what a statement can use, ``around`` its parallel loops."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.defined: set[int] = set()
        self.visible: set[int] = set()
        self.around: list[str] = []

    def run(self) -> None:
        self.parameters()
        self.block(self.function.body)

    def parameters(self) -> None:
        function = self.function
        for buffer in function.buffers:
            _demand(buffer.space == "global", f"parameter {buffer.name} is {buffer.space}")
            _demand(buffer.size is None, f"parameter {buffer.name} has a size")
            self.declare(buffer)
        for size in function.sizes:
            _demand(size.type == I64, f"size {size.name} is {size.type}, not i64")
            self.define(size)
        for buffer in function.workspace:
            self.workspace(buffer)
        for pair in function.in_place:
            _demand(
                pair[0] != pair[1] and all(0 <= p < len(function.buffers) for p in pair),
                f"in_place {pair} names no two buffers",
            )
            result, parameter = (function.buffers[p].dtype.size for p in pair)
            _demand(result == parameter, f"in_place {pair} has elements of two sizes")

    def workspace(self, buffer: Buffer) -> None:
        size = buffer.size
        _demand(buffer.space == "packed", f"workspace {buffer.name} is {buffer.space}")
        _demand(size is not None and size.type == I64, f"workspace {buffer.name} has no i64 size")
        assert size is not None
        for expr in postorder((size,)):
            plain = isinstance(expr, Const | Var | Op)
            _demand(plain, f"the size of workspace {buffer.name} is not computed from sizes")
        self.values((size,))
        self.declare(buffer)

    def define(self, var: Var) -> None:
        _demand(id(var) not in self.defined, f"{var.name} is defined twice")
        self.defined.add(id(var))
        self.visible.add(id(var))

    def declare(self, buffer: Buffer) -> None:
        alignment = buffer.alignment
        power = alignment > 0 and alignment & (alignment - 1) == 0
        _demand(power, f"{buffer.name} is aligned to {alignment}, no power of two")
        _demand(id(buffer) not in self.defined, f"{buffer.name} is declared twice")
        self.defined.add(id(buffer))
        self.visible.add(id(buffer))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is defined inside is not visible after it."""
        before, self.visible = self.visible, set(self.visible)
        yield
        self.visible = before

    def block(self, block: Block) -> None:
        for stmt in block:
            rule = _RULES.get(type(stmt))
            try:
                _demand(rule is not None, f"{type(stmt).__name__} is no statement")
                assert rule is not None
                rule(self, stmt)
            except _Broken as broken:
                # The innermost statement is the guilty one.
                raise VerifyError(self.report(str(broken), stmt)) from None

    def report(self, rule: str, stmt: Stmt) -> str:
        text = statement_text(stmt).replace("\n", "\n    ")
        return f"{self.function.name}: {rule}, in\n    {text}"

    def values(self, roots: tuple[Expr, ...]) -> None:
        """Check expressions that are evaluated here."""
        for expr in postorder(roots):
            if isinstance(expr, Var):
                _demand(id(expr) in self.visible, f"{expr.name} is used where it is not defined")
            elif isinstance(expr, Load):
                self.buffer(expr.buffer)
            wrong = check_type(expr)
            if wrong is not None:
                raise _Broken(wrong)

    def buffer(self, buffer: Buffer) -> None:
        _demand(id(buffer) in self.visible, f"buffer {buffer.name} is used where there is none")


def _let(verifier: _Verifier, stmt: Let) -> None:
    verifier.values((stmt.value,))
    types = stmt.var.type, stmt.value.type
    _demand(types[0] == types[1], f"a {types[0]} is given a {types[1]}")
    verifier.define(stmt.var)


def _store(verifier: _Verifier, stmt: Store) -> None:
    verifier.values(expressions(stmt))
    verifier.buffer(stmt.buffer)
    type_ = stmt.value.type
    _demand(type_.dtype is stmt.buffer.dtype, f"a {stmt.buffer.dtype.short} is set to a {type_}")
    wrong = check_type(Load(stmt.buffer, stmt.offset, type_, stmt.mask))
    _demand(wrong is None, str(wrong))


def _for(verifier: _Verifier, stmt: For) -> None:
    starts = tuple(c.start for c in stmt.carried)
    verifier.values((stmt.begin, stmt.end, *starts))
    _demand(stmt.kind in KINDS, f"there are no {stmt.kind} loops")
    types = (stmt.index.type, stmt.begin.type, stmt.end.type)
    _demand(types == (I64, I64, I64), f"a loop counts in i64, not {', '.join(map(str, types))}")
    _demand(type(stmt.step) is int and stmt.step > 0, "a step is a positive number")
    _demand(not stmt.carried or stmt.kind in CARRYING, f"a {stmt.kind} loop carries no values")
    with verifier.scope(), _nested(verifier, stmt):
        verifier.define(stmt.index)
        for carried in stmt.carried:
            verifier.define(carried.var)
        verifier.block(stmt.body)
        verifier.values(tuple(c.next for c in stmt.carried))
    for carried in stmt.carried:
        found = {e.type for e in (carried.var, carried.start, carried.next, carried.result)}
        _demand(len(found) == 1, f"{carried.var.name} is carried in types of several kinds")
        verifier.define(carried.result)


@contextmanager
def _nested(verifier: _Verifier, stmt: For) -> Iterator[None]:
    """Check that the loop may stand where it does, and what stands in it."""
    allowed = _INSIDE.get(stmt.kind)
    if allowed is None:
        yield
        return
    for outer in verifier.around:
        _demand(outer in allowed, f"a {stmt.kind} loop stands in a {outer} loop")
    if stmt.kind in _OF_GPU:
        from_zero = isinstance(stmt.begin, Const) and stmt.begin.value == 0 and stmt.step == 1
        _demand(from_zero, f"a {stmt.kind} loop counts from 0 by 1")
        known = stmt.kind == "block" or isinstance(stmt.end, Const)
        _demand(known, f"the extent of a {stmt.kind} loop is a constant")
    verifier.around.append(stmt.kind)
    yield
    verifier.around.pop()


def _if(verifier: _Verifier, stmt: If) -> None:
    verifier.values((stmt.condition,))
    _demand(stmt.condition.type == BOOL, f"a condition is a bool, not a {stmt.condition.type}")
    for block in (stmt.then, stmt.orelse):
        with verifier.scope():
            verifier.block(block)


def _alloc(verifier: _Verifier, stmt: Alloc) -> None:
    buffer = stmt.buffer
    private = buffer.space in ("thread", "register", "shared")
    _demand(private, f"nothing is allocated in {buffer.space} memory")
    shared = buffer.space == "shared" and "pooled" in verifier.around
    _demand(not shared, "the pool's tasks have no shared memory")
    size = buffer.size
    constant = isinstance(size, Const) and size.type == I64 and size.value > 0
    _demand(constant, f"the size of {buffer.name} is no positive constant")
    verifier.declare(buffer)


def _barrier(verifier: _Verifier, _stmt: Barrier) -> None:
    _demand("pooled" not in verifier.around, "the pool's tasks have no barriers")


def _guard(verifier: _Verifier, stmt: Guard) -> None:
    verifier.values(expressions(stmt))
    ok, position = stmt.ok.type, stmt.position.type
    _demand(ok == BOOL.with_lanes(ok.lanes), f"a guard takes a bool, not a {ok}")
    _demand(
        position == I64.with_lanes(ok.lanes), f"a position is i64 for each lane, not {position}"
    )
    codes = verifier.function.guards
    _demand(0 <= stmt.code < codes, f"error {stmt.code} is none of the function's {codes}")


_RULES: dict[type[Any], Callable[[_Verifier, Any], None]] = {
    Let: _let,
    Store: _store,
    For: _for,
    If: _if,
    Alloc: _alloc,
    Barrier: _barrier,
    Guard: _guard,
}
