"""One kernel out of several: what fusion does to meaning.

The kernels of the fused ops are chained (``compose``), and stages that cost little or are read
once are written into their readers (``inline``), so that no intermediate tensor is left between
elementwise ops. The result means the same, element by element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.ir.compute.expr import (
    Apply,
    Axis,
    Const,
    Expr,
    Guard,
    Index,
    Load,
    postorder,
    rewrite,
    select,
    substitute,
)
from graphc.ir.compute.kernel import Kernel, Map, Param, Reduce, Scatter, Stage
from graphc.ir.compute.scalar import SCALAR_OPS
from graphc.ir.types import TensorType

CHEAP = 8
"""Up to so many exactly rounded operations are computed again rather than kept."""
_SLOW = frozenset({"div", "floordiv", "mod", "sqrt"})
"""Exactly rounded, but slow."""


@dataclass(frozen=True)
class Part:
    """A kernel, and for each of its parameters the buffer of the composed kernel that it reads.

    Buffers are ``p0``, ``p1``... (parameters) and ``(part, result)`` positions of earlier parts.
    """

    kernel: Kernel
    arguments: tuple[str | tuple[int, int], ...]


def compose(
    params: Sequence[TensorType], parts: Sequence[Part], results: Sequence[tuple[int, int]]
) -> Kernel:
    """The parts as one kernel; ``results`` are (part, result) positions.

    A part's error code c becomes c plus the number of codes of the parts before it.
    """
    stages: list[Stage] = []
    guards: list[str] = []
    names: list[tuple[str, ...]] = []
    for part in parts:
        buffers = {
            param.name: argument if isinstance(argument, str) else names[argument[0]][argument[1]]
            for param, argument in zip(part.kernel.params, part.arguments, strict=True)
        }
        for stage in part.kernel.stages:
            buffers[stage.name] = f"s{len(stages)}"
            stages.append(_renamed(stage, buffers, len(guards)))
        guards.extend(part.kernel.guards)
        names.append(tuple(buffers[result] for result in part.kernel.results))
    return Kernel(
        tuple(Param(f"p{i}", type_) for i, type_ in enumerate(params)),
        tuple(stages),
        tuple(names[part][result] for part, result in results),
        tuple(guards),
    )


def inline(kernel: Kernel) -> Kernel:
    """``kernel`` with every map that is worth it written into its readers, and the unread gone.

    A map is written into its readers if it is cheap, or has one reader that does not read an
    element more than once. Results stay, but their readers use the value, not the memory.
    """
    readers = _readers(kernel)
    values: dict[str, Map] = {}
    stages: list[Stage] = []
    for original in kernel.stages:
        stage = _with_values(_over_common_axes(original, values), values)
        stages.append(stage)
        kept = stage.name in kernel.results
        if isinstance(stage, Map) and _worth(stage, readers.get(stage.name, []), kept):
            values[stage.name] = stage
    return _pruned(replace(kernel, stages=tuple(stages)))


def values_of(stage: Stage) -> tuple[Expr, ...]:
    """The expressions of a stage: its value and, of a scatter, its index."""
    return (*stage.index, stage.value) if isinstance(stage, Scatter) else (stage.value,)


def with_values(stage: Stage, values: Sequence[Expr]) -> Stage:
    """``stage`` with its expressions (as ``values_of`` gives them) replaced."""
    if isinstance(stage, Scatter):
        return replace(stage, index=tuple(values[:-1]), value=values[-1])
    return replace(stage, value=values[0])


def loads_of(stage: Stage) -> list[Load]:
    """Every load in a stage, once."""
    return [e for e in postorder(values_of(stage)) if isinstance(e, Load)]


def _renamed(stage: Stage, buffers: Mapping[str, str], guards: int) -> Stage:
    def change(expr: Expr) -> Expr:
        if isinstance(expr, Load):
            return replace(expr, buffer=buffers[expr.buffer])
        return replace(expr, code=expr.code + guards) if isinstance(expr, Guard) else expr

    renamed = with_values(stage, rewrite(values_of(stage), change))
    return replace(renamed, name=buffers[stage.name])


def _over_common_axes(stage: Stage, values: Mapping[str, Map]) -> Stage:
    """``stage`` over the axes of a map that it reads at its own index.

    The map's value can then be used as it is: a chain of maps shares one expression instead of
    copying a longer one at each link.
    """
    if isinstance(stage, Scatter):
        return stage
    own = stage.axes + (stage.over if isinstance(stage, Reduce) else ())
    for load in loads_of(stage):
        source = values.get(load.buffer)
        if source is None or not _is_index_of(load, own) or len(source.axes) != len(own):
            continue
        if any(a.extent != b.extent for a, b in zip(source.axes, own, strict=True)):
            continue
        at: dict[Axis, Expr] = {a: Index(b) for a, b in zip(own, source.axes, strict=True)}
        moved = with_values(stage, substitute(values_of(stage), at))
        moved = replace(moved, axes=source.axes[: len(stage.axes)])
        return (
            replace(moved, over=source.axes[len(stage.axes) :])
            if isinstance(moved, Reduce)
            else moved
        )
    return stage


def _is_index_of(load: Load, axes: Sequence[Axis]) -> bool:
    """Whether an element is loaded for each index of ``axes``, at that index."""
    return len(load.index) == len(axes) and all(
        isinstance(i, Index) and i.axis is axis for i, axis in zip(load.index, axes, strict=True)
    )


def _with_values(stage: Stage, values: Mapping[str, Map]) -> Stage:
    made: dict[tuple[str, tuple[int, ...]], Expr] = {}

    def value_at(load: Load) -> Expr:
        """Equal loads become one expression: twice the same value must not grow twice."""
        source = values[load.buffer]
        if _is_index_of(load, source.axes):
            return source.value
        key = (load.buffer, tuple(map(id, load.index)))
        if key not in made:
            at = dict(zip(source.axes, load.index, strict=True))
            (made[key],) = substitute([source.value], at)
        return made[key]

    def change(expr: Expr) -> Expr:
        if not isinstance(expr, Load) or expr.buffer not in values:
            return expr
        value = value_at(expr)
        if expr.where is None:
            return value
        (value,) = _predicated(value, expr.where)
        return select(expr.where, value, Const(expr.dtype.numpy.type(0).item(), expr.dtype))

    return with_values(stage, rewrite(values_of(stage), change))


def _predicated(value: Expr, where: Expr) -> list[Expr]:
    """``value`` with its loads and guards valid only ``where``: a padded read of a computed map."""

    def change(expr: Expr) -> Expr:
        if isinstance(expr, Load):
            both = where if expr.where is None else expr.where & where
            return replace(expr, where=both)
        if isinstance(expr, Guard):
            return replace(expr, ok=expr.ok | Apply("not", (where,), where.dtype))
        return expr

    return rewrite([value], change)


def _readers(kernel: Kernel) -> dict[str, list[tuple[Stage, Load]]]:
    found: dict[str, list[tuple[Stage, Load]]] = {}
    for stage in kernel.stages:
        for load in loads_of(stage):
            found.setdefault(load.buffer, []).append((stage, load))
    return found


def _worth(stage: Map, readers: Sequence[tuple[Stage, Load]], kept: bool) -> bool:
    """``kept``: the map is a result, whose value its readers find where it is made."""
    if _is_cheap(stage.value):
        return True
    if kept:
        return False
    if len({id(reader) for reader, _ in readers}) > 1:
        return all(_pointwise(stage, reader, load) for reader, load in readers)
    return all(_reads_once(reader, load) for reader, load in readers)


def _pointwise(stage: Map, reader: Stage, load: Load) -> bool:
    """Whether a map reads the element at its own index: both are then one loop, computed once."""
    return (
        isinstance(reader, Map)
        and reader.shape == stage.shape
        and all(
            (isinstance(i, Index) and i.axis is axis) or (axis.extent == 1 and _is_zero(i))
            for i, axis in zip(load.index, reader.axes, strict=True)
        )
    )


def _is_zero(index: Expr) -> bool:
    return isinstance(index, Const) and bool(index.value == 0)


def _reads_once(reader: Stage, load: Load) -> bool:
    """Whether every axis of the reader longer than 1 takes part in the index."""
    axes = reader.axes + (reader.over if isinstance(reader, Reduce) else ())
    used = {e.axis for e in postorder(load.index) if isinstance(e, Index)}
    return all(axis in used or axis.extent == 1 for axis in axes)


def operations(value: Expr) -> int | None:
    """How many operations compute ``value``; None if one of them is too dear to be done twice."""
    found = [e for e in postorder([value]) if isinstance(e, Apply | Guard)]
    ops = [e.op for e in found if isinstance(e, Apply)]
    if any(op in _SLOW or not SCALAR_OPS[op].exact for op in ops):
        return None
    return len(found)


def _is_cheap(value: Expr) -> bool:
    """Whether ``operations`` are few; looks no further than it must."""
    seen: set[int] = set()
    stack, count = [value], 0
    while stack:
        expr = stack.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        if isinstance(expr, Apply | Guard):
            count += 1
            slow = isinstance(expr, Apply) and (expr.op in _SLOW or not SCALAR_OPS[expr.op].exact)
            if slow or count > CHEAP:
                return False
        stack.extend(expr.operands)
    return True


def _pruned(kernel: Kernel) -> Kernel:
    needed = set(kernel.results)
    kept: list[Stage] = []
    for stage in reversed(kernel.stages):
        if stage.name in needed:
            kept.append(stage)
            needed |= {load.buffer for load in loads_of(stage)}
    return replace(kernel, stages=tuple(reversed(kept)))
