"""Losses of classifiers, computed from logits so that nothing overflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.compute.builder import Buffer
from graphc.ir.compute.expr import Expr, apply, select
from graphc.ir.dims import Shape
from graphc.ir.dtypes import int32, int64
from graphc.ir.errors import DataError, DTypeError, ShapeError
from graphc.ir.graph import Node, Tensor, TensorLike
from graphc.ir.op import Op, Typing, register
from graphc.ir.scope import create, name_scope
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert
from graphc.ops.emit import emit, reshaped
from graphc.ops.normalization import Along, log_softmax_numpy, sum_along, through_softmax
from graphc.ops.pointwise import FLOATS, dtype_names

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["softmax_cross_entropy_with_logits", "sparse_softmax_cross_entropy_with_logits"]

LABEL_RANGE = "label out of range: it must be at least 0 and less than the number of classes"


class _CrossEntropy(Op):
    """Outputs: the loss of each row, and its derivative by the logits, called backprop.

    Computed together, as both take the same exponentials.
    """

    operands = ("logits", "labels")
    dtypes = FLOATS

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        by_loss, by_backprop = grads
        total = None
        if by_loss is not None:
            total = _as_column(by_loss) * node.outputs[1]
        if by_backprop is not None:
            second = self.second(node, by_backprop)
            total = second if total is None else total + second
        return [total, self.by_labels(node, by_loss, by_backprop)]

    def second(self, node: Node, grad: Tensor) -> Tensor:
        """The gradient for the logits, given that for backprop."""
        return through_softmax(grad, emit("softmax", node.inputs[0], axis=-1), -1)

    def by_labels(
        self, node: Node, by_loss: Tensor | None, by_backprop: Tensor | None
    ) -> Tensor | None:
        """The gradient for the labels."""
        return None


@register
class SoftmaxCrossEntropy(_CrossEntropy):
    """Labels are a weight for each class; rows need not sum to 1."""

    name = "softmax_cross_entropy"

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        dtype = typing.dtype_in(FLOATS, dtype_names(FLOATS))
        logits, labels = typing.inputs
        shape = _rows(typing, labels.shape, logits.shape)
        return [TensorType(dtype, shape[:-1]), TensorType(dtype, shape)]

    def second(self, node: Node, grad: Tensor) -> Tensor:
        return super().second(node, grad) * sum_along(node.inputs[1], -1)

    def by_labels(
        self, node: Node, by_loss: Tensor | None, by_backprop: Tensor | None
    ) -> Tensor | None:
        logits = node.inputs[0]
        total = None
        if by_loss is not None:
            total = -(_as_column(by_loss) * emit("log_softmax", logits, axis=-1))
        if by_backprop is not None:
            weighted = sum_along(by_backprop * emit("softmax", logits, axis=-1), -1)
            second = weighted - by_backprop
            total = second if total is None else total + second
        return total

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        dtype = types[0].dtype.numpy
        logs, labels = log_softmax_numpy(inputs[0], -1), inputs[1].astype(np.float64)
        with np.errstate(all="ignore"):
            loss = -(labels * logs).sum(axis=-1)
            backprop = np.exp(logs) * labels.sum(axis=-1, keepdims=True) - labels
            return [loss.astype(dtype), backprop.astype(dtype)]

    def compute(self, build: KernelBuilder) -> None:
        shape = build.outputs[1].shape
        logits, labels = (_of_shape(x, shape) for x in build.inputs)
        along, last = Along(build, logits, -1), shape[-1:]
        powers = build.map(logits.shape, along.power)
        total, weight = along.sum(powers), along.sum(labels)
        logs = build.map(total.shape, lambda *i: apply("log", total[i]))
        loss = build.reduce(
            "sum", total.shape, last, lambda *i: labels[i] * (logs[i[:-1]] - along.shifted(*i))
        )
        scale = build.map(total.shape, lambda *i: weight[i] / total[i])
        backprop = build.map(logits.shape, lambda *i: powers[i] * scale[i[:-1]] - labels[i])
        build.result(loss, backprop)


@register
class SparseSoftmaxCrossEntropy(_CrossEntropy):
    """Labels are the one right class of each row; one that does not exist fails the step."""

    name = "sparse_softmax_cross_entropy"

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        logits, labels = typing.inputs
        if logits.dtype not in FLOATS:
            raise DTypeError(f"logits must be {dtype_names(FLOATS)}, not {logits.dtype.name}")
        if labels.dtype not in (int32, int64):
            raise DTypeError(f"labels must be int32 or int64, not {labels.dtype.name}")
        shape = _rows(typing, (*labels.shape, *logits.shape[-1:]), logits.shape)
        return [TensorType(logits.dtype, shape[:-1]), TensorType(logits.dtype, shape)]

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        dtype, (logits, labels) = types[0].dtype.numpy, inputs
        classes = logits.shape[-1]
        if ((labels < 0) | (labels >= classes)).any():
            raise DataError(LABEL_RANGE)
        logs = log_softmax_numpy(logits, -1)
        right = np.arange(classes) == labels[..., None]
        loss = -np.where(right, logs, 0.0).sum(axis=-1)
        with np.errstate(all="ignore"):
            return [loss.astype(dtype), (np.exp(logs) - right).astype(dtype)]

    def compute(self, build: KernelBuilder) -> None:
        shape = build.outputs[1].shape
        logits, labels = _of_shape(build.inputs[0], shape), _of_shape(build.inputs[1], shape[:-1])
        along, classes = Along(build, logits, -1), shape[-1]
        right = build.map(labels.shape, lambda *i: build.in_range(labels[i], classes, LABEL_RANGE))
        powers = build.map(logits.shape, along.power)
        total = along.sum(powers)
        loss = build.map(
            total.shape,
            lambda *i: apply("log", total[i]) - along.shifted(*i, right[i]),
        )

        def backprop(*index: Expr) -> Expr:
            outer, own = index[:-1], index[-1]
            chance = powers[index] / total[outer]
            return select(apply("eq", own, right[outer]), chance - 1.0, chance)

        build.result(loss, build.map(logits.shape, backprop))


def softmax_cross_entropy_with_logits(
    *, labels: TensorLike, logits: TensorLike, axis: int = -1, name: str | None = None
) -> Tensor:
    """The cross entropy of softmax(logits) and ``labels``, a distribution over the classes.

    Both have one shape and float dtype; the result lacks ``axis``, which runs over the classes.
    """
    with name_scope(name or "softmax_cross_entropy_with_logits"):
        logits = convert(logits)
        labels = convert(labels, like=logits)
        logits, labels = _axis_last(logits, axis), _axis_last(labels, axis)
        return create("softmax_cross_entropy", [logits, labels]).outputs[0]


def sparse_softmax_cross_entropy_with_logits(
    *, labels: TensorLike, logits: TensorLike, name: str | None = None
) -> Tensor:
    """-log(softmax(logits)[..., label]).

    Args:
        labels: int32 or int64, of the shape of ``logits`` without its last axis; each at least 0
            and less than the number of classes, or the step fails.
        logits: floats; the last axis runs over the classes.
        name: of the operation.
    """
    with name_scope(name or "sparse_softmax_cross_entropy_with_logits"):
        operands = [convert(logits), convert(labels)]
        return create("sparse_softmax_cross_entropy", operands).outputs[0]


def _rows(typing: Typing, labels: Shape, logits: Shape) -> Shape:
    """The common shape of logits and labels with a size for each class."""
    if not logits or len(labels) != len(logits):
        raise ShapeError("labels and logits must have the same rows, and logits a last axis")
    rule = "labels and logits must have the same sizes"
    return tuple(typing.equal(a, b, rule) for a, b in zip(labels, logits, strict=True))


def _of_shape(x: Buffer, shape: Shape) -> Buffer:
    """``x`` with the sizes that the other operand may know, and ``x`` not."""
    return Buffer(x.name, TensorType(x.dtype, shape))


def _as_column(x: Tensor) -> Tensor:
    return reshaped(x, (*x.shape, 1))


def _axis_last(x: Tensor, axis: int) -> Tensor:
    """``x`` with ``axis`` moved to the end."""
    rank = len(x.shape)
    if not -rank <= axis < rank:
        message = f"axis {axis} is not in a tensor of rank {rank}"
        raise ShapeError(located(message, user_source()))
    if axis in (-1, rank - 1):
        return x
    perm = (*(a for a in range(rank) if a != axis % rank), axis % rank)
    return emit("transpose", x, perm=perm)
