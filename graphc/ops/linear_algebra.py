"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir import dims
from graphc.ir.compute.builder import Buffer
from graphc.ir.compute.expr import Expr
from graphc.ir.dims import Dim, Shape
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert_all
from graphc.ops.emit import emit, reshaped, unbroadcast
from graphc.ops.pointwise import NUMBERS, dtype_names

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["matmul"]


@register
class MatMul(Op):
    """``a @ b`` over the last two axes, either transposed first; leading axes broadcast.

    Products are summed in the dtype of the operands; integers wrap.
    """

    name = "matmul"
    operands = ("a", "b")
    attributes = {"transpose_a": (bool,), "transpose_b": (bool,)}
    dtypes = NUMBERS

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        dtype = typing.dtype_in(self.dtypes, dtype_names(self.dtypes))
        a, b = typing.inputs
        if a.rank < 2 or b.rank < 2:
            raise ShapeError("both operands need two axes or more")
        rows, inner = _matrix(a.shape, typing.attrs["transpose_a"])
        others, columns = _matrix(b.shape, typing.attrs["transpose_b"])
        typing.equal(inner, others, "columns of a must equal rows of b")
        batch = typing.broadcast(a.shape[:-2], b.shape[:-2])
        return [TensorType(dtype, (*batch, rows, columns))]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,), (a, b) = grads, node.inputs
        if grad is None:
            return [None, None]
        ta, tb = node.attrs["transpose_a"], node.attrs["transpose_b"]
        grad_a = _product(b, grad, tb, True) if ta else _product(grad, b, False, not tb)
        if tb:
            grad_b = _folded_product(grad, a, True, ta, like=b)
        else:
            grad_b = _folded_product(a, grad, not ta, False, like=b)
        return [unbroadcast(grad_a, a), unbroadcast(grad_b, b)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        """Floats are summed in float64."""
        dtype = types[0].dtype
        a, b = (x.astype(np.float64) if dtype.is_float else x for x in inputs)
        a = np.swapaxes(a, -1, -2) if node.attrs["transpose_a"] else a
        b = np.swapaxes(b, -1, -2) if node.attrs["transpose_b"] else b
        with np.errstate(all="ignore"):
            return [np.asarray(np.matmul(a, b).astype(dtype.numpy))]

    def compute(self, build: KernelBuilder) -> None:
        a, b = build.inputs
        ta, tb = build.attrs["transpose_a"], build.attrs["transpose_b"]
        _, inner = _matrix(a.shape, ta)

        def body(*index: Expr) -> Expr:
            *batch, row, column, k = index
            return _element(a, batch, row, k, ta) * _element(b, batch, k, column, tb)

        build.result(build.reduce("sum", build.outputs[0].shape, (inner,), body))


def matmul(
    a: TensorLike,
    b: TensorLike,
    transpose_a: bool = False,
    transpose_b: bool = False,
    name: str | None = None,
) -> Tensor:
    """The matrix product over the last two axes, ``[..., M, K] @ [..., K, N]``.

    Leading axes broadcast; ``transpose_a`` and ``transpose_b`` swap the last two axes first.

    Raises:
        ShapeError: an operand of rank below 2, or sizes that do not fit.
    """
    a, b = convert_all((a, b))
    return emit("matmul", a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=name)


def _matrix(shape: Shape, transpose: bool) -> tuple[Dim, Dim]:
    """Rows and columns of the matrices in ``shape``, after the transposition."""
    rows, columns = shape[-2:]
    return (columns, rows) if transpose else (rows, columns)


def _element(x: Buffer, batch: Sequence[Expr], row: Expr, column: Expr, transpose: bool) -> Expr:
    return x.broadcast([*batch, column, row] if transpose else [*batch, row, column])


def _product(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    return emit("matmul", a, b, transpose_a=transpose_a, transpose_b=transpose_b)


def _folded_product(
    a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool, like: Tensor
) -> Tensor:
    """The product summed over the batch axes in one go if ``like`` is a single matrix.

    That needs rows of both to run along the batch: ``a`` transposed and ``b`` not.
    """
    if len(like.shape) == 2 and transpose_a and not transpose_b and a.shape[:-1] == b.shape[:-1]:
        rows = dims.product(a.shape[:-1])
        a, b = reshaped(a, (rows, a.shape[-1])), reshaped(b, (rows, b.shape[-1]))
    return _product(a, b, transpose_a, transpose_b)
