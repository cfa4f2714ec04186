"""Walks over statements, shared by verifier, printers and rewrites.

Expressions are walked by ``postorder`` and ``rewrite``, without recursion. Blocks nest as deep as
loops do, so walks over statements may recurse.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.backends.loops.ir import (
    Alloc,
    Block,
    Buffer,
    Carried,
    Expr,
    For,
    Guard,
    If,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from graphc.ir.compute.expr import postorder, rewrite

__all__ = [
    "blocks", "defined", "duplicate", "expressions", "free_variables", "map_expressions",
    "map_statements", "postorder", "rewrite", "statements", "substitute", "with_blocks",
    "with_expressions",
]  # fmt: skip


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions of a statement itself; of a loop: begin, end, all starts, all nexts."""
    fields = _FIELDS.get(type(stmt))
    if fields is not None:
        return tuple(e for e in (getattr(stmt, name) for name in fields) if e is not None)
    if isinstance(stmt, For):
        starts, nexts = ([getattr(c, name) for c in stmt.carried] for name in ("start", "next"))
        return (stmt.begin, stmt.end, *starts, *nexts)
    return ()


def with_expressions(stmt: Stmt, new: Sequence[Expr]) -> Stmt:
    """``stmt`` with its expressions, as ``expressions`` gives them, replaced."""
    fields = _FIELDS.get(type(stmt))
    if fields is not None:
        present = [name for name in fields if getattr(stmt, name) is not None]
        changes: dict[str, Any] = dict(zip(present, new, strict=True))
        return replace(stmt, **changes)
    if isinstance(stmt, For):
        count = len(stmt.carried)
        triples = zip(stmt.carried, new[2 : 2 + count], new[2 + count :], strict=True)
        carried = tuple(replace(c, start=start, next=after) for c, start, after in triples)
        return replace(stmt, begin=new[0], end=new[1], carried=carried)
    return stmt


def blocks(stmt: Stmt) -> tuple[Block, ...]:
    """The blocks inside a statement."""
    if isinstance(stmt, For):
        return (stmt.body,)
    return (stmt.then, stmt.orelse) if isinstance(stmt, If) else ()


def with_blocks(stmt: Stmt, new: Sequence[Block]) -> Stmt:
    """``stmt`` with its blocks, as ``blocks`` gives them, replaced."""
    if isinstance(stmt, For):
        return replace(stmt, body=new[0])
    return replace(stmt, then=new[0], orelse=new[1]) if isinstance(stmt, If) else stmt


def defined(stmt: Stmt) -> tuple[Var, ...]:
    """The variables that a statement leaves visible after it."""
    if isinstance(stmt, Let):
        return (stmt.var,)
    return tuple(c.result for c in stmt.carried) if isinstance(stmt, For) else ()


def statements(block: Block) -> Iterator[Stmt]:
    """Every statement of ``block``, each before those inside it."""
    stack = list(reversed(block))
    while stack:
        stmt = stack.pop()
        yield stmt
        for inner in reversed(blocks(stmt)):
            stack.extend(reversed(inner))


def map_statements(block: Block, change: Callable[[Stmt], Sequence[Stmt]]) -> Block:
    """``block`` with each statement replaced by some, its inner blocks before itself."""
    result: list[Stmt] = []
    for stmt in block:
        inner = blocks(stmt)
        new = tuple(map_statements(b, change) for b in inner)
        same = all(a is b for a, b in zip(inner, new, strict=True))
        result.extend(change(stmt if same else with_blocks(stmt, new)))
    same = len(result) == len(block) and all(map(operator.is_, result, block))
    return block if same else tuple(result)


def map_expressions(block: Block, change: Callable[[Expr], Expr]) -> Block:
    """``block`` with every expression rewritten bottom-up (see ``rewrite``)."""

    def changed(stmt: Stmt) -> Sequence[Stmt]:
        before = expressions(stmt)
        after = rewrite(before, change)
        same = all(a is b for a, b in zip(before, after, strict=True))
        return (stmt,) if same else (with_expressions(stmt, after),)

    return map_statements(block, changed)


def substitute(block: Block, values: Mapping[Var, Expr]) -> Block:
    """``block`` with the uses of some variables replaced; it must not define them."""
    return map_expressions(block, lambda e: values.get(e, e) if isinstance(e, Var) else e)


def duplicate(block: Block, values: Mapping[Var, Expr]) -> Block:
    """A copy of ``block`` with uses replaced and definitions (variables, buffers) made anew.

    What a rewrite needs to write a loop's body down twice.
    """
    return _Copy(dict(values), {}).block(block)


def free_variables(block: Block) -> tuple[Var, ...]:
    """The variables that ``block`` uses and does not define, in order of first use."""
    inside: set[Var] = set()
    used: dict[Var, None] = {}
    for stmt in statements(block):
        inside.update(defined(stmt))
        if isinstance(stmt, For):
            inside.add(stmt.index)
            inside.update(c.var for c in stmt.carried)
        for expr in postorder(expressions(stmt)):
            if isinstance(expr, Var):
                used[expr] = None
    return tuple(var for var in used if var not in inside)


@dataclass
class _Copy:
    """What stands for the variables and buffers of a block that is being copied."""

    values: dict[Var, Expr]
    buffers: dict[Buffer, Buffer]

    def block(self, block: Block) -> Block:
        return tuple(self.statement(stmt) for stmt in block)

    def statement(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, For):
            return self.loop(stmt)
        if isinstance(stmt, Alloc):
            self.buffers[stmt.buffer] = replace(stmt.buffer)
            return Alloc(self.buffers[stmt.buffer])
        new = with_expressions(stmt, self.exprs(expressions(stmt)))
        if isinstance(new, Let):
            return replace(new, var=self.var(new.var))
        if isinstance(new, Store):
            return replace(new, buffer=self.buffers.get(new.buffer, new.buffer))
        return with_blocks(new, [self.block(b) for b in blocks(new)])

    def loop(self, stmt: For) -> For:
        begin, end, *starts = self.exprs((stmt.begin, stmt.end, *(c.start for c in stmt.carried)))
        index = self.var(stmt.index)
        carried_vars = [self.var(c.var) for c in stmt.carried]
        body = self.block(stmt.body)
        nexts = self.exprs([c.next for c in stmt.carried])
        results = [self.var(c.result) for c in stmt.carried]
        carried = tuple(map(Carried, carried_vars, starts, nexts, results))
        return For(index, begin, end, stmt.step, stmt.kind, body, carried)

    def var(self, var: Var) -> Var:
        new = replace(var)
        self.values[var] = new
        return new

    def exprs(self, roots: Sequence[Expr]) -> list[Expr]:
        return rewrite(roots, self.expr)

    def expr(self, expr: Expr) -> Expr:
        if isinstance(expr, Var):
            return self.values.get(expr, expr)
        if isinstance(expr, Load) and expr.buffer in self.buffers:
            return replace(expr, buffer=self.buffers[expr.buffer])
        return expr


_FIELDS: dict[type[Any], tuple[str, ...]] = {
    Let: ("value",),
    Store: ("offset", "value", "mask"),
    If: ("condition",),
    Guard: ("ok", "position"),
}
