"""Runs kernels with NumPy: slow and right. Each stage is computed for all of its elements at once.

Stages with very many elements are computed a slice of their first axis at a time, which changes
nothing but the memory that it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.ir.compute import scalar
from graphc.ir.compute.compose import values_of
from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size, postorder
from graphc.ir.compute.kernel import Kernel, Map, Reduce, Scatter, Stage
from graphc.ir.compute.text import stage_text
from graphc.ir.dims import Shape, evaluate
from graphc.ir.dtypes import DType, int64
from graphc.ir.errors import VerifyError

Array: TypeAlias = npt.NDArray[Any]
Error: TypeAlias = tuple[int, int]
"""An error's code, and the row-major number of the element among all axes of its stage."""

SLICE = 1 << 22
"""About how many elements are computed at once."""


class _AccessError(Exception):
    """An access out of bounds; ``run`` adds the stage."""


def run(
    kernel: Kernel, arrays: Sequence[Array], sizes: Mapping[str, int]
) -> tuple[list[Array], Error | None]:
    """The kernel's results for ``arrays``, one for each parameter, and its first error.

    Elements after an error are what the kernel says they are: 0 where a guard failed.

    Raises:
        ValueError: the arrays are not the kernel's, for these sizes.
        VerifyError: the kernel reads or writes out of bounds.
    """
    state = _State(kernel, sizes)
    for param, array in zip(kernel.params, arrays, strict=True):
        shape = state.shape(param.type.shape)
        if array.shape != shape or array.dtype != param.type.dtype.numpy:
            raise ValueError(
                f"{param.name} is {param.type.dtype.name} {shape}, not {array.dtype} {array.shape}"
            )
        state.buffers[param.name] = array
    for stage in kernel.stages:
        try:
            state.buffers[stage.name] = _STAGES[type(stage)](state, stage)
        except _AccessError as error:
            shown = stage_text(kernel, stage).replace("\n", "\n    ")
            raise VerifyError(f"kernel: {error}, in\n    {shown}") from None
    return [state.buffers[result] for result in kernel.results], state.error


@dataclass
class _State:
    """The buffers so far, and the smallest error."""

    kernel: Kernel
    sizes: Mapping[str, int]
    buffers: dict[str, Array] = field(default_factory=dict)
    error: Error | None = None

    def shape(self, shape: Shape) -> tuple[int, ...]:
        return tuple(evaluate(dim, self.sizes) for dim in shape)

    def extents(self, axes: Sequence[Axis]) -> tuple[int, ...]:
        return self.shape(tuple(axis.extent for axis in axes))

    def grids(self, axes: Sequence[Axis]) -> Iterator[_Grid]:
        """The iteration space over ``axes``, in slices of the first."""
        extents = self.extents(axes)
        if not axes or math.prod(extents) <= SLICE:
            yield _Grid(self, tuple(axes), extents, slice(0, extents[0] if axes else 1))
            return
        step = max(1, SLICE // math.prod(extents[1:]))
        for start in range(0, extents[0], step):
            yield _Grid(self, tuple(axes), extents, slice(start, min(start + step, extents[0])))

    def map(self, stage: Map) -> Array:
        result = np.empty(self.extents(stage.axes), stage.dtype.numpy)
        for grid in self.grids(stage.axes):
            (value,) = grid.values([stage.value])
            result[grid.place] = value
        return result

    def reduce(self, stage: Reduce) -> Array:
        result = np.empty(self.extents(stage.axes), stage.dtype.numpy)
        over = tuple(range(len(stage.axes), len(stage.axes) + len(stage.over)))
        whole = stage.axes + stage.over
        for grid in self.grids(whole) if stage.axes else [_Grid.all(self, whole)]:
            (value,) = grid.values([stage.value])
            place = grid.place if stage.axes else ()
            result[place] = _COMBINERS[stage.combiner].reduce(value, over, stage.dtype)
        return result

    def scatter(self, stage: Scatter) -> Array:
        combiner = _COMBINERS[stage.combiner]
        shape = self.shape(stage.shape)
        result = np.full(shape, combiner.identity(stage.dtype), stage.dtype.numpy)
        for grid in self.grids(stage.axes):
            *index, value = (np.ravel(v) for v in grid.values(values_of(stage)))
            outside = np.broadcast_to(_outside(index, shape), value.shape)
            if np.any(outside) and self.error is None:
                raise _AccessError(f"{stage.name} is scattered to out of bounds")
            offsets = np.zeros(value.shape, np.int64)
            for i, extent in zip(index, shape, strict=True):
                offsets = offsets * extent + i
            assert combiner.ufunc is not None
            with np.errstate(all="ignore"):
                combiner.ufunc.at(result.reshape(-1), offsets[~outside], value[~outside])
        return result

    def report(self, code: int, position: int) -> None:
        found = (code, position)
        self.error = found if self.error is None else min(self.error, found)


@dataclass(frozen=True)
class _Grid:
    """The elements of ``axes`` whose first index lies in ``part``."""

    state: _State
    axes: tuple[Axis, ...]
    extents: tuple[int, ...]
    part: slice

    @staticmethod
    def all(state: _State, axes: tuple[Axis, ...]) -> _Grid:
        extents = state.extents(axes)
        return _Grid(state, axes, extents, slice(0, extents[0] if axes else 1))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.part.stop - self.part.start, *self.extents[1:]) if self.axes else ()

    @property
    def place(self) -> tuple[slice, ...]:
        """Where these elements lie in a stage."""
        return (self.part,) if self.axes else ()

    def values(self, roots: Sequence[Expr]) -> list[Array]:
        """Expressions at every element, in the shape of this grid."""
        found: dict[int, Array] = {}
        for expr in postorder(roots):
            operands = [found[id(o)] for o in expr.operands]
            found[id(expr)] = _VALUES[type(expr)](self, expr, operands)
        return [np.broadcast_to(found[id(root)], self.shape) for root in roots]

    def const(self, expr: Const, _operands: Sequence[Array]) -> Array:
        return np.array(expr.value, expr.dtype.numpy)

    def index(self, expr: Index, _operands: Sequence[Array]) -> Array:
        position = self.axes.index(expr.axis)
        first = self.part if position == 0 else slice(0, self.extents[position])
        shape = [1] * len(self.axes)
        shape[position] = -1
        return np.arange(first.start, first.stop, dtype=np.int64).reshape(shape)

    def size(self, expr: Size, _operands: Sequence[Array]) -> Array:
        return np.array(evaluate(expr.dim, self.state.sizes), np.int64)

    def apply(self, expr: Apply, operands: Sequence[Array]) -> Array:
        return np.asarray(scalar.evaluate(expr.op, tuple(operands), expr.dtype))

    def guard(self, expr: Guard, operands: Sequence[Array]) -> Array:
        ok, value = operands
        wrong = np.flatnonzero(~np.broadcast_to(ok, self.shape))
        if wrong.size:
            offset = self.part.start * math.prod(self.extents[1:]) if self.axes else 0
            self.state.report(expr.code, int(wrong[0]) + offset)
        return np.where(ok, value, np.zeros((), expr.dtype.numpy))

    def load(self, expr: Load, operands: Sequence[Array]) -> Array:
        source = self.state.buffers[expr.buffer]
        index = operands[: source.ndim]
        outside = _outside(index, source.shape)
        where = operands[source.ndim] if expr.where is not None else np.array(True)
        if np.any(outside & where) and self.state.error is None:
            raise _AccessError(f"{expr.buffer} is read out of bounds")
        read = where & ~outside
        zero = np.zeros((), source.dtype)
        if not source.size:
            return np.broadcast_to(zero, read.shape)
        return np.where(read, source[tuple(np.where(read, i, 0) for i in index)], zero)


