"""Arguments for the functions of ``backends.loops.math``, and what expansions make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.backends.loops.ir import Const, Op, ValueType, Var
from graphc.backends.loops.math import MATH, Term
from graphc.backends.loops.walk import postorder
from graphc.ir.compute.scalar import evaluate
from graphc.ir.dtypes import DType

Array = NDArray[Any]

CASES = sorted(MATH, key=lambda case: (case[0], case[1].name))
CASE_NAMES = [f"{name}-{dtype.short}" for name, dtype in CASES]
INTERESTING: dict[str, list[tuple[float, float]]] = {
    "exp": [(-1, 1), (-20, 20), (-104, 89), (-746, 710)],
    "expm1": [(-1, 1), (-40, 89), (17, 17.2), (37, 37.2)],
    "log": [(0.5, 2), (0, 10), (0.7, 1.6), (0, 1e-37), (0, 1e-307)],
    "log1p": [(-1, 1), (-1, 10), (-0.5, -0.2), (0.3, 0.6), (-0.001, 0.001)],
    "tanh": [(-1, 1), (-0.3, 0.3), (-10, 10), (-20, 20)],
    "sigmoid": [(-1, 1), (-4, -0.1), (-104, 20), (-746, 40)],
    "erf": [(-1, 1), (1, 1.3), (-6, 6)],
    "sin": [(-1, 1), (-20, 20), (-1e5, 1e5), (-1e22, 1e22)],
    "cos": [(-1, 1), (-20, 20), (-1e5, 1e5), (-1e22, 1e22)],
    "sinpi": [(-1, 1), (-20, 20), (-1e5, 1e5)],
    "cospi": [(-1, 1), (-20, 20), (-1e5, 1e5)],
}


def computed(name: str, dtype: DType, *args: Array, fused: bool) -> Array:
    """What the expansion of ``name`` gives, operation by operation."""
    params = [Var(f"x{i}", ValueType(dtype)) for i in range(len(args))]
    root = MATH[name, dtype](*(Term(p, fused) for p in params)).expr
    values: dict[int, Any] = {id(p): a for p, a in zip(params, args, strict=True)}
    for expr in postorder([root]):
        if isinstance(expr, Const):
            values[id(expr)] = np.asarray(expr.value, expr.type.dtype.numpy)
        elif isinstance(expr, Op):
            operands = tuple(values[id(a)] for a in expr.args)
            values[id(expr)] = _operation(expr, operands, fused)
    return np.asarray(values[id(root)])


def _operation(expr: Op, operands: tuple[Any, ...], fused: bool) -> Array:
    if expr.op == "fma" and not fused:
        with np.errstate(all="ignore"):
            return np.asarray(operands[0] * operands[1] + operands[2])
    return np.asarray(evaluate(expr.op, operands, expr.type.dtype))


def specials(dtype: DType) -> Array:
    """Zeros, infinities, NaN, the ends of the format, and the neighbours of small integers."""
    info = np.finfo(dtype.numpy)
    ends = [0.0, np.inf, info.smallest_subnormal, info.tiny, info.max, info.eps, 0.1, 1e10, 1e-10]
    near = [k + d for k in (0.5, 1, 1.5, 2, 3, 4, 7) for d in (0, info.eps * 4, -info.eps * 4)]
    beside = [1 + info.eps, 1 - info.epsneg, 2.0**info.nmant, 2.0**info.nmant + 1, 1024, 1075]
    values = np.array([*ends, *near, *beside], dtype.numpy)
    return np.concatenate([values, -values, np.array([np.nan], dtype.numpy)])


def samples(name: str, dtype: DType, count: int) -> Array:
    """Special values, ``count`` arguments from each interesting range, ``count`` of random bits."""
    rng = np.random.default_rng(1)
    ranges = [rng.uniform(low, high, count) for low, high in INTERESTING[name]]
    bits = rng.integers(0, 2**dtype.bits, count, dtype=np.uint64).astype(f"u{dtype.size}")
    found = [specials(dtype), bits.view(dtype.numpy), *(r.astype(dtype.numpy) for r in ranges)]
    return np.concatenate(found)
