"""What combines a tensor of every worker: made where a graph is sharded, never by users.

All workers that run one sharded graph meet at its collectives, in the order of the graph. Gradients
are taken before that, and kernels do not move tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dtypes import DTYPES
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType

COMBINERS = ("sum", "prod", "max", "min", "any", "all")
"""How the values of the workers are combined, element by element; as reductions do it."""


@register
class AllReduce(Op):
    """Each value combined over all workers; every worker has the same result."""

    name = "all_reduce"
    operands = ("*values",)
    attributes = {"combiner": (str,)}
    dtypes = frozenset(DTYPES)
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        if not typing.inputs:
            raise ShapeError("needs at least one operand")
        combiner, dtype = typing.attrs["combiner"], typing.same_dtype()
        if combiner not in COMBINERS:
            raise GraphError(f"combiner must be one of {', '.join(COMBINERS)}, not {combiner!r}")
        if any(value.resource for value in typing.inputs):
            raise DTypeError("a variable stays where it is: read it, and combine its value")
        if dtype.is_bool != (combiner in ("any", "all")):
            raise DTypeError(f"{dtype.name} cannot be combined by {combiner}")
        return list(typing.inputs)
