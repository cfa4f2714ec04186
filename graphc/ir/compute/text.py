"""Kernels as text. Parameters, stages and axes are numbered, so equal kernels print equally.

For example::

    kernel f(p0: f32[n, 4], p1: i64[m]) {
        error 0 "index out of range"
        reduce sum s0: f32[i0 < n] over [k0 < 4] = p0[i0, k0]
        map s1: f32[i0 < m]
            t0 = p1[i0]
            = s0[guard(0, lt(t0, size(n)), t0)]
        return s1
    }

``canonical`` numbers the symbols as well: its text is what two kernels have in common that differ
in the names of their sizes alone. ``p0[i0 if c]`` is a load where ``c`` holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc.ir import dims
from graphc.ir.compute.compose import values_of, with_values
from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size, rewrite
from graphc.ir.compute.kernel import Kernel, Param, Reduce, Scatter, Stage
from graphc.ir.compute.notation import ATOM, Text, write_operation, write_values
from graphc.ir.compute.symbols import symbols
from graphc.ir.dims import Dim, symbol
from graphc.ir.dtypes import int64
from graphc.ir.notation import number_text
from graphc.ir.types import shape_text


def print_kernel(kernel: Kernel, name: str = "f") -> str:
    """The text of ``kernel``, which is called ``name`` in it."""
    return _Printer(kernel).kernel(name)


def stage_text(kernel: Kernel, stage: Stage) -> str:
    """One stage as an error shows it."""
    printer = _Printer(kernel)
    printer.stage(stage)
    return "\n".join(line.strip() for line in printer.lines)


def canonical(kernel: Kernel) -> tuple[Kernel, tuple[str, ...]]:
    """``kernel`` with its symbols called ``n0``, ``n1``... and what they were called, in order."""
    order = symbols(kernel)
    new = {name: symbol(f"n{i}") for i, name in enumerate(order)}
    return rename_symbols(kernel, new), order


def rename_symbols(kernel: Kernel, sizes: Mapping[str, Dim]) -> Kernel:
    """``kernel`` with some symbols replaced."""
    params = tuple(Param(p.name, p.type.substitute(sizes)) for p in kernel.params)
    stages = tuple(_with_sizes(stage, sizes) for stage in kernel.stages)
    return replace(kernel, params=params, stages=stages)


def _with_sizes(stage: Stage, sizes: Mapping[str, Dim]) -> Stage:
    axes = {a: Axis(a.name, dims.substitute(a.extent, sizes)) for a in _all_axes(stage)}

    def change(expr: Expr) -> Expr:
        if isinstance(expr, Index):
            return Index(axes[expr.axis])
        if not isinstance(expr, Size):
            return expr
        dim = dims.substitute(expr.dim, sizes)
        return Const(dim, int64) if isinstance(dim, int) else Size(dim)

    changed: dict[str, Any] = {"axes": tuple(axes[a] for a in stage.axes)}
    if isinstance(stage, Reduce):
        changed["over"] = tuple(axes[a] for a in stage.over)
    if isinstance(stage, Scatter):
        changed["shape"] = tuple(dims.substitute(dim, sizes) for dim in stage.shape)
    return replace(with_values(stage, rewrite(values_of(stage), change)), **changed)


def _all_axes(stage: Stage) -> tuple[Axis, ...]:
    return stage.axes + (stage.over if isinstance(stage, Reduce) else ())


class _Printer:
    """Holds the lines so far, and the names of buffers and axes."""

    def __init__(self, kernel: Kernel) -> None:
        self.source = kernel
        self.lines: list[str] = []
        self.buffers = {p.name: f"p{i}" for i, p in enumerate(kernel.params)}
        self.buffers |= {s.name: f"s{i}" for i, s in enumerate(kernel.stages)}
        self.axes: dict[Axis, str] = {}

    def line(self, text: str) -> None:
        self.lines.append(f"    {text}")

    def kernel(self, name: str) -> str:
        params = ", ".join(f"{self.buffers[p.name]}: {p.type}" for p in self.source.params)
        for code, rule in enumerate(self.source.guards):
            self.line(f"error {code} {json.dumps(rule)}")
        for stage in self.source.stages:
            self.stage(stage)
        self.line("return " + ", ".join(self.buffers[r] for r in self.source.results))
        return "\n".join([f"kernel {name}({params}) {{", *self.lines, "}"]) + "\n"

    def stage(self, stage: Stage) -> None:
        axes = self.named(stage.axes, "i")
        over = self.named(stage.over, "k") if isinstance(stage, Reduce) else ""
        name = f"{self.buffers[stage.name]}: {stage.dtype.short}"
        if isinstance(stage, Scatter):
            head = f"scatter {stage.combiner} {name}{shape_text(stage.shape)} over {axes}"
        elif isinstance(stage, Reduce):
            head = f"reduce {stage.combiner} {name}{axes} over {over}"
        else:
            head = f"map {name}{axes}"
        temporaries: list[str] = []
        *index, value = write_values(values_of(stage), self.value, temporaries.append)
        at = f" at [{', '.join(index)}]" if isinstance(stage, Scatter) else ""
        if not temporaries:
            self.line(f"{head} = {value}{at}")
            return
        self.line(head)
        for text in (*temporaries, f"= {value}{at}"):
            self.line(f"    {text}")

    def named(self, axes: Sequence[Axis], prefix: str) -> str:
        """``[i0 < n, i1 < 4]``, and the names given."""
        self.axes |= {axis: f"{prefix}{i}" for i, axis in enumerate(axes)}
        return "[" + ", ".join(f"{self.axes[axis]} < {axis.extent}" for axis in axes) + "]"

    def value(self, expr: Expr, operands: Sequence[Text]) -> Text:
        return _EXPRESSIONS[type(expr)](self, expr, operands)

    def const(self, expr: Const, _operands: Sequence[Text]) -> Text:
        text = number_text(expr.value, expr.dtype)
        plain = expr.dtype is int64 or expr.dtype.is_bool
        return (text if plain else f"{text}:{expr.dtype.short}"), ATOM

    def index(self, expr: Index, _operands: Sequence[Text]) -> Text:
        return self.axes.get(expr.axis) or f"{expr.axis.name}?", ATOM

    def size(self, expr: Size, _operands: Sequence[Text]) -> Text:
        return f"size({expr.dim})", ATOM

    def load(self, expr: Load, operands: Sequence[Text]) -> Text:
        rank = len(expr.index)
        index = ", ".join(text for text, _ in operands[:rank])
        where = f" if {operands[rank][0]}" if expr.where is not None else ""
        return f"{self.buffers.get(expr.buffer, expr.buffer)}[{index}{where}]", ATOM

    def apply(self, expr: Apply, operands: Sequence[Text]) -> Text:
        return write_operation(expr.op, operands, expr.dtype)

    def guard(self, expr: Guard, operands: Sequence[Text]) -> Text:
        (ok, _), (value, _) = operands
        return f"guard({expr.code}, {ok}, {value})", ATOM


_EXPRESSIONS: dict[type[Expr], Callable[[_Printer, Any, Sequence[Text]], Text]] = {
    Const: _Printer.const,
    Index: _Printer.index,
    Size: _Printer.size,
    Load: _Printer.load,
    Apply: _Printer.apply,
    Guard: _Printer.guard,
}