def _outside(index: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Where an index is not within ``shape``."""
    outside = np.array(False)
    for i, extent in zip(index, shape, strict=True):
        outside = outside | (i < 0) | (i >= extent)
    return outside


@dataclass(frozen=True)
class _Combiner:
    """``ufunc`` combines two values; argmax and argmin have a ``search`` along one axis."""

    ufunc: np.ufunc | None
    identity: Callable[[DType], Any]
    search: Callable[..., Any] | None = None

    def reduce(self, value: Array, over: tuple[int, ...], dtype: DType) -> Array:
        if self.search is not None:
            if value.shape[over[0]]:
                return np.asarray(self.search(value, axis=over[0]))
            shape = value.shape[: over[0]]
            return np.full(shape, self.identity(int64), np.int64)
        assert self.ufunc is not None
        start = dtype.numpy.type(self.identity(dtype))
        with np.errstate(all="ignore"):
            wide = np.asarray(scalar.cast(value, dtype))
            return np.asarray(self.ufunc.reduce(wide, axis=over, dtype=dtype.numpy, initial=start))


def _lowest(dtype: DType) -> Any:
    return -math.inf if dtype.is_float else dtype.min


def _highest(dtype: DType) -> Any:
    return math.inf if dtype.is_float else dtype.max


_COMBINERS: dict[str, _Combiner] = {
    "sum": _Combiner(np.add, lambda _: 0),
    "prod": _Combiner(np.multiply, lambda _: 1),
    "max": _Combiner(np.maximum, _lowest),
    "min": _Combiner(np.minimum, _highest),
    "any": _Combiner(np.logical_or, lambda _: False),
    "all": _Combiner(np.logical_and, lambda _: True),
    "argmax": _Combiner(None, lambda d: d.max, np.argmax),
    "argmin": _Combiner(None, lambda d: d.max, np.argmin),
}

_VALUES: dict[type[Expr], Callable[[_Grid, Any, Sequence[Array]], Array]] = {
    Const: _Grid.const,
    Index: _Grid.index,
    Size: _Grid.size,
    Load: _Grid.load,
    Apply: _Grid.apply,
    Guard: _Grid.guard,
}

_STAGES: dict[type[Stage], Callable[[_State, Any], Array]] = {
    Map: _State.map,
    Reduce: _State.reduce,
    Scatter: _State.scatter,
}
