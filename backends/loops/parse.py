"""Reads the text of loops (``text.py``) back.

One line is one statement, a temporary of the next statement, or the head or tail of a block. The
types of operations follow from their operands; what is read is well-formed text, and
``verify.py`` says whether it is a well-formed function.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.loops.ir import (
    I64,
    KINDS,
    SPACES,
    Alloc,
    Barrier,
    Block,
    Buffer,
    Carried,
    Expr,
    For,
    Function,
    Guard,
    If,
    Let,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.parse_values import Values
from graphc.ir.compute.notation import is_temporary
from graphc.ir.errors import ParseError
from graphc.ir.notation import Line

_DEEPEST = 100


def parse_function(text: str) -> Function:
    """The function whose text this is.

    Raises:
        ParseError: it is no such text; the message names the line.
    """
    return _Reader(text).function()


class _Reader(Values):
    """Reads statements, line by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines = text.splitlines()
        self.number = 0
        self.depth = 0

    def line(self) -> Line:
        """The next line."""
        self.number += 1
        if self.number > len(self.lines):
            raise ParseError(f"line {self.number}: the text ends too early")
        return Line(self.lines[self.number - 1], self.number)

    def statement(self) -> Line:
        """The next line that is no temporary; those before it are read."""
        self.temporaries = {}
        while True:
            line = self.line()
            token = line.peek()
            if not is_temporary(token):
                return line
            line.expect(token, "=")
            self.temporaries[token] = self.value(line)
            line.end()

    def define(self, line: Line, type_: ValueType | None = None) -> Var:
        """A new variable, ``name: type``; without the type if it is known."""
        name = line.word()
        if type_ is None:
            line.expect(":")
            type_ = self.type(line)
        if name in self.vars:
            line.fail(f"{name} is defined twice")
        self.vars[name] = var = Var(name, type_)
        return var

    def buffer(self, line: Line, space: str, *, sized: bool) -> Buffer:
        """``name: dtype[size] aligned bytes``; parameters have no size."""
        name = line.word()
        line.expect(":")
        dtype = line.dtype()
        size = None
        if sized:
            line.expect("[")
            size = self.value(line)
            line.expect("]")
        alignment = line.integer() if line.accept("aligned") else 1
        if name in self.buffers:
            line.fail(f"{name} is defined twice")
        self.buffers[name] = buffer = Buffer(name, dtype, space, size, alignment)
        return buffer

    def function(self) -> Function:
        line = self.line()
        line.expect("function")
        name = line.word()
        line.expect("(")
        buffers: list[Buffer] = []
        in_place: list[tuple[int, int]] = []
        sizes: list[Var] = []
        while not line.accept(")"):
            if line.accept(";"):
                sizes = line.listed(lambda: self.define(line, I64), ")")
                break
            if buffers:
                line.expect(",")
            buffers.append(self.buffer(line, "global", sized=False))
            while line.accept("reuses"):
                in_place.append((len(buffers) - 1, self.position(line)))
        guards = line.integer() if line.accept("guards") else 0
        line.expect("{")
        line.end()
        workspace, body = self.body()
        if self.number != len(self.lines):
            self.line().fail("the function has ended")
        return Function(
            name, tuple(buffers), tuple(sizes), body, workspace, tuple(in_place), guards
        )

    def position(self, line: Line) -> int:
        token = line.next()
        if not (token[:1] == "p" and token[1:].isdecimal() and len(token) < 6):
            line.fail(f"expected a parameter, not {token!r}")
        return int(token[1:])

    def body(self) -> tuple[tuple[Buffer, ...], Block]:
        workspace: list[Buffer] = []
        line = self.statement()
        while line.accept("workspace"):
            workspace.append(self.buffer(line, "packed", sized=True))
            line.end()
            line = self.statement()
        block, line = self.block(line)
        line.expect("}")
        line.end()
        return tuple(workspace), block

    def block(self, line: Line | None = None) -> tuple[Block, Line]:
        """Statements (``line`` is the first) and the line that ends them, unread."""
        self.depth += 1
        stmts: list[Stmt] = []
        line = self.statement() if line is None else line
        if self.depth > _DEEPEST:
            line.fail("nested too deeply")
        while line.peek() not in ("}", "next"):
            stmts.append(self.read_statement(line))
            line = self.statement()
        self.depth -= 1
        return tuple(stmts), line

    def read_statement(self, line: Line) -> Stmt:
        read = _STATEMENTS.get(line.peek())
        if read is not None:
            line.next()
            return read(self, line)
        token = line.next()
        if line.accept("["):
            return self.store(line, token)
        if token in KINDS:
            return self.loop(line, token)
        return self.let(line, token)

    def let(self, line: Line, name: str) -> Let:
        line.expect(":")
        type_ = self.type(line)
        line.expect("=")
        value = self.value(line)
        line.end()
        if name in self.vars or not name.isidentifier():
            line.fail(f"{name!r} cannot be defined here")
        self.vars[name] = var = Var(name, type_)
        return Let(var, value)

    def store(self, line: Line, name: str) -> Store:
        buffer = self.known_buffer(line, name)
        offset, _, mask = self.place(line)
        line.expect("=")
        value = self.value(line)
        line.end()
        return Store(buffer, offset, value, mask)

    def known_buffer(self, line: Line, name: str) -> Buffer:
        return self.buffers.get(name) or line.fail(f"there is no buffer {name}")

    def loop(self, line: Line, kind: str) -> For:
        index = self.define(line, I64)
        line.expect("in")
        begin = self.value(line)
        line.expect("..")
        end = self.value(line)
        step = line.integer() if line.accept("step") else 1
        carried: list[tuple[Var, Expr]] = []
        if line.accept("carry"):
            line.expect("(")
            carried = line.listed(lambda: self.carried(line), ")")
        line.expect("{")
        line.end()
        body, line = self.block()
        nexts: list[Expr] = []
        if line.accept("next"):
            line.expect("(")
            nexts = line.listed(lambda: self.value(line), ")")
            line.end()
            line = self.statement()
        return For(index, begin, end, step, kind, body, self.results(line, carried, nexts))

    def carried(self, line: Line) -> tuple[Var, Expr]:
        var = self.define(line)
        line.expect("=")
        return var, self.value(line)

    def results(
        self, line: Line, carried: list[tuple[Var, Expr]], nexts: list[Expr]
    ) -> tuple[Carried, ...]:
        """The last line of a loop."""
        line.expect("}")
        results: list[Var] = []
        if line.accept("->"):
            types = iter([var.type for var, _ in carried])
            line.expect("(")
            results = line.listed(lambda: self.define(line, next(types, I64)), ")")
        line.end()
        if not len(carried) == len(nexts) == len(results):
            line.fail(f"the loop carries {len(carried)} values, not {len(results)}")
        triples = zip(carried, nexts, results, strict=True)
        return tuple(Carried(v, start, after, result) for (v, start), after, result in triples)


# Statements: the first word is read


def _if(reader: _Reader, line: Line) -> Stmt:
    condition = reader.value(line)
    line.expect("{")
    line.end()
    then, line = reader.block()
    line.expect("}")
    orelse: Block = ()
    if line.accept("else"):
        line.expect("{")
        line.end()
        orelse, line = reader.block()
        line.expect("}")
    line.end()
    return If(condition, then, orelse)


def _alloc(reader: _Reader, line: Line) -> Stmt:
    space = line.next()
    if space not in SPACES:
        line.fail(f"expected a kind of memory, not {space!r}")
    buffer = reader.buffer(line, space, sized=True)
    line.end()
    return Alloc(buffer)


def _barrier(_reader: _Reader, line: Line) -> Stmt:
    line.end()
    return Barrier()


def _guard(reader: _Reader, line: Line) -> Stmt:
    ok = reader.value(line)
    line.expect("else")
    code = line.integer()
    line.expect("at")
    position = reader.value(line)
    line.end()
    return Guard(ok, code, position)


_STATEMENTS: dict[str, Callable[[_Reader, Line], Stmt]] = {
    "if": _if,
    "alloc": _alloc,
    "barrier": _barrier,
    "guard": _guard,
}
