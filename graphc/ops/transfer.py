"""What carries a tensor from one device to another: made where a graph is cut, never by users.

A ``send`` and the ``recv`` of the same ``edge`` stand in two partitions of one graph; together they
are the edge that was cut. Gradients are taken before that, and kernels do not move tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dims import Expression
from graphc.ir.dtypes import DTYPES, DType
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType


@register
class Send(Op):
    """``value`` goes to the device ``to``, where the ``recv`` of this ``edge`` waits for it."""

    name = "send"
    operands = ("value",)
    attributes = {"edge": (str,), "to": (str,)}
    dtypes = frozenset(DTYPES)
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        if typing.inputs[0].resource:
            raise DTypeError("a variable stays on its device: read it, and send its value")
        return []


@register
class Recv(Op):
    """The tensor that ``source``, a device, sends over ``edge``."""

    name = "recv"
    attributes = {"edge": (str,), "source": (str,), "dtype": (DType,), "shape": (tuple,)}
    dtypes = frozenset(DTYPES)
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        shape = typing.attrs["shape"]
        for size in shape:
            if not isinstance(size, Expression) and not (isinstance(size, int) and size >= 0):
                raise ShapeError(f"{size!r} is no size of a tensor that is received")
        return [TensorType(typing.attrs["dtype"], shape)]
