"""Says whether a kernel is well formed.

1. Buffers, and the axes of a stage, are named and defined once.
2. Stages read parameters and earlier stages, with one int64 index for each axis.
3. Every expression has the dtype that its operands give it, every stage that of its value (a
   reduction accumulates in its own).
4. Results and error codes exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.compute.compose import values_of
from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size, postorder
from graphc.ir.compute.kernel import COMBINERS, Kernel, Map, Reduce, Scatter, Stage
from graphc.ir.compute.scalar import SCALAR_OPS, result_dtype
from graphc.ir.compute.text import stage_text
from graphc.ir.dtypes import DType, bool_, int64
from graphc.ir.errors import VerifyError
from graphc.ir.types import TensorType

Wrong = str | None


def verify_kernel(kernel: Kernel) -> None:
    """Check ``kernel``.

    Raises:
        VerifyError: it is not well formed; the message says why and shows the stage.
    """
    buffers: dict[str, TensorType] = {}
    for param in kernel.params:
        _demand(param.name not in buffers, f"{param.name} is defined twice")
        buffers[param.name] = param.type
    for stage in kernel.stages:
        wrong = _Stage(kernel, stage, buffers).wrong()
        if wrong is not None:
            raise VerifyError(f"kernel: {wrong}, in\n    {_shown(kernel, stage)}")
        buffers[stage.name] = TensorType(stage.dtype, stage.shape)
    stages = {stage.name for stage in kernel.stages}
    for result in kernel.results:
        _demand(result in stages, f"the result {result} is no stage")


def number_wrong(value: Any, dtype: DType) -> Wrong:
    """Why ``value`` is no number of ``dtype``, exactly; None if it is."""
    kind = {"bool": bool, "float": float}.get(dtype.kind, int)
    if type(value) is not kind:
        return f"{value!r} is no {dtype.short}"
    if kind is int and not dtype.min <= value <= dtype.max:
        return f"{value} is out of the range of {dtype.short}"
    if kind is float and value == value:  # noqa: PLR0124, not NaN
        with np.errstate(over="ignore"):
            nearest = float(dtype.numpy.type(value))
        return None if nearest == value else f"{value!r} is not exact in {dtype.short}"
    return None


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise VerifyError(f"kernel: {rule}")


def _shown(kernel: Kernel, stage: Stage) -> str:
    return stage_text(kernel, stage).replace("\n", "\n    ")


@dataclass
class _Stage:
    """Looks for what is wrong with one stage; ``buffers`` are those that it may read."""

    kernel: Kernel
    stage: Stage
    buffers: dict[str, TensorType]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.stage.axes + (self.stage.over if isinstance(self.stage, Reduce) else ())

    def wrong(self) -> Wrong:
        if self.stage.name in self.buffers:
            return f"{self.stage.name} is defined twice"
        if len(set(self.axes)) != len(self.axes):
            return "an axis is used twice"
        for expr in postorder(values_of(self.stage)):
            rule = _EXPRESSIONS.get(type(expr))
            found = rule(self, expr) if rule else f"{type(expr).__name__} is no expression"
            if found is not None:
                return found
        return _STAGES[type(self.stage)](self, self.stage)

    def const(self, expr: Const) -> Wrong:
        return number_wrong(expr.value, expr.dtype)

    def index(self, expr: Index) -> Wrong:
        return None if expr.axis in self.axes else f"{expr.axis.name} is no axis of the stage"

    def size(self, expr: Size) -> Wrong:
        return None if expr.dtype is int64 else "a size is i64"

    def load(self, expr: Load) -> Wrong:
        source = self.buffers.get(expr.buffer)
        if source is None:
            return f"{expr.buffer} is neither a parameter nor an earlier stage"
        if len(expr.index) != source.rank:
            return f"{expr.buffer} has rank {source.rank}, not {len(expr.index)}"
        if expr.dtype is not source.dtype:
            return f"{expr.buffer} is {source.dtype.short}, not {expr.dtype.short}"
        if expr.where is not None and expr.where.dtype is not bool_:
            return f"the condition of a load is a bool, not a {expr.where.dtype.short}"
        return self.places(expr.index)

    def places(self, index: tuple[Expr, ...]) -> Wrong:
        wrong = [i.dtype.short for i in index if i.dtype is not int64]
        return f"an index is i64, not {wrong[0]}" if wrong else None

    def apply(self, expr: Apply) -> Wrong:
        if expr.op not in SCALAR_OPS:
            return f"there is no operation {expr.op}"
        operands = tuple(a.dtype for a in expr.args)
        types = ", ".join(d.short for d in operands)
        try:
            dtype = result_dtype(expr.op, operands, expr.dtype)
        except TypeError:
            return f"{expr.op} does not take operands {types}"
        if expr.op == "bitcast" and operands[0].size != dtype.size:
            return f"bitcast from {types} to {dtype.short} changes the width"
        return None if dtype is expr.dtype else f"{expr.op} gives {dtype.short}, not {expr.dtype}"

    def guard(self, expr: Guard) -> Wrong:
        if expr.ok.dtype is not bool_ or expr.dtype is not expr.value.dtype:
            return "a guard takes a bool, and has the dtype of its value"
        codes = len(self.kernel.guards)
        right = 0 <= expr.code < codes
        return None if right else f"error {expr.code} is none of the kernel's {codes}"

    def map(self, stage: Map) -> Wrong:
        value = stage.value.dtype
        return None if value is stage.dtype else f"a {stage.dtype.short} is given a {value.short}"

    def reduce(self, stage: Reduce) -> Wrong:
        if not stage.combiner.startswith("arg"):
            return self.combined(stage)
        if stage.combiner not in COMBINERS:
            return f"there is no combiner {stage.combiner}"
        right = stage.dtype is int64 and len(stage.over) == 1
        return None if right else f"{stage.combiner} gives an i64, over one axis"

    def scatter(self, stage: Scatter) -> Wrong:
        if stage.dtype is not stage.value.dtype:
            return f"a {stage.dtype.short} is given a {stage.value.dtype.short}"
        if len(stage.index) != len(stage.shape):
            return f"a shape of rank {len(stage.shape)} has {len(stage.index)} indices"
        return self.places(stage.index) or self.combined(stage)

    def combined(self, stage: Reduce | Scatter) -> Wrong:
        if stage.combiner not in COMBINERS or stage.combiner.startswith("arg"):
            return f"there is no combiner {stage.combiner}"
        logical = stage.combiner in ("any", "all")
        if logical != stage.dtype.is_bool and (logical or stage.combiner in ("sum", "prod")):
            return f"{stage.combiner} does not combine {stage.dtype.short}"
        return None


_EXPRESSIONS: dict[type[Expr], Callable[[_Stage, Any], Wrong]] = {
    Const: _Stage.const,
    Index: _Stage.index,
    Size: _Stage.size,
    Load: _Stage.load,
    Apply: _Stage.apply,
    Guard: _Stage.guard,
}
_STAGES: dict[type[Stage], Callable[[_Stage, Any], Wrong]] = {
    Map: _Stage.map,
    Reduce: _Stage.reduce,
    Scatter: _Stage.scatter,
}
