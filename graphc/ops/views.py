"""Ops whose result has the bytes of their operand: another name, another shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir import dims
from graphc.ir.compute.expr import Expr, const, size
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import int64
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType, user_shape_text
from graphc.ops.arrangement import Arrangement
from graphc.ops.coercion import convert, to_axes, to_axis, to_shape
from graphc.ops.emit import emit, reshaped
from graphc.ops.pointwise import static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["expand_dims", "identity", "reshape", "squeeze", "stop_gradient"]


@register
class Identity(Arrangement):
    """``x`` itself."""

    name = "identity"
    elementwise = True
    view = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        return [TensorType(typing.inputs[0].dtype, typing.inputs[0].shape)]

    def derive(self, node: Node, grad: Tensor) -> Tensor | None:
        return grad

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [inputs[0]]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        build.result(build.map(x.shape, lambda *i: x[i]))


@register
class StopGradient(Identity):
    """``x`` itself, on which nothing depends as far as gradients go."""

    name = "stop_gradient"

    def derive(self, node: Node, grad: Tensor) -> Tensor | None:
        return None


@register
class Reshape(Arrangement):
    """The elements in row-major order under another shape; one size may be -1: what is left."""

    name = "reshape"
    attributes = {"shape": (tuple,)}
    view = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,) = typing.inputs
        shape = typing.attrs["shape"]
        known = dims.product(tuple(s for s in shape if s != -1))
        rule = f"{user_shape_text(shape)} must have as many elements"
        if -1 in shape:
            shape = _with_rest(typing, shape, known, rule)
        elif any(isinstance(s, int) and s < 0 for s in shape):
            raise ShapeError(f"{user_shape_text(shape)} has a negative size")
        else:
            typing.equal(x.elements, known, rule)
        return [TensorType(x.dtype, shape)]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        return reshaped(grad, node.inputs[0].shape)

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [inputs[0].reshape(static_shape(types[0]))]

    def compute(self, build: KernelBuilder) -> None:
        (x,), (output,) = build.inputs, build.outputs
        build.result(
            build.map(output.shape, lambda *i: x[reshaped_index(i, output.shape, x.shape)])
        )


def identity(x: TensorLike, name: str | None = None) -> Tensor:
    """``x`` under another name."""
    return emit("identity", convert(x), name=name)


def stop_gradient(x: TensorLike, name: str | None = None) -> Tensor:
    """``x``, taken for a constant by ``gradients``."""
    return emit("stop_gradient", convert(x), name=name)


def reshape(x: TensorLike, shape: Any, name: str | None = None) -> Tensor:
    """``x`` in row-major order under ``shape``, of which one size may be -1: what is left.

    Raises:
        ShapeError: another number of elements.
    """
    return emit("reshape", convert(x), shape=to_shape(shape, lowest=-1), name=name)


def expand_dims(x: TensorLike, axis: int, name: str | None = None) -> Tensor:
    """``x`` with an axis of size 1 before axis ``axis``; -1 is behind the last."""
    x = convert(x)
    rank = len(x.shape) + 1
    at = to_axis(axis, rank, x)
    return emit("reshape", x, shape=(*x.shape[:at], 1, *x.shape[at:]), name=name)


def squeeze(
    x: TensorLike, axis: int | Sequence[int] | None = None, name: str | None = None
) -> Tensor:
    """``x`` without the axes ``axis``, which have size 1; None: all that are known to have it.

    Raises:
        ShapeError: an axis that is known to have another size.
    """
    x = convert(x)
    if axis is None:
        axes = {a for a, size in enumerate(x.shape) if size == 1}
    else:
        axes = {to_axis(a, len(x.shape), x) for a in to_axes(axis, x)}
    for a in sorted(axes):
        if isinstance(x.shape[a], int) and x.shape[a] != 1:
            message = f"axis {a} of {x!r} has size {x.shape[a]}: only one of size 1 can go"
            raise ShapeError(located(message, user_source()))
    shape = tuple(size for a, size in enumerate(x.shape) if a not in axes)
    return emit("reshape", x, shape=shape, name=name)


def reshaped_index(index: Sequence[Expr], shape: Shape, source: Shape) -> list[Expr]:
    """Where in a tensor of shape ``source`` the element lies that a reshape puts at ``index``.

    Axes of both shapes are grouped where the products of the sizes before them agree; an index
    is taken apart and put together within its group only, so that axes the reshape leaves alone
    keep their plain index.
    """
    found: list[Expr] = []
    done = taken = 0
    for end, count in _groups(shape, source):
        flat = _flat(index[done:end], shape[done:end])
        found += _unflat(flat, source[taken:count])
        done, taken = end, count
    return found


def _groups(shape: Shape, source: Shape) -> list[tuple[int, int]]:
    """Ends, in both shapes, of the smallest groups of axes with equal numbers of elements."""
    before = {dims.product(source[:n]): n for n in reversed(range(len(source)))}
    ends = [(n, before.get(dims.product(shape[:n]), -1)) for n in range(1, len(shape))]
    return [end for end in ends if end[1] >= 0] + [(len(shape), len(source))]


def _flat(index: Sequence[Expr], shape: Shape) -> Expr:
    """The row-major position of ``index``."""
    found: Expr | None = None
    for i, extent in zip(index, shape, strict=True):
        if extent != 1:
            found = i if found is None else found * size(extent) + i
    return const(0, int64) if found is None else found


def _unflat(flat: Expr, shape: Shape) -> list[Expr]:
    """The index whose row-major position is ``flat``."""
    found: list[Expr] = [const(0, int64)] * len(shape)
    axes = [axis for axis, extent in enumerate(shape) if extent != 1]
    for axis in reversed(axes[1:]):
        found[axis] = flat % size(shape[axis])
        flat = flat // size(shape[axis])
    if axes:
        found[axes[0]] = flat
    return found


def _with_rest(typing: Typing, shape: Shape, known: Dim, rule: str) -> Shape:
    """``shape`` with -1 replaced by what is left of the operand's elements."""
    elements = typing.inputs[0].elements
    if shape.count(-1) > 1 or known == 0 or any(isinstance(s, int) and s < -1 for s in shape):
        raise ShapeError(f"{rule}, with one -1 at the most and no size 0 beside it")
    typing.equal(elements % known, 0, rule)
    return tuple(elements // known if s == -1 else s for s in shape)
