"""What every GPU schedule starts from: the function's parameters, and one element or row to each.

The index of a block or thread is one number; ``unflatten`` finds the axes in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Buffer, Expr, Function, Var
from graphc.backends.loops.lower import Lowering, Position, View
from graphc.backends.loops.merge import Work
from graphc.ir import dims
from graphc.ir.compute.expr import Axis, Index
from graphc.ir.compute.kernel import Kernel, Stage
from graphc.ir.compute.symbols import symbols
from graphc.ir.dims import Shape


@dataclass(frozen=True)
class Frame:
    """A function under construction: ``lowering`` writes its body.

    ``results`` are the views of the buffers that leave the kernel, with the stage of each.
    """

    kernel: Kernel
    lowering: Lowering
    buffers: tuple[Buffer, ...]
    sizes: tuple[Var, ...]
    results: tuple[tuple[str, View], ...]

    @property
    def emit(self) -> Emitter:
        return self.lowering.emit

    def work(self, stage: Stage) -> Work:
        """``stage`` with the index of its element."""
        return Work(stage, tuple(map(Index, stage.axes)))

    def store(self, work: Work, value: Expr, at: Position) -> None:
        """Writes an element at a position, to every result that the stage is."""
        index = [self.lowering.value(i, at) for i in work.index or ()]
        for name, view in self.results:
            if name == work.stage.name:
                self.emit.store(view.buffer, self.lowering.offset(index, view.strides), value)

    @property
    def views(self) -> dict[str, View]:
        """Everything that is read or written."""
        return {**self.lowering.views, **dict(self.results)}

    def function(self) -> Function:
        """The finished function."""
        guards = len(self.kernel.guards)
        return Function("kernel", self.buffers, self.sizes, self.emit.block, guards=guards)


def frame(kernel: Kernel) -> Frame:
    """Parameters for ``kernel``: its inputs, its results and its symbols.

    The kernel's stages have no axes of extent 1 left; its results are dense all the same.
    """
    sizes = {name: Var(name, I64) for name in symbols(kernel)}
    inputs = {p.name: View.dense(Buffer(p.name, p.type.dtype), p.type.shape) for p in kernel.params}
    results = tuple(_result(kernel, i, name) for i, name in enumerate(kernel.results))
    buffers = tuple(view.buffer for view in (*inputs.values(), *(view for _, view in results)))
    lowering = Lowering(Emitter(), sizes, dict(inputs))
    return Frame(kernel, lowering, buffers, tuple(sizes.values()), results)


def unflatten(lowering: Lowering, axes: Sequence[Axis], number: Expr) -> Mapping[Axis, Expr]:
    """The index along each of ``axes`` of the element that has this row-major number."""
    index: dict[Axis, Expr] = {}
    for axis in reversed(axes[1:]):
        extent = lowering.dim(axis.extent)
        index[axis] = lowering.emit.op("mod", number, extent)
        number = lowering.emit.op("floordiv", number, extent)
    return {axis: index.get(axis, number) for axis in axes}


def extent(axes: Sequence[Axis]) -> dims.Dim:
    """How many elements ``axes`` have together."""
    shape: Shape = tuple(axis.extent for axis in axes)
    return dims.product(shape)


def _result(kernel: Kernel, position: int, name: str) -> tuple[str, View]:
    stage = kernel.stage(name)
    return name, View.dense(Buffer(f"out{position}", stage.dtype), stage.shape)
