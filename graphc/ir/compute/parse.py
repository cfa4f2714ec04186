"""Reads the text of kernels (``text.py``) back; ``verify.py`` says whether it is a good one."""

from __future__ import annotations

import json
from collections.abc import Callable

from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size
from graphc.ir.compute.kernel import COMBINERS, Kernel, Map, Param, Reduce, Scatter, Stage
from graphc.ir.compute.notation import OperationReader, is_temporary
from graphc.ir.compute.scalar import result_dtype
from graphc.ir.dtypes import DType, bool_, int64
from graphc.ir.errors import ParseError
from graphc.ir.notation import Line, read_dim, read_number, read_shape, read_type


def parse_kernel(text: str) -> Kernel:
    """The kernel whose text this is.

    Raises:
        ParseError: it is no such text; the message names the line.
    """
    return _Reader(text).kernel()


class _Reader(OperationReader[Expr]):
    """What the names read so far stand for: buffers' dtypes, axes and temporaries of a stage."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.number = 0
        self.buffers: dict[str, DType] = {}
        self.axes: dict[str, Axis] = {}
        self.temporaries: dict[str, Expr] = {}
        self.stages: list[Stage] = []
        self.guards: list[str] = []

    def line(self) -> Line:
        self.number += 1
        if self.number > len(self.lines):
            raise ParseError(f"line {self.number}: the text ends too early")
        return Line(self.lines[self.number - 1], self.number)

    def kernel(self) -> Kernel:
        line = self.line()
        line.expect("kernel")
        line.word()
        line.expect("(")
        params = tuple(line.listed(lambda: self.param(line), ")"))
        line.expect("{")
        line.end()
        line = self.line()
        while not line.accept("return"):
            self.statement(line)
            line = self.line()
        results = [line.word()] if line.peek() else []
        while line.accept(","):
            results.append(line.word())
        line.end()
        line = self.line()
        line.expect("}")
        line.end()
        if self.number != len(self.lines):
            self.line().fail("the kernel has ended")
        return Kernel(params, tuple(self.stages), tuple(results), tuple(self.guards))

    def param(self, line: Line) -> Param:
        name = self.define(line)
        line.expect(":")
        type_ = read_type(line)
        self.buffers[name] = type_.dtype
        return Param(name, type_)

    def define(self, line: Line) -> str:
        name = line.word()
        if name in self.buffers:
            line.fail(f"{name} is defined twice")
        return name

    def statement(self, line: Line) -> None:
        token = line.next()
        if token in _STAGES:
            self.axes = {}
            stage = _STAGES[token](self, line)
            self.stages.append(stage)
            self.buffers[stage.name] = stage.dtype
        elif token == "error":  # noqa: S105, a word of the text
            self.error(line)
        else:
            line.fail(f"expected a stage, not {token!r}")

    def error(self, line: Line) -> None:
        if line.integer() != len(self.guards):
            line.fail("errors are numbered from 0 in order")
        try:
            rule = json.loads(line.next())
        except ValueError:
            rule = None
        line.end()
        self.guards.append(rule if isinstance(rule, str) else line.fail("a rule is a string"))

    def head(self, line: Line) -> tuple[str, DType]:
        """``name: dtype``."""
        name = self.define(line)
        line.expect(":")
        return name, line.dtype()

    def new_axes(self, line: Line) -> tuple[Axis, ...]:
        line.expect("[")
        return tuple(line.listed(lambda: self.axis(line), "]"))

    def axis(self, line: Line) -> Axis:
        name = line.word()
        line.expect("<")
        if name in self.axes:
            line.fail(f"{name} is defined twice")
        self.axes[name] = axis = Axis(name, read_dim(line))
        return axis

    def combiner(self, line: Line) -> str:
        token = line.next()
        return token if token in COMBINERS else line.fail(f"there is no combiner {token!r}")

    def result(self, line: Line) -> tuple[Expr, tuple[Expr, ...]]:
        """The value of a stage and where it goes; what they share is on lines before it."""
        self.temporaries = {}
        if not line.accept("="):
            line.end()
            line = self.line()
            while not line.accept("="):
                name = line.next()
                if not is_temporary(name):
                    line.fail(f"expected a value, not {name!r}")
                line.expect("=")
                self.temporaries[name] = self.value(line)
                line.end()
                line = self.line()
        value = self.value(line)
        at: tuple[Expr, ...] = ()
        if line.accept("at"):
            line.expect("[")
            at = tuple(line.listed(lambda: self.value(line), "]"))
        line.end()
        return value, at

    def operation(self, line: Line, op: str, args: tuple[Expr, ...], given: DType | None) -> Expr:
        try:
            return Apply(op, args, result_dtype(op, tuple(a.dtype for a in args), given))
        except TypeError as error:
            line.fail(str(error))

    def atom(self, line: Line) -> Expr:
        token = line.peek()
        if token in self.axes:
            line.next()
            return Index(self.axes[token])
        if token in self.temporaries:
            line.next()
            return self.temporaries[token]
        if token in self.buffers:
            return self.load(line)
        if token in _CALLS:
            line.expect(token, "(")
            found = _CALLS[token](self, line)
            line.expect(")")
            return found
        return self.const(line)

    def load(self, line: Line) -> Load:
        name = line.next()
        line.expect("[")
        index: list[Expr] = []
        while line.peek() not in ("]", "if"):
            if index:
                line.expect(",")
            index.append(self.value(line))
        where = self.value(line) if line.accept("if") else None
        line.expect("]")
        return Load(name, tuple(index), self.buffers[name], where)

    def const(self, line: Line) -> Const:
        value = read_number(line)
        dtype = bool_ if isinstance(value, bool) else int64
        if line.accept(":"):
            dtype = line.dtype()
        if type(value) is not {"bool": bool, "float": float}.get(dtype.kind, int):
            line.fail(f"{value!r} is no {dtype.short}")
        return Const(value, dtype)

    def size(self, line: Line) -> Size:
        return Size(read_dim(line))

    def guard(self, line: Line) -> Guard:
        code = line.integer()
        line.expect(",")
        ok = self.value(line)
        line.expect(",")
        value = self.value(line)
        return Guard(ok, value, code, value.dtype)

    def read_map(self, line: Line) -> Map:
        name, dtype = self.head(line)
        axes = self.new_axes(line)
        value, at = self.result(line)
        return Map(name, dtype, axes, value) if not at else line.fail("a map goes nowhere else")

    def read_reduce(self, line: Line) -> Reduce:
        combiner = self.combiner(line)
        name, dtype = self.head(line)
        axes = self.new_axes(line)
        line.expect("over")
        over = self.new_axes(line)
        value, at = self.result(line)
        if at:
            line.fail("a reduction goes nowhere else")
        return Reduce(name, dtype, axes, over, combiner, value)

    def read_scatter(self, line: Line) -> Scatter:
        combiner = self.combiner(line)
        name, dtype = self.head(line)
        shape = read_shape(line)
        line.expect("over")
        axes = self.new_axes(line)
        value, at = self.result(line)
        return Scatter(name, dtype, shape, axes, at, combiner, value)


_STAGES: dict[str, Callable[[_Reader, Line], Stage]] = {
    "map": _Reader.read_map,
    "reduce": _Reader.read_reduce,
    "scatter": _Reader.read_scatter,
}
_CALLS: dict[str, Callable[[_Reader, Line], Expr]] = {
    "size": _Reader.size,
    "guard": _Reader.guard,
}
