"""What a rule takes and gives: applications of ops that are no nodes yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.ir.dims import Dim, Shape
from graphc.ir.graph import Tensor
from graphc.ir.types import TensorType

NOTHING: Mapping[str, Any] = {}
LARGEST_UNIFORM = 1024
"""Constants of more elements are not searched for whether all of them are equal."""


@dataclass(frozen=True, slots=True, eq=False)
class Application:
    """``op`` over ``inputs``, which are tensors of the graph or applications themselves."""

    op: str
    inputs: tuple[Operand, ...]
    attrs: Mapping[str, Any]
    type: TensorType

    @property
    def shape(self) -> Shape:
        return self.type.shape

    def with_inputs(self, *inputs: Operand) -> Application:
        """The same over other operands, of the same type."""
        return Application(self.op, inputs, self.attrs, self.type)


Operand: TypeAlias = Tensor | Application


@dataclass(frozen=True, slots=True, eq=False)
class Without:
    """A rewritten application that does without an operand, whose failures would go unseen."""

    result: Operand
    lost: Operand


Rule: TypeAlias = Callable[[Application], "Operand | Without | None"]
"""The rewritten application, or one of its operands; None: the rule does not apply."""


def made_by(operand: Operand, op: str) -> bool:
    """Whether ``op`` makes the operand."""
    if isinstance(operand, Application):
        return operand.op == op
    return operand.node.op.name == op


def inputs_of(operand: Operand) -> tuple[Operand, ...]:
    """The operands of what makes ``operand``."""
    return operand.inputs if isinstance(operand, Application) else operand.node.inputs


def attrs_of(operand: Operand) -> Mapping[str, Any]:
    """The attributes of what makes ``operand``."""
    return operand.attrs if isinstance(operand, Application) else operand.node.attrs


def like(operand: Operand, op: str, *inputs: Operand, **attrs: Any) -> Application:
    """An application whose result has the type of ``operand``."""
    return Application(op, inputs, attrs or NOTHING, operand.type)


def shaped(op: str, x: Operand, shape: Shape, **attrs: Any) -> Application:
    """An application to ``x`` alone that gives its dtype in ``shape``."""
    return Application(op, (x,), attrs or {"shape": shape}, TensorType(x.type.dtype, shape))


def number(value: Any, of: Operand) -> Application:
    """A scalar constant of the dtype of ``of``."""
    dtype = of.type.dtype
    array = np.asarray(value, dtype.numpy)
    return Application("constant", (), {"value": array}, TensorType(dtype, ()))


def uniform(operand: Operand) -> Any:
    """The number that every element of ``operand`` is; None if that is not known."""
    while made_by(operand, "broadcast_to") or made_by(operand, "reshape"):
        (operand,) = inputs_of(operand)
    if not made_by(operand, "constant"):
        return None
    value = attrs_of(operand)["value"]
    if value.size == 1:
        return value.item()
    if value.size == 0 or value.size > LARGEST_UNIFORM:
        return None
    data = value.tobytes()
    return value.flat[0].item() if data == data[: value.itemsize] * value.size else None


def is_number(value: Any, wanted: float) -> bool:
    """Whether ``value`` is the number ``wanted``, the sign of a zero included."""
    if value is None or value != wanted:
        return False
    return not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, wanted)


def frame(shape: Shape) -> tuple[Dim, ...]:
    """``shape`` without its axes of size 1."""
    return tuple([dim for dim in shape if dim != 1])


def broadcast(shapes: tuple[Shape, ...]) -> Shape | None:
    """NumPy's common shape; None if it takes more than a look to tell."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = size
            elif size not in (1, result[axis]):
                return None
    return tuple(result)
