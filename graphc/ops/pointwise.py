"""What elementwise ops share: one dtype, broadcasting, and one scalar operation per element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphc.ir.compute.expr import Expr, apply
from graphc.ir.dtypes import COMPUTED, DType, bool_, float32, float64, int32, int64
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing
from graphc.ir.operators import TensorLike
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert, convert_all
from graphc.ops.emit import emit, unbroadcast

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

FLOATS = frozenset({float32, float64})
INTEGERS = frozenset({int32, int64})
NUMBERS = FLOATS | INTEGERS
BOOLS = frozenset({bool_})
ALL = COMPUTED


class Pointwise(Op):
    """An op whose element is one scalar operation on the elements of its broadcast operands."""

    elementwise = True
    dtypes = NUMBERS
    scalar: ClassVar[str]
    """The operation in ``graphc.ir.compute.scalar``; or override ``element``."""
    ufunc: ClassVar[np.ufunc]
    """The same in NumPy; or override ``evaluate``."""
    result: ClassVar[DType | None] = None
    """The dtype of the result, where it is not that of the operands."""

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        dtype = typing.dtype_in(self.dtypes, dtype_names(self.dtypes))
        shape = typing.broadcast(*(t.shape for t in typing.inputs))
        return [TensorType(self.result or dtype, shape)]

    def element(self, build: KernelBuilder, *values: Expr) -> Expr:
        """The result's element, given those of the operands."""
        return apply(self.scalar, *values)

    def evaluate(self, *arrays: Any) -> Any:
        """The result in NumPy.

        Raises:
            DataError: as the kernel's guards say.
        """
        return self.ufunc(*arrays)

    def compute(self, build: KernelBuilder) -> None:
        def body(*index: Expr) -> Expr:
            return self.element(build, *(x.broadcast(index) for x in build.inputs))

        build.result(build.map(build.outputs[0].shape, body))

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        with np.errstate(all="ignore"):
            return [np.asarray(self.evaluate(*inputs), types[0].dtype.numpy)]


class Unary(Pointwise):
    """``f(x)``. Subclasses that differentiate say how in ``derive``."""

    operands = ("x",)

    def derive(self, x: Tensor, y: Tensor, grad: Tensor) -> Tensor | None:
        """The gradient for ``x``; None: constant almost everywhere."""
        return None

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        return [None if grad is None else self.derive(node.inputs[0], node.outputs[0], grad)]


class Binary(Pointwise):
    """``f(a, b)``. Subclasses that differentiate say how in ``derive``."""

    operands = ("a", "b")

    def derive(
        self, a: Tensor, b: Tensor, y: Tensor, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients for ``a`` and ``b``, in the shape of the result."""
        return None, None

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (grad,) = grads
        if grad is None:
            return [None, None]
        a, b = node.inputs
        found = self.derive(a, b, node.outputs[0], grad)
        return [
            None if g is None else unbroadcast(g, x) for g, x in zip(found, (a, b), strict=True)
        ]


def unary(op: str, x: TensorLike, name: str | None) -> Tensor:
    """A node of a unary op over what the user gave."""
    return emit(op, convert(x), name=name)


def binary(op: str, a: TensorLike, b: TensorLike, name: str | None) -> Tensor:
    """A node of a binary op over what the user gave."""
    return emit(op, *convert_all((a, b)), name=name)


def dtype_names(dtypes: frozenset[DType]) -> str:
    """``float32 or float64``: how an error lists the dtypes that an op takes."""
    return " or ".join(sorted(d.name for d in dtypes))


def static_shape(type_: TensorType) -> tuple[int, ...]:
    """The shape of a type that a reference is given: all sizes are known."""
    return tuple(int(size) for size in type_.shape)
