"""The sizes that a kernel takes as parameters."""

from __future__ import annotations

from graphc.ir.compute.compose import values_of
from graphc.ir.compute.expr import Size, postorder
from graphc.ir.compute.kernel import Kernel, Reduce, Scatter
from graphc.ir.dims import Dim, symbols_of


def symbols(kernel: Kernel) -> tuple[str, ...]:
    """The names of a kernel's symbols, in the order of first appearance (sorted within a dim)."""
    found: dict[str, None] = {}
    for dim in _dims(kernel):
        found |= dict.fromkeys(sorted(symbols_of(dim)))
    return tuple(found)


def _dims(kernel: Kernel) -> list[Dim]:
    dims: list[Dim] = [dim for param in kernel.params for dim in param.type.shape]
    for stage in kernel.stages:
        dims += [axis.extent for axis in stage.axes]
        dims += [axis.extent for axis in stage.over] if isinstance(stage, Reduce) else []
        dims += stage.shape if isinstance(stage, Scatter) else ()
        dims += [e.dim for e in postorder(values_of(stage)) if isinstance(e, Size)]
    return dims
