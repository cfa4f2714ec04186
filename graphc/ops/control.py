"""Ops that only order others."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Node, Tensor, TensorLike
from graphc.ir.op import Op, Typing, register
from graphc.ir.scope import control_dependencies, create, name_scope
from graphc.ir.types import TensorType
from graphc.ops.coercion import convert
from graphc.ops.emit import emit

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["group", "no_op", "tuple"]


@register
class NoOp(Op):
    """Nothing: what it depends on has run."""

    name = "no_op"
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        return []

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return []

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        return []

    def compute(self, build: KernelBuilder) -> None:
        """No stage and no result."""


def no_op(name: str | None = None) -> Node:
    """An operation that does nothing, to hang control dependencies on."""
    return create("no_op", name=name)


def group(*operations: Any, name: str | None = None) -> Node:
    """One operation that runs all of ``operations``: nodes, tensors, variables, lists of these."""
    with control_dependencies(_flat(operations)):
        return create("no_op", name=name or "group")


def tuple(  # TensorFlow's name
    tensors: Iterable[TensorLike],
    control_inputs: Iterable[Any] = (),
    name: str | None = None,
) -> list[Tensor]:
    """``tensors`` themselves, none of them before all, and ``control_inputs``, are computed."""
    values = [convert(value) for value in tensors]
    with name_scope(name or "tuple"):
        ready = group(*values, *builtins.tuple(control_inputs), name="ready")
        with control_dependencies([ready]):
            return [emit("identity", value) for value in values]


def _flat(operations: Iterable[Any]) -> list[Any]:
    """What is in lists and tuples, and lists and tuples in these."""
    found: list[Any] = []
    for item in operations:
        found += _flat(item) if isinstance(item, list | builtins.tuple) else [item]
    return found
