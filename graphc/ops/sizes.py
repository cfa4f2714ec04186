"""What shapes are, as values: constants where they are known, and found out in a run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir import dims
from graphc.ir.compute.expr import Expr, cast, const, select
from graphc.ir.compute.expr import size as size_expr
from graphc.ir.dims import Expression, Shape
from graphc.ir.dtypes import COMPUTED, DType, as_dtype, int32, int64
from graphc.ir.errors import GraphError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert
from graphc.ops.emit import emit, emit_size

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["rank", "shape", "size"]


class _Measure(Op):
    """What a run finds out about sizes; where they are known earlier, functions give constants."""

    operands = ("x",)
    dtypes = COMPUTED
    exact = True

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None]


@register
class Size(_Measure):
    """How many elements ``x`` has along ``axes``, as a scalar of ``dtype``."""

    name = "size"
    attributes = {"axes": (tuple,), "dtype": (DType,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        for axis in typing.attrs["axes"]:
            typing.axis(axis, typing.inputs[0].rank)
        return [TensorType(typing.attrs["dtype"], ())]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        count = np.prod([inputs[0].shape[axis] for axis in node.attrs["axes"]], dtype=np.int64)
        return [np.asarray(count).astype(types[0].dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        count = dims.product(tuple(x.shape[axis] for axis in build.attrs["axes"]))
        build.result(build.map((), lambda: cast(size_expr(count), build.attrs["dtype"])))


@register
class ShapeOf(_Measure):
    """The sizes of ``x`` as a vector of ``dtype``."""

    name = "shape"
    attributes = {"dtype": (DType,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        return [TensorType(typing.attrs["dtype"], (typing.inputs[0].rank,))]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [np.array(inputs[0].shape, types[0].dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        _list(build, build.inputs[0].shape)


@register
class Extent(Op):
    """A size as a scalar of ``dtype``, or several as a vector, where no operand has them.

    Made where a graph is sharded, never by users: what was the size of a tensor is then that of
    the undivided one.
    """

    name = "extent"
    attributes = {"value": (int, Expression, tuple), "dtype": (DType,)}
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        value = typing.attrs["value"]
        return [
            TensorType(typing.attrs["dtype"], (len(value),) if isinstance(value, tuple) else ())
        ]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return []

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        """Of sizes that are numbers."""
        value = node.attrs["value"]
        sizes = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(size, int) for size in sizes):
            raise GraphError(node.error("this size is not known"))
        return [np.array(value, np.int64).astype(types[0].dtype.numpy)]

    def compute(self, build: KernelBuilder) -> None:
        value, dtype = build.attrs["value"], build.attrs["dtype"]
        if isinstance(value, tuple):
            _list(build, value)
        else:
            build.result(build.map((), lambda: cast(size_expr(value), dtype)))


def _list(build: KernelBuilder, sizes: Shape) -> None:
    """The result is the vector of ``sizes``, of the op's dtype."""

    def element(axis: Expr) -> Expr:
        found: Expr = const(0, int64)
        for n, extent in enumerate(sizes):
            found = select(axis >= n, size_expr(extent), found)
        return cast(found, build.attrs["dtype"])

    build.result(build.map((len(sizes),), element))


def size(x: TensorLike, out_type: Any = int32, name: str | None = None) -> Tensor:
    """How many elements ``x`` has, as a scalar."""
    x = convert(x)
    return emit_size(x, range(len(x.shape)), as_dtype(out_type), name)


def shape(x: TensorLike, out_type: Any = int32, name: str | None = None) -> Tensor:
    """The sizes of ``x`` as a vector; what is known while the graph is built is ``x.shape``."""
    x, dtype = convert(x), as_dtype(out_type)
    if x.type.is_static:
        return emit("constant", value=np.array(x.shape, dtype.numpy), name=name)
    return emit("shape", x, dtype=dtype, name=name)


def rank(x: TensorLike, name: str | None = None) -> Tensor:
    """The number of axes of ``x``, an int32 scalar."""
    return emit("constant", value=np.asarray(len(convert(x).shape), np.int32), name=name)
