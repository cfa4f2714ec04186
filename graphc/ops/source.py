"""Tensors that come from outside the graph: constants and placeholders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir import dims
from graphc.ir.compute.expr import const
from graphc.ir.dims import Dim, Expression, symbol
from graphc.ir.dtypes import DType, as_dtype, float32
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.scope import get_default_graph
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert, to_array, to_shape
from graphc.ops.emit import emit

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["constant", "fill", "ones", "ones_like", "placeholder", "range", "zeros", "zeros_like"]


@register
class Constant(Op):
    """A value that is known while the graph is built."""

    name = "constant"
    attributes = {"value": (np.ndarray,)}
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        value = typing.attrs["value"]
        return [TensorType(as_dtype(value.dtype), value.shape)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return []

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [node.attrs["value"]]

    def compute(self, build: KernelBuilder) -> None:
        """Of a single number only, to be fused; other constants are data, not code."""
        value, (output,) = build.attrs["value"], build.outputs
        if value.size != 1:
            raise GraphError("constants of several elements are data: they have no kernel")
        number = const(value.item(), output.dtype)
        build.result(build.map(output.shape, lambda *_: number))


@register
class Placeholder(Op):
    """A value that is fed."""

    name = "placeholder"
    attributes = {"dtype": (DType,), "shape": (tuple,)}
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        return [TensorType(typing.attrs["dtype"], typing.attrs["shape"])]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return []


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """``value``: a number, a nested list or a NumPy array.

    ``shape`` reshapes it, or repeats a single number.

    Raises:
        DTypeError, ShapeError: a value that ``dtype`` or ``shape`` cannot hold.
    """
    array = to_array(value, dtype)
    if shape is not None:
        sizes = to_shape(shape)
        if array.size == 1:
            array = np.full(sizes, array.item(), array.dtype)
        elif array.size != dims.product(sizes):
            message = f"a constant of {array.size} values cannot have shape {list(sizes)}"
            raise ShapeError(located(message, user_source()))
        array = array.reshape(sizes)
    return emit("constant", name=name, value=array)


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor to be fed, its rank fixed.

    In ``shape``, None is a size that equals no other, and a string names a size that is the same
    wherever the name stands: ``placeholder(float32, [None, "features"])``.

    Raises:
        ShapeError: no shape at all: the rank has to be known.
    """
    if shape is None:
        message = "placeholder needs a shape: a rank known only in a run cannot be compiled"
        raise ShapeError(located(message + "; write None for each unknown size", user_source()))
    sizes = shape if isinstance(shape, list | tuple) else (shape,)
    found = tuple(_placeholder_size(size) for size in sizes)
    return emit("placeholder", name=name, dtype=as_dtype(dtype), shape=found)


def fill(shape: Any, value: TensorLike, name: str | None = None) -> Tensor:
    """``value``, a single number, at every place of ``shape``."""
    return emit("broadcast_to", convert(value), shape=to_shape(shape), name=name)


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """0 at every place of ``shape``."""
    return fill(shape, np.zeros((), as_dtype(dtype).numpy), name)


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """1 at every place of ``shape``."""
    return fill(shape, np.ones((), as_dtype(dtype).numpy), name)


def zeros_like(x: TensorLike, dtype: Any = None, name: str | None = None) -> Tensor:
    """0 at every place of the shape of ``x``."""
    x = convert(x)
    return zeros(x.shape, dtype or x.dtype, name)


def ones_like(x: TensorLike, dtype: Any = None, name: str | None = None) -> Tensor:
    """1 at every place of the shape of ``x``."""
    x = convert(x)
    return ones(x.shape, dtype or x.dtype, name)


def range(  # TensorFlow's name
    start: float, limit: float | None = None, delta: float = 1, dtype: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """``start``, ``start + delta``, ... before ``limit``; of one argument, from 0 to it.

    Raises:
        GraphError: an argument that is no number, such as a size known only in a run; a step of 0.
    """
    first, last = (0, start) if limit is None else (start, limit)
    for number in (first, last, delta):
        if not isinstance(number, int | float | np.number):
            raise GraphError(located(f"{number!r} is no number to count with", user_source()))
    if delta == 0:
        raise GraphError(located("range cannot count in steps of 0", user_source()))
    values = np.arange(first, last, delta)
    if dtype is None:
        dtype = np.int32 if values.dtype.kind == "i" else np.float32
    return constant(values, dtype, name=name)


def _placeholder_size(size: Any) -> Dim:
    if size is None:
        return get_default_graph().fresh_symbol()
    if isinstance(size, str):
        if not size.isidentifier() or size.startswith("_"):
            message = f"{size!r} is no name of a size: write a word that does not begin with _"
            raise ShapeError(located(message, user_source()))
        return symbol(size)
    (found,) = to_shape(size)
    if not isinstance(found, Expression) and found < 0:
        raise ShapeError(located(f"{found} is no size of a placeholder", user_source()))
    return found
