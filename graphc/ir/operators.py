"""Python's operators on tensors and on whatever stands for one, such as a variable.

The operators are declared here and reach the ops through one table that ``graphc.ops`` fills:
the graph does not know its ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import GraphError
from graphc.ir.source import located, user_source

if TYPE_CHECKING:
    import numpy.typing as npt

    from graphc.ir.graph import Tensor

TensorLike = Any
"""A ``Tensor``, a ``Variable``, a Python scalar or (nested) list, or a NumPy array."""

OPERATORS: dict[str, Callable[..., Tensor]] = {}
"""What Python's operators on tensors do; filled by ``graphc.ops`` when it is imported."""


class Operators:
    """Arithmetic, comparison and indexing that make nodes. ``==`` stays identity, as in TF 1."""

    __slots__ = ()
    __array_priority__ = 100  # NumPy operands leave arithmetic to the tensor

    def __add__(self, other: TensorLike) -> Tensor:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return OPERATORS["sub"](self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return OPERATORS["sub"](other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return OPERATORS["mul"](self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return OPERATORS["mul"](other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return OPERATORS["truediv"](self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return OPERATORS["truediv"](other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return OPERATORS["floordiv"](self, other)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return OPERATORS["floordiv"](other, self)

    def __mod__(self, other: TensorLike) -> Tensor:
        return OPERATORS["mod"](self, other)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return OPERATORS["mod"](other, self)

    def __pow__(self, other: TensorLike) -> Tensor:
        return OPERATORS["pow"](self, other)

    def __rpow__(self, other: TensorLike) -> Tensor:
        return OPERATORS["pow"](other, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return OPERATORS["matmul"](other, self)

    def __neg__(self) -> Tensor:
        return OPERATORS["neg"](self)

    def __abs__(self) -> Tensor:
        return OPERATORS["abs"](self)

    def __lt__(self, other: TensorLike) -> Tensor:
        return OPERATORS["lt"](self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return OPERATORS["le"](self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return OPERATORS["gt"](self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return OPERATORS["ge"](self, other)

    def __and__(self, other: TensorLike) -> Tensor:
        return OPERATORS["and"](self, other)

    def __or__(self, other: TensorLike) -> Tensor:
        return OPERATORS["or"](self, other)

    def __xor__(self, other: TensorLike) -> Tensor:
        return OPERATORS["xor"](self, other)

    def __invert__(self) -> Tensor:
        return OPERATORS["invert"](self)

    def __getitem__(self, key: Any) -> Tensor:
        return OPERATORS["getitem"](self, key)

    def __bool__(self) -> bool:
        raise _error(f"{self!r} has no value while the graph is built; use where, or run it")

    def __iter__(self) -> Iterator[Tensor]:
        raise _error(f"{self!r} cannot be iterated over; use split, or index it")

    def __array__(self, *_: Any, **__: Any) -> npt.NDArray[Any]:
        raise _error(f"{self!r} has no value while the graph is built; run it in a session")


def _error(message: str) -> GraphError:
    return GraphError(located(message, user_source()))
