"""The combiners of reductions, as operations on values of any number of lanes.

A reduction carries a *state*: one value, or for argmax and argmin the extreme and its index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import I64, Expr, Shuffle, ValueType
from graphc.ir.dtypes import DType, int64

State = tuple[Expr, ...]


@dataclass(frozen=True)
class Combiner:
    """``step`` takes two states; ``identity`` is the neutral number of a dtype."""

    identity: Callable[[DType], Any]
    step: Callable[[Emitter, State, State], State]
    indexed: bool = False


def lowest(dtype: DType) -> Any:
    """What every maximum starts from."""
    return float("-inf") if dtype.is_float else dtype.min


def highest(dtype: DType) -> Any:
    """What every minimum starts from."""
    return float("inf") if dtype.is_float else dtype.max


def _scalar(op: str) -> Callable[[Emitter, State, State], State]:
    return lambda emit, a, b: (emit.op(op, a[0], b[0]),)


def _extreme(better: str) -> Callable[[Emitter, State, State], State]:
    def step(emit: Emitter, a: State, b: State) -> State:
        """Take ``b`` if it is more extreme, or as extreme and earlier; NaN is most extreme."""
        wins = emit.op(better, b[0], a[0])
        tie = emit.op("eq", a[0], b[0])
        if a[0].type.dtype.is_float:
            a_nan, b_nan = (emit.op("ne", x, x) for x in (a[0], b[0]))
            wins = emit.op("or", wins, emit.op("and", b_nan, emit.op("not", a_nan)))
            tie = emit.op("or", tie, emit.op("and", a_nan, b_nan))
        earlier = emit.op("and", tie, emit.op("lt", b[1], a[1]))
        take = emit.op("or", wins, earlier)
        return tuple(emit.op("select", take, y, x) for x, y in zip(a, b, strict=True))

    return step


COMBINERS: dict[str, Combiner] = {
    "sum": Combiner(lambda _: 0, _scalar("add")),
    "prod": Combiner(lambda _: 1, _scalar("mul")),
    "max": Combiner(lowest, _scalar("max")),
    "min": Combiner(highest, _scalar("min")),
    "any": Combiner(lambda _: False, _scalar("or")),
    "all": Combiner(lambda _: True, _scalar("and")),
    "argmax": Combiner(lowest, _extreme("gt"), indexed=True),
    "argmin": Combiner(highest, _extreme("lt"), indexed=True),
}


def start(name: str, dtype: DType, lanes: int = 1) -> State:
    """The state before anything was combined; ``dtype`` is that of the values."""
    combiner = COMBINERS[name]
    value = build.const(combiner.identity(dtype), ValueType(dtype, lanes))
    if not combiner.indexed:
        return (value,)
    return (value, build.const(int64.max, I64.with_lanes(lanes)))


def step(emit: Emitter, name: str, a: State, b: State) -> State:
    """Two states combined; ``a`` is what came before."""
    return COMBINERS[name].step(emit, a, b)


def across(emit: Emitter, name: str, state: State) -> State:
    """The lanes of a state combined into one, halving."""
    while (lanes := state[0].type.lanes) > 1:
        half = lanes // 2
        low = tuple(_part(emit, value, 0, half) for value in state)
        high = tuple(_part(emit, value, half, half) for value in state)
        state = step(emit, name, low, high)
    return state


def result(name: str, state: State) -> Expr:
    """What a reduction gives: the index for argmax and argmin, else the value."""
    return state[1] if COMBINERS[name].indexed else state[0]


def masked(emit: Emitter, name: str, state: State, mask: Expr | None) -> State:
    """A state that is neutral where ``mask`` is false."""
    if mask is None:
        return state
    neutral = start(name, state[0].type.dtype, state[0].type.lanes)
    pairs: Sequence[tuple[Expr, Expr]] = list(zip(state, neutral, strict=True))
    return tuple(emit.op("select", mask, value, other) for value, other in pairs)


def _part(emit: Emitter, value: Expr, first: int, count: int) -> Expr:
    if count == 1:
        return emit.let(build.extract(value, first))
    lanes = tuple(range(first, first + count))
    return emit.let(Shuffle(value, value, lanes, value.type.with_lanes(count)))
