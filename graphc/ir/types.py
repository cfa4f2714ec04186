"""Types of tensors, and the facts about sizes that only a run can settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir import dims
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import DType


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dtype and a shape; ``resource`` marks the handle of a variable that holds such a value."""

    dtype: DType
    shape: Shape
    resource: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        return dims.product(self.shape)

    @property
    def bytes(self) -> Dim:
        return self.elements * self.dtype.size

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    def substitute(self, sizes: Mapping[str, Dim]) -> TensorType:
        """This type with some symbols replaced."""
        shape = tuple(dims.substitute(dim, sizes) for dim in self.shape)
        return TensorType(self.dtype, shape, self.resource)

    def __str__(self) -> str:
        return ("&" if self.resource else "") + self.dtype.short + shape_text(self.shape)


@dataclass(frozen=True, slots=True)
class Constraint:
    """``left == right``, or ``left >= right`` if ``at_least``: true in every valid run.

    Found while a node was typed; checked when the sizes are known, and reported with the node's
    source line and ``rule``.
    """

    left: Dim
    right: Dim
    rule: str
    at_least: bool = False

    def substitute(self, sizes: Mapping[str, Dim]) -> Constraint:
        """This constraint with some symbols replaced."""
        left, right = (dims.substitute(dim, sizes) for dim in (self.left, self.right))
        return Constraint(left, right, self.rule, self.at_least)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        left, right = dims.evaluate(self.left, sizes), dims.evaluate(self.right, sizes)
        return left >= right if self.at_least else left == right

    def __str__(self) -> str:
        return f"{self.left} {'>=' if self.at_least else '=='} {self.right}"


def shape_text(shape: Shape) -> str:
    """``[2, n]``: as texts print a shape; a symbol made for a ``None`` keeps its name."""
    return "[" + ", ".join(map(str, shape)) + "]"


def user_shape_text(shape: Shape) -> str:
    """``[2, None]``: a shape as the user wrote it."""
    return "[" + ", ".join(_user_dim_text(dim) for dim in shape) + "]"


def _user_dim_text(dim: Dim) -> str:
    return "None" if isinstance(dim, dims.Expression) and str(dim).startswith("_") else str(dim)
