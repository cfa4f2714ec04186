"""A second interpreter of kernels, one element at a time: the oracle of the first."""

from __future__ import annotations

import itertools
import math

import numpy as np

from graphc.ir.compute import scalar
from graphc.ir.compute.expr import Apply, Const, Guard, Index, Load, Size
from graphc.ir.compute.kernel import Kernel, Map, Reduce
from graphc.ir.dims import evaluate

COMBINE = {
    "sum": lambda a, b: a + b,
    "prod": lambda a, b: a * b,
    "max": np.maximum,
    "min": np.minimum,
    "any": lambda a, b: a or b,
    "all": lambda a, b: a and b,
}


def start(combiner, dtype):
    low, high = (-math.inf, math.inf) if dtype.is_float else (dtype.min, dtype.max)
    return dtype.numpy.type(
        {"sum": 0, "prod": 1, "max": low, "min": high, "any": False, "all": True}[combiner]
    )


class OneByOne:
    """Runs one kernel; `error` is the smallest (code, position)."""

    def __init__(self, kernel: Kernel, arrays, sizes) -> None:
        self.sizes = sizes
        self.error = None
        self.buffers = {p.name: a for p, a in zip(kernel.params, arrays, strict=True)}
        with np.errstate(all="ignore"):
            for stage in kernel.stages:
                self.buffers[stage.name] = self.stage(stage)
        self.results = [self.buffers[r] for r in kernel.results]

    def shape(self, shape):
        return tuple(evaluate(dim, self.sizes) for dim in shape)

    def points(self, axes):
        extents = self.shape(axis.extent for axis in axes)
        for position, index in enumerate(itertools.product(*map(range, extents))):
            self.position = position
            yield index, dict(zip(axes, index, strict=True))

    def stage(self, stage):
        if isinstance(stage, Map):
            result = np.zeros(self.shape(stage.shape), stage.dtype.numpy)
            for index, at in self.points(stage.axes):
                result[index] = self.value(stage.value, at)
            return result
        if isinstance(stage, Reduce):
            return self.reduce(stage)
        shape = self.shape(stage.shape)
        result = np.full(shape, start(stage.combiner, stage.dtype))
        for _, at in self.points(stage.axes):
            place = tuple(int(self.value(i, at)) for i in stage.index)
            value = self.value(stage.value, at)
            result[place] = COMBINE[stage.combiner](result[place], value)
        return result

    def reduce(self, stage):
        rank = len(stage.axes)
        found = {}
        for index, at in self.points(stage.axes + stage.over):
            found.setdefault(index[:rank], []).append(self.value(stage.value, at))
        result = np.zeros(self.shape(stage.shape), stage.dtype.numpy)
        for index in np.ndindex(result.shape):
            values = found.get(index, [])
            if stage.combiner.startswith("arg"):
                result[index] = self.extreme(stage.combiner, values)
                continue
            total = start(stage.combiner, stage.dtype)
            for value in values:
                total = COMBINE[stage.combiner](total, stage.dtype.numpy.type(value))
            result[index] = total
        return result

    def extreme(self, combiner, values):
        for i, value in enumerate(values):
            if np.isnan(value):
                return i
        best = max(values) if combiner == "argmax" else min(values)
        return values.index(best)

    def value(self, expr, at):
        if isinstance(expr, Const):
            return expr.dtype.numpy.type(expr.value)
        if isinstance(expr, Index):
            return np.int64(at[expr.axis])
        if isinstance(expr, Size):
            return np.int64(evaluate(expr.dim, self.sizes))
        operands = [self.value(o, at) for o in expr.operands]
        if isinstance(expr, Apply):
            return scalar.evaluate(expr.op, tuple(operands), expr.dtype)[()]
        if isinstance(expr, Guard):
            return self.guard(expr, *operands)
        assert isinstance(expr, Load)
        if expr.where is not None and not operands.pop():
            return expr.dtype.numpy.type(0)
        return self.buffers[expr.buffer][tuple(operands)]

    def guard(self, expr, ok, value):
        if ok:
            return value
        found = (expr.code, self.position)
        self.error = found if self.error is None else min(self.error, found)
        return expr.dtype.numpy.type(0)
