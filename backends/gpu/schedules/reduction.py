"""Combines the values that the threads of a block hold, in an order that the block size fixes.

A tree of shuffles leaves each warp's value in its first lane, shared memory brings the warps'
values to all threads, and each thread combines those in a tree of its own: one barrier.
"""

from __future__ import annotations

from graphc.backends.gpu.geometry import WARP
from graphc.backends.loops import build, combine
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import Buffer, Expr, Intrinsic


def across_block(
    emit: Emitter, combiner: str, state: combine.State, warps: int, warp: Expr, lane: Expr
) -> combine.State:
    """The combination of every thread's ``state``, in every thread.

    ``warps`` is a power of two. All threads of the block must come here.
    """
    distance = WARP // 2
    while distance:
        later = tuple(_from_lane_after(emit, value, distance) for value in state)
        state = combine.step(emit, combiner, state, later)
        distance //= 2
    shared = [emit.alloc("warps", value.type.dtype, warps, "shared") for value in state]
    with emit.when(emit.op("eq", lane, build.const(0))):
        for buffer, value in zip(shared, state, strict=True):
            emit.store(buffer, warp, value)
    emit.barrier()
    states = [_loaded(emit, shared, number) for number in range(warps)]
    while len(states) > 1:
        pairs = zip(states[::2], states[1::2], strict=True)
        states = [combine.step(emit, combiner, a, b) for a, b in pairs]
    return states[0]


def _from_lane_after(emit: Emitter, value: Expr, distance: int) -> Expr:
    args = (value, build.const(distance))
    return emit.let(Intrinsic("warp_shuffle_down", args, value.type))


def _loaded(emit: Emitter, buffers: list[Buffer], number: int) -> combine.State:
    return tuple(emit.load(buffer, build.const(number)) for buffer in buffers)
