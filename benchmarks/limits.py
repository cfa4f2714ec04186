"""The machine's limit for arithmetic, measured with the same code generator."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

ACCUMULATORS = 24
ITERATIONS = 20_000


class FmaStep:
    """Independent fused multiply-adds in registers, on each thread; ``flops`` per call."""

    def __init__(self, call: Callable[[], Any], flops: float) -> None:
        self._call = call
        self.flops = flops

    def __call__(self) -> Any:
        return self._call()


def fma_step(threads: int) -> FmaStep:
    """A loop of ``ACCUMULATORS`` vectors, as long as ``ITERATIONS``, once for each thread."""
    from graphc.backends.cpu.cache import default_cache
    from graphc.backends.cpu.pool import set_num_threads
    from graphc.backends.cpu.targets import host_target
    from graphc.backends.loops import build
    from graphc.backends.loops.emit import Emitter
    from graphc.backends.loops.ir import Buffer, Function, ValueType
    from graphc.ir.dtypes import float32

    target = host_target()
    lanes = target.lanes(4)
    emit, out = Emitter(), Buffer("out", float32)
    vector = ValueType(float32, lanes)
    start = [build.const(float(i), vector) for i in range(ACCUMULATORS)]
    factor = emit.load(out, build.const(0), lanes)
    with emit.loop(0, threads, kind="pooled") as task:
        with emit.loop(0, ITERATIONS, carry=start) as loop:
            loop.carry(*(emit.op("fma", factor, factor, value) for value in loop.values))
        total = loop.results[0]
        for value in loop.results[1:]:
            total = emit.op("add", total, value)
        emit.store(out, emit.mul(task.index, lanes), total)
    (kernel,) = default_cache().get([Function("fma", (out,), (), emit.block)], target)
    memory = np.zeros(lanes * threads + 64, np.float32)
    pool = set_num_threads(threads)
    buffers = (ctypes.c_void_p * 1)(memory.ctypes.data)
    parallel = (ctypes.c_void_p * 2)(pool.parallel_address, pool.address)
    status = ctypes.c_int64(-1)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(kernel.address)

    def call() -> np.ndarray:
        run(buffers, None, parallel, ctypes.addressof(status))
        return memory[:1]

    return FmaStep(call, 2.0 * lanes * ACCUMULATORS * ITERATIONS * threads)
