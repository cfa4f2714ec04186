"""What a tensor of a sharded graph is to one worker, and what sizes say about it.

A size that is a multiple of the number of rows is divided among the workers, so a tensor with such
a size is split there, and no other tensor is split: the type tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.ir.dims import Dim, Expression, Shape, Symbol, symbols_of
from graphc.ir.types import TensorType

NEEDED = "rows of the batch are needed from other workers"
_ODD = f"{NEEDED}: a size depends on the number of rows and is no multiple of it"
_TWICE = f"{NEEDED}: every row meets all others"


@dataclass(frozen=True, slots=True)
class Replicated:
    """Every worker holds the whole tensor."""


@dataclass(frozen=True, slots=True)
class Split:
    """Each worker holds its own rows along ``axis``; one behind the other they are the tensor."""

    axis: int


@dataclass(frozen=True, slots=True)
class Partial:
    """Combined by ``combiner``, element by element, what the workers hold is the tensor."""

    combiner: str


State: TypeAlias = Replicated | Split | Partial
REPLICATED = Replicated()


class RefusedError(Exception):
    """A node that cannot be sharded; ``rule`` says why, without the node.

    ``operand`` is the place of the operand that is to blame, if one is.
    """

    def __init__(self, rule: str, operand: int | None = None) -> None:
        super().__init__(rule)
        self.rule, self.operand = rule, operand


class NotLinearError(Exception):
    """A node to which a partial operand has to be given whole."""


@dataclass(frozen=True)
class Rows:
    """The number of rows of the batch, as the symbol ``name``."""

    name: str

    def in_dim(self, dim: Dim) -> bool:
        """Whether ``dim`` depends on the number of rows."""
        return not isinstance(dim, int) and self.name in symbols_of(dim)

    def factor(self, dim: Dim) -> Dim | None:
        """``n`` with ``dim == n * rows``, where ``n`` has no rows in it; None: there is none."""
        total: Dim = 0
        for monomial, coefficient in () if isinstance(dim, int) else dim.terms:
            others = [atom for atom in monomial if atom != Symbol(self.name)]
            if len(others) != len(monomial) - 1 or any(self.name in a.symbols() for a in others):
                return None
            term: Dim = coefficient
            for atom in others:
                term = term * Expression.of(atom)
            total = total + term
        return None if isinstance(dim, int) and dim else total

    def axis(self, shape: Shape) -> int | None:
        """The axis of ``shape`` that is divided among the workers; None: no size has rows in it.

        Raises:
            RefusedError: there are two, or it cannot be divided.
        """
        found = [axis for axis, dim in enumerate(shape) if self.in_dim(dim)]
        if not found:
            return None
        if len(found) > 1:
            raise RefusedError(_TWICE)
        if self.factor(shape[found[0]]) is None:
            raise RefusedError(_ODD)
        return found[0]

    def in_attribute(self, value: Any) -> bool:
        """Whether an attribute's value depends on the number of rows."""
        if isinstance(value, tuple):
            return any(map(self.in_attribute, value))
        if isinstance(value, TensorType):
            return any(map(self.in_dim, value.shape))
        return isinstance(value, Expression) and self.in_dim(value)
