"""What combines a tensor of every worker: made where a graph is sharded, never by users.

All workers that run one sharded graph meet at its collectives, in the order of the graph. Gradients
are taken before that, and kernels do not move tensors: like ``send`` and ``recv``, collectives are
carried out by the runtime, as plans of moves (``graphc.compiler.collectives``).
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
    """Each value combined over all workers; every worker has the same result.

    ``rows`` is how many logical shards of the batch a worker holds: the operands are the values of
    the first, then those of the next, and there are as many outputs as one of them has.
    """

    name = "all_reduce"
    operands = ("*values",)
    attributes = {"combiner": (str,), "rows": (int,)}
    defaults = {"rows": 1}
    dtypes = frozenset(DTYPES)
    stateful = True

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        rows, values = typing.attrs["rows"], typing.inputs
        if not values:
            raise ShapeError("needs at least one operand")
        if rows < 1 or len(values) % rows:
            raise ShapeError(f"{len(values)} operands are not those of {rows} shards")
        combiner, dtype = typing.attrs["combiner"], typing.same_dtype()
        if combiner not in COMBINERS:
            raise GraphError(f"combiner must be one of {', '.join(COMBINERS)}, not {combiner!r}")
        if any(value.resource for value in values):
            raise DTypeError("a variable stays where it is: read it, and combine its value")
        if dtype.is_bool != (combiner in ("any", "all")):
            raise DTypeError(f"{dtype.name} cannot be combined by {combiner}")
        count = len(values) // rows
        if any(value.shape != values[n % count].shape for n, value in enumerate(values)):
            raise ShapeError("a value has one shape in all shards")
        return list(values[:count])
