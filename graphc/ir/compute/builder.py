"""The notation in which ops write down what they compute.

build.result(build.map(x.shape, lambda *i: apply("exp", x[i])))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.ir.compute.expr import Axis, Expr, Guard, Index, Load, apply, const, size
from graphc.ir.compute.kernel import Kernel, Map, Param, Reduce, Scatter, Stage
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import DType, int64
from graphc.ir.types import TensorType

Body = Callable[..., Expr]
"""Takes one int64 index expression per axis."""


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """A parameter or stage that can be read: ``x[i, j]``."""

    name: str
    type: TensorType

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __getitem__(self, index: Expr | Sequence[Expr]) -> Load:
        return self.load(index)

    def load(self, index: Expr | Sequence[Expr], where: Expr | None = None) -> Load:
        """The element at ``index``; 0, and nothing read, where ``where`` is false."""
        found = (index,) if isinstance(index, Expr) else tuple(index)
        if len(found) != len(self.shape):
            raise ValueError(f"{self.name} has rank {len(self.shape)}, not {len(found)}")
        return Load(self.name, found, self.dtype, where)

    def broadcast(self, index: Sequence[Expr]) -> Load:
        """The element that NumPy's broadcasting reads for ``index`` of a larger shape."""
        aligned = index[len(index) - len(self.shape) :]
        zero = const(0, int64)
        pairs = zip(aligned, self.shape, strict=True)
        return self.load([zero if extent == 1 else i for i, extent in pairs])


class KernelBuilder:
    """Collects the stages of one op."""

    def __init__(
        self,
        inputs: Sequence[TensorType],
        outputs: Sequence[TensorType],
        attrs: Mapping[str, Any],
    ) -> None:
        self.outputs = tuple(outputs)
        self.attrs = attrs
        self.inputs = tuple(Buffer(f"p{i}", t) for i, t in enumerate(inputs))
        self._stages: list[Stage] = []
        self._results: list[str] = []
        self._guards: list[str] = []

    def map(self, shape: Shape, body: Body, dtype: DType | None = None) -> Buffer:
        """A stage whose element at ``i, j, ...`` is ``body(i, j, ...)``."""
        axes = _axes("i", shape)
        value = body(*map(Index, axes))
        return self._add(Map(self._name(), dtype or value.dtype, axes, value), shape)

    def reduce(
        self,
        combiner: str,
        shape: Shape,
        over: Shape,
        body: Body,
        dtype: DType | None = None,
    ) -> Buffer:
        """A stage of ``shape``; ``body`` takes its indices, then those that are reduced over."""
        axes, reduced = _axes("i", shape), _axes("k", over)
        value = body(*map(Index, axes + reduced))
        found = int64 if combiner.startswith("arg") else dtype or value.dtype
        return self._add(Reduce(self._name(), found, axes, reduced, combiner, value), shape)

    def scatter(
        self,
        combiner: str,
        shape: Shape,
        over: Shape,
        index: Callable[..., Sequence[Expr]],
        body: Body,
    ) -> Buffer:
        """For all indices of ``over``, combine ``body(...)`` into the element at ``index(...)``."""
        axes = _axes("i", over)
        at = tuple(index(*map(Index, axes)))
        value = body(*map(Index, axes))
        stage = Scatter(self._name(), value.dtype, shape, axes, at, combiner, value)
        return self._add(stage, shape)

    def guard(self, ok: Expr, value: Expr, rule: str) -> Expr:
        """``value`` where ``ok``; elsewhere the step fails, naming ``rule`` and the user's line."""
        if rule not in self._guards:
            self._guards.append(rule)
        return Guard(ok, value, self._guards.index(rule), value.dtype)

    def in_range(self, index: Expr, extent: Dim, rule: str) -> Expr:
        """``index`` as int64, guarded to lie in 0 .. extent - 1."""
        from graphc.ir.compute.expr import cast

        wide = cast(index, int64)
        ok = apply("and", wide >= 0, apply("lt", wide, size(extent)))
        return self.guard(ok, wide, rule)

    def result(self, *buffers: Buffer) -> None:
        """The stages that are the op's outputs, in order."""
        self._results.extend(buffer.name for buffer in buffers)

    def finish(self) -> Kernel:
        """The kernel; the results must match the op's output types."""
        params = tuple(Param(b.name, b.type) for b in self.inputs)
        kernel = Kernel(params, tuple(self._stages), tuple(self._results), tuple(self._guards))
        for name, type_ in zip(self._results, self.outputs, strict=True):
            stage = kernel.stage(name)
            if (stage.dtype, stage.shape) != (type_.dtype, type_.shape):
                raise ValueError(f"result {name} is {stage.dtype} {stage.shape}, not {type_}")
        return kernel

    def _name(self) -> str:
        return f"s{len(self._stages)}"

    def _add(self, stage: Stage, shape: Shape) -> Buffer:
        self._stages.append(stage)
        return Buffer(stage.name, TensorType(stage.dtype, tuple(shape)))


def _axes(prefix: str, shape: Shape) -> tuple[Axis, ...]:
    return tuple(Axis(f"{prefix}{n}", extent) for n, extent in enumerate(shape))
