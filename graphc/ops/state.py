"""Variables as the graph sees them: a handle, reads of it, and assigns to it.

A handle is a tensor of a resource type; ``read_variable`` gives its value at the start of the
step, or what an assign left that the read is ordered after. What is assigned becomes the
variable's value when the step commits, and is the output of the assign at once.

In ``reference`` a resource operand is the value of the variable that the node sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.ir.dtypes import DTYPES, DType
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType

OWN_SHAPE = "a variable takes values of its own shape"


@register
class Variable(Op):
    """The handle of a variable, known in a cluster as ``shared_name``."""

    name = "variable"
    attributes = {"shared_name": (str,), "dtype": (DType,), "shape": (tuple,)}
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        shape = typing.attrs["shape"]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ShapeError(f"a variable needs sizes that are known, not {list(shape)}")
        return [TensorType(typing.attrs["dtype"], shape, resource=True)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return []


class _State(Op):
    stateful = True
    dtypes = frozenset(DTYPES)

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        resource, *values = typing.inputs
        if not resource.resource:
            raise DTypeError("the first operand must be a variable")
        for value in values:
            if value.resource:
                raise DTypeError("a variable cannot be assigned as a whole: read it first")
            typing.same_dtype()
            if value.rank != resource.rank:
                raise ShapeError(OWN_SHAPE)
            for own, given in zip(resource.shape, value.shape, strict=True):
                typing.equal(own, given, OWN_SHAPE)
        return [TensorType(resource.dtype, resource.shape)]


@register
class ReadVariable(_State):
    """The value of a variable."""

    name = "read_variable"
    operands = ("resource",)

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Handed on to the handle, where the gradients of all reads are summed."""
        return grads

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [inputs[0]]


class _Assign(_State):
    """A new value; gradients do not flow through it, as in TensorFlow."""

    operands = ("resource", "value")

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None, None]


@register
class Assign(_Assign):
    """``value`` becomes the variable's value; ``initializer`` marks the value it starts with."""

    name = "assign"
    attributes = {"initializer": (bool,)}

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return [inputs[1]]


class _Update(_Assign):
    ufunc: ClassVar[np.ufunc]
    combine: ClassVar[str]
    """The op that makes the new value of the old one and the operand."""

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        with np.errstate(all="ignore"):
            return [np.asarray(self.ufunc(*inputs), types[0].dtype.numpy)]


@register
class AssignAdd(_Update):
    """``value`` is added to the variable."""

    name = "assign_add"
    ufunc = np.add
    combine = "add"


@register
class AssignSub(_Update):
    """``value`` is subtracted from the variable."""

    name = "assign_sub"
    ufunc = np.subtract
    combine = "subtract"


def is_assign(node: Node) -> bool:
    """Whether ``node`` gives a variable a new value."""
    return isinstance(node.op, _Assign)


def variables_of(graph: Graph) -> list[Node]:
    """Every ``variable`` node, in order."""
    return [node for node in graph.nodes if node.op.name == Variable.name]


def read_of(handle: Tensor) -> Tensor:
    """The value, at the start of a step, of the variable that ``handle`` stands for.

    Raises:
        GraphError: the graph has no such read.
    """
    for node in handle.graph.nodes:
        if node.op.name == ReadVariable.name and node.inputs[0] is handle and not node.controls:
            return node.outputs[0]
    raise GraphError(handle.node.error("is not read anywhere in this graph"))


def initializers(graph: Graph) -> dict[Node, Node]:
    """For each ``variable`` node the ``assign`` that gives it the value it starts with."""
    found: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op.name == Assign.name and node.attrs["initializer"]:
            found.setdefault(node.inputs[0].node, node)
    return found


def initializer_of(variable: Node) -> Node:
    """The ``assign`` that gives a ``variable`` node the value it starts with.

    Raises:
        GraphError: the graph, perhaps one that was cut or read from a text, has none.
    """
    try:
        return initializers(variable.graph)[variable]
    except KeyError:
        raise GraphError(variable.error("has no initializer in this graph")) from None
