"""Values whose gradient the user wrote himself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.dtypes import COMPUTED
from graphc.ir.errors import GraphError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Op, Typing, register
from graphc.ir.scope import create
from graphc.ir.types import TensorType
from graphc.ops.emit import zeros_of

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["custom_values"]

GradientFunction = Callable[..., Tensor | Sequence[Tensor | None] | None]
"""Takes the gradient of each result, gives one for each argument."""

_FUNCTIONS = "custom_gradients"


@register
class CustomGradient(Op):
    """The first ``results`` operands as they are; the rest are what the gradient is for.

    The gradient function is not part of the graph's text.
    """

    name = "custom_gradient"
    operands = ("*values",)
    attributes = {"results": (int,)}
    dtypes = COMPUTED
    exact = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        values = typing.inputs[: typing.attrs["results"]]
        return [TensorType(value.dtype, value.shape) for value in values]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        function = node.graph.collections.get(_FUNCTIONS, {}).get(node.name)
        if function is None:
            raise GraphError(node.error("its gradient function was lost: a text cannot hold it"))
        results, arguments = node.outputs, node.inputs[node.attrs["results"] :]
        found = function(
            *(zeros_of(y.type) if g is None else g for g, y in zip(grads, results, strict=True))
        )
        found = list(found) if isinstance(found, list | tuple) else [found]
        if len(found) != len(arguments):
            message = f"its gradient function gave {len(found)} gradients for {len(arguments)}"
            raise GraphError(node.error(message))
        return [None] * len(results) + found

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return inputs[: node.attrs["results"]]

    def compute(self, build: KernelBuilder) -> None:
        for value in build.inputs[: build.attrs["results"]]:
            build.result(build.map(value.shape, lambda *i, value=value: value[i]))


def custom_values(
    values: Sequence[Tensor], arguments: Sequence[Tensor], gradient: GradientFunction
) -> list[Tensor]:
    """``values``, with ``gradient`` in place of the derivative by ``arguments``.

    Raises:
        GraphError: ``values`` depend on a variable by another way than ``arguments``.
    """
    node = create("custom_gradient", [*values, *arguments], {"results": len(values)})
    variable = _hidden_variable(values, arguments)
    if variable is not None:
        message = f"it depends on variable {variable.name!r}, which must be an argument"
        raise GraphError(node.error(message))
    node.graph.collections.setdefault(_FUNCTIONS, {})[node.name] = gradient
    return list(node.outputs)


def _hidden_variable(values: Sequence[Tensor], arguments: Sequence[Tensor]) -> Node | None:
    """A float variable that ``values`` depend on, but not through ``arguments``."""
    stack, seen = list(values), set(arguments)
    while stack:
        tensor = stack.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor.type.resource and tensor.dtype.is_float:
            return tensor.node
        stack.extend(tensor.node.inputs)
    return None
