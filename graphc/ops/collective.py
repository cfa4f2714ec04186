"""What combines tensors over the workers that share a batch: made by passes, never by users.

Gradients are taken before that, and kernels do not leave their worker: like ``send`` and ``recv``,
these are carried out by the runtime, as plans of moves (``graphc.compiler.collectives``).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.dtypes import DTYPES
from graphc.ir.errors import ShapeError
from graphc.ir.op import Op, Typing, register
from graphc.ir.types import TensorType

COMBINERS = ("sum", "prod", "max", "min", "any", "all")
"""How partial results become one."""


@register
class AllReduce(Op):
    """Partial results of all workers, combined; every worker gets the same.

    ``rows`` is how many logical shards of the batch this worker holds: the operands are the
    tensors of the first one, then those of the next, and the outputs are as many as one has.
    """

    name = "all_reduce"
    operands = ("*values",)
    attributes = {"combiner": (str,), "rows": (int,)}
    dtypes = frozenset(DTYPES)
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        combiner, rows = typing.attrs["combiner"], typing.attrs["rows"]
        if combiner not in COMBINERS:
            raise ShapeError(f"{combiner!r} does not combine partial results")
        if rows < 1 or not typing.inputs or len(typing.inputs) % rows:
            raise ShapeError(f"{len(typing.inputs)} operands are not those of {rows} shards")
        typing.same_dtype()
        count = len(typing.inputs) // rows
        first = typing.inputs[:count]
        for number, value in enumerate(typing.inputs):
            if value.shape != first[number % count].shape:
                raise ShapeError("a tensor has one shape in all shards")
        return [TensorType(value.dtype, value.shape) for value in first]
