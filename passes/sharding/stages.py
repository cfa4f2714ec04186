"""The states of a kernel's results, given those of its operands: one stage after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.ir.compute.compose import values_of
from graphc.ir.compute.expr import Axis
from graphc.ir.compute.kernel import Kernel, Map, Reduce, Scatter, Stage
from graphc.ops.collective import COMBINERS
from graphc.passes.sharding.facts import Facts, Source, settled
from graphc.passes.sharding.states import (
    NEEDED,
    REPLICATED,
    NotLinearError,
    Partial,
    RefusedError,
    Rows,
    Split,
    State,
)


def result_states(kernel: Kernel, operands: Sequence[State], rows: Rows) -> list[State]:
    """What each result is where every worker runs ``kernel`` over its own rows.

    Args:
        kernel: its sizes are those of one worker, in terms of ``rows``.
        operands: the states of its parameters; those that are split are so by their types.
        rows: the number of a worker's rows.

    Raises:
        RefusedError: rows of other workers are needed; the message is the rule.
        NotLinearError: a partial operand, or a stage that is partial, is used as if it were whole.
    """
    sources = {
        param.name: Source(param.type.shape, state, place)
        for place, (param, state) in enumerate(zip(kernel.params, operands, strict=True))
    }
    for stage in kernel.stages:
        state = _STAGES[type(stage)](stage, _Over(stage, sources, rows))
        sources[stage.name] = Source(stage.shape, state)
    return [sources[result].state for result in kernel.results]


class _Over:
    """A stage's iteration: which of its axes is divided, and the facts of its expressions."""

    def __init__(self, stage: Stage, sources: Mapping[str, Source], rows: Rows) -> None:
        over = stage.over if isinstance(stage, Reduce) else ()
        axes: tuple[Axis, ...] = stage.axes + over
        self.rows = rows
        self.position = rows.axis(tuple(axis.extent for axis in axes))
        self.divided = None if self.position is None else axes[self.position]
        self.facts = Facts(rows, sources, self.divided)
        self.found = self.facts.of(values_of(stage))


def _map(_stage: Map, over: _Over) -> State:
    (value,) = over.found
    if value.partial is not None:
        return Partial(value.partial)
    settled(value)
    return REPLICATED if over.position is None else Split(over.position)


def _reduce(stage: Reduce, over: _Over) -> State:
    (value,) = over.found
    if value.partial is not None:
        if (value.partial, stage.combiner) != ("sum", "sum"):
            raise NotLinearError
        return Partial("sum")
    settled(value)
    if over.position is None:
        return REPLICATED
    if over.position < len(stage.axes):
        return Split(over.position)
    return _partial(stage)


def _scatter(stage: Scatter, over: _Over) -> State:
    *index, value = over.found
    result = over.rows.axis(stage.shape)
    for axis, fact in enumerate(index):
        if fact.partial:
            raise NotLinearError
        wanted = 0 if axis != result else over.facts.multiple(stage.shape[axis])
        if fact.shift != wanted:
            raise RefusedError(NEEDED)
    if value.partial is not None:
        if (value.partial, stage.combiner) != ("sum", "sum"):
            raise NotLinearError
        return Partial("sum")
    settled(value)
    if result is not None:
        return Split(result)
    return REPLICATED if over.position is None else _partial(stage)


def _partial(stage: Reduce | Scatter) -> State:
    """The state of what was combined over the worker's rows alone."""
    if stage.combiner not in COMBINERS:
        raise RefusedError(NEEDED)
    return Partial(stage.combiner)


_STAGES: Mapping[type[Stage], Callable[..., State]] = {
    Map: _map,
    Reduce: _reduce,
    Scatter: _scatter,
}
