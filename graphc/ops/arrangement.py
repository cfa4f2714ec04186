"""Ops that copy the elements of one tensor to other places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.dtypes import COMPUTED
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType, user_shape_text
from graphc.ops.coercion import convert, to_ints, to_shape
from graphc.ops.emit import emit, reshaped, unbroadcast
from graphc.ops.pointwise import static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["broadcast_to", "tile", "transpose"]


class Arrangement(Op):
    """Elements of one operand, copied."""

    operands = ("x",)
    dtypes = COMPUTED
    exact = True

    def derive(self, node: Node, grad: Tensor) -> Tensor | None:
        """The gradient for ``x``."""
        raise NotImplementedError

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        return [None if grad is None else self.derive(node, grad)]


@register
class Transpose(Arrangement):
    """Axis ``i`` of the result is axis ``perm[i]`` of ``x``."""

    name = "transpose"
    attributes = {"perm": (tuple,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,) = typing.inputs
        perm = typing.attrs["perm"]
        if sorted(perm) != list(range(x.rank)):
            raise ShapeError(f"perm {list(perm)} must name each of {x.rank} axes once")
        return [TensorType(x.dtype, tuple(x.shape[axis] for axis in perm))]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        return emit("transpose", grad, perm=inverse(node.attrs["perm"]))

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [np.transpose(inputs[0], node.attrs["perm"]).copy()]

    def compute(self, build: KernelBuilder) -> None:
        (x,), back = build.inputs, inverse(build.attrs["perm"])
        build.result(build.map(build.outputs[0].shape, lambda *i: x[[i[axis] for axis in back]]))


@register
class BroadcastTo(Arrangement):
    """``x`` repeated along new leading axes and along those where its size is 1."""

    name = "broadcast_to"
    attributes = {"shape": (tuple,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,), shape = typing.inputs, typing.attrs["shape"]
        rule = f"must broadcast to {user_shape_text(shape)}: sizes equal, or 1, from the right"
        if x.rank > len(shape) or any(isinstance(s, int) and s < 0 for s in shape):
            raise ShapeError(rule)
        for given, wanted in zip(x.shape, shape[len(shape) - x.rank :], strict=True):
            if given != 1:
                typing.equal(given, wanted, rule)
        return [TensorType(x.dtype, shape)]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        return unbroadcast(grad, node.inputs[0])

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [np.broadcast_to(inputs[0], static_shape(types[0])).copy()]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        build.result(build.map(build.outputs[0].shape, lambda *i: x.broadcast(i)))


def transpose(x: TensorLike, perm: Sequence[int] | None = None, name: str | None = None) -> Tensor:
    """Axis ``perm[i]`` of ``x`` as axis ``i``; without ``perm``, the axes reversed.

    Raises:
        ShapeError: ``perm`` does not name each axis once; negative ones count from the right.
    """
    x = convert(x)
    rank = len(x.shape)
    found = range(rank)[::-1] if perm is None else to_ints(perm, "new place")
    left = tuple(axis % rank if -rank <= axis < rank else axis for axis in found)
    return emit("transpose", x, perm=left, name=name)


def broadcast_to(x: TensorLike, shape: Any, name: str | None = None) -> Tensor:
    """``x`` repeated to ``shape`` by NumPy's rule."""
    return emit("broadcast_to", convert(x), shape=to_shape(shape), name=name)


def tile(x: TensorLike, multiples: Sequence[int], name: str | None = None) -> Tensor:
    """``x`` repeated ``multiples[i]`` times along axis ``i``."""
    x, counts = convert(x), to_shape(multiples)
    if len(counts) != len(x.shape):
        raise ShapeError(located(f"{len(counts)} multiples for the axes of {x!r}", user_source()))
    apart = [size for extent in x.shape for size in (1, extent)]
    pairs = list(zip(counts, x.shape, strict=True))
    repeated = emit("broadcast_to", reshaped(x, apart), shape=tuple(s for p in pairs for s in p))
    return emit("reshape", repeated, shape=tuple(n * extent for n, extent in pairs), name=name)


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``perm``."""
    return tuple(perm.index(axis) for axis in range(len(perm)))
