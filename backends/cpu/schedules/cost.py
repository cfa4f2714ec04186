"""How much work an iteration is: rough cycles, for choosing tasks and lanes, never for numbers.

Tasks too small to pay for waking a thread stay on the caller's; the sizes depend on shapes and
target alone, so that bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.ir.compute.compose import values_of
from graphc.ir.compute.expr import Apply, Expr, Index, Load, Size, postorder
from graphc.ir.compute.kernel import Stage
from graphc.ir.compute.scalar import SCALAR_OPS
from graphc.ir.dims import Dim, product
from graphc.ir.target import Target

TASK_CYCLES = 40_000
"""What one task should cost at least: about ten microseconds."""

CACHE_BYTES = 16
"""How many bytes a core moves to or from its larger caches in a cycle, roughly."""

_SLOW = {"div": 4, "sqrt": 6, "floordiv": 20, "mod": 20}
_TRANSCENDENTAL = 20


def lanes(stages: Iterable[Stage], target: Target) -> int:
    """How many elements of the widest dtype among the values fit a vector register."""
    return target.lanes(max((_widest(stage) for stage in stages), default=4))


def cycles(stage: Stage, width: int) -> float:
    """Cycles that one element of the stage's domain costs when ``width`` are done at once."""
    exprs = postorder(values_of(stage))
    loaded = sum(e.dtype.size for e in exprs if isinstance(e, Load))
    return sum(map(_weight, exprs)) / width + (loaded + stage.dtype.size) / CACHE_BYTES


def known(extents: Iterable[Dim]) -> int | None:
    """The number of iterations, if it is known."""
    total = product(tuple(extents))
    return total if isinstance(total, int) else None


def _weight(expr: Expr) -> float:
    if not isinstance(expr, Apply):
        return 0.0
    if not SCALAR_OPS[expr.op].exact:
        return _TRANSCENDENTAL
    return _SLOW.get(expr.op, 0.5)


def _widest(stage: Stage) -> int:
    exprs = postorder([stage.value])
    index = {id(e) for load in exprs if isinstance(load, Load) for e in postorder(load.index)}
    sizes = [
        e.dtype.size
        for e in exprs
        if id(e) not in index and not isinstance(e, Index | Size) and e.dtype.size > 1
    ]
    return max([stage.dtype.size, *sizes])
