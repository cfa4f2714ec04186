"""Random kernels that are well formed and within bounds, with arrays for them."""

from __future__ import annotations

import random

import numpy as np

from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.expr import Apply, Expr, Index, apply, cast, const, size
from graphc.ir.compute.kernel import COMBINERS, Kernel
from graphc.ir.compute.scalar import SCALAR_OPS, result_dtype
from graphc.ir.dims import Dim, evaluate, symbol
from graphc.ir.dtypes import DType, bool_, float32, float64, int32, int64
from graphc.ir.types import TensorType

DTYPES = (bool_, int32, int64, float32, float64)
N, M = symbol("rows"), symbol("columns")
DIMS: tuple[Dim, ...] = (1, 2, 3, N, M, N + 1, N * M, (N + M) // 2, N % 3 + 1)

_AVOIDED = ("floordiv", "mod", "mulhi", "cast", "bitcast", "shl", "shr")
_OPS = [name for name, op in SCALAR_OPS.items() if op.exact and name not in _AVOIDED]


def random_kernel(rng: random.Random, stages: int = 4) -> Kernel:
    return _Maker(rng).kernel(stages)


def random_sizes(rng: random.Random) -> dict[str, int]:
    return {"rows": rng.randint(1, 4), "columns": rng.randint(1, 4)}


def random_inputs(rng: random.Random, kernel: Kernel, sizes: dict[str, int]) -> list[np.ndarray]:
    generator = np.random.default_rng(rng.getrandbits(32))
    arrays = []
    for param in kernel.params:
        shape = tuple(evaluate(dim, sizes) for dim in param.type.shape)
        numbers = generator.integers(-3, 4, shape)
        arrays.append(np.asarray(numbers, param.type.dtype.numpy))
        if param.type.dtype.is_float and rng.random() < 0.3:
            arrays[-1][generator.random(shape) < 0.2] = rng.choice([np.nan, np.inf, -0.0, 1e30])
    return arrays


class _Maker:
    """Adds stages; `buffers` are what the next one may read."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        inputs = [TensorType(d, self.shape()) for d in rng.choices(DTYPES, k=3)]
        self.build = KernelBuilder(inputs, [], {})
        self.buffers: list[Buffer] = list(self.build.inputs)

    def kernel(self, stages: int) -> Kernel:
        made = []
        for _ in range(stages):
            made.append(self.rng.choice([self.map, self.map, self.reduce, self.scatter])())
            self.buffers.append(made[-1])
        results = self.rng.sample(made, self.rng.randint(1, len(made)))
        self.build.outputs = tuple(b.type for b in results)
        self.build.result(*results)
        return self.build.finish()

    def shape(self, rank: int = 3) -> tuple[Dim, ...]:
        return tuple(self.rng.choices(DIMS, k=self.rng.randint(0, rank)))

    def map(self) -> Buffer:
        dtype = self.rng.choice(DTYPES)
        return self.build.map(self.shape(), lambda *i: self.value(dtype, i, 3))

    def reduce(self) -> Buffer:
        combiner = self.rng.choice(COMBINERS)
        dtypes = self.combined(combiner)
        indexed = combiner.startswith("arg")
        over = self.shape(1) or (2,) if indexed else self.shape(2)
        dtype = self.rng.choice(dtypes)
        return self.build.reduce(combiner, self.shape(2), over, lambda *i: self.value(dtype, i, 3))

    def scatter(self) -> Buffer:
        combiner = self.rng.choice([c for c in COMBINERS if not c.startswith("arg")])
        dtype = self.rng.choice(self.combined(combiner))
        shape = self.shape(2)
        return self.build.scatter(
            combiner, shape, self.shape(2),
            lambda *i: [self.within(dim, i) for dim in shape],
            lambda *i: self.value(dtype, i, 2),
        )  # fmt: skip

    def combined(self, combiner: str) -> tuple[DType, ...]:
        if combiner in ("any", "all"):
            return (bool_,)
        return DTYPES[1:] if combiner in ("sum", "prod") else DTYPES

    def within(self, dim: Dim, axes: tuple[Expr, ...]) -> Expr:
        """An index in 0 .. dim - 1."""
        found = [a for a in axes if isinstance(a, Index) and a.axis.extent == dim]
        if found and self.rng.random() < 0.7:
            return self.rng.choice(found)
        value = self.value(int64, axes, 1)
        if self.rng.random() < 0.5:
            return apply("mod", value, size(dim))
        return self.build.in_range(value, dim, self.rng.choice(["out of range", "too large"]))

    def value(self, dtype: DType, axes: tuple[Expr, ...], depth: int) -> Expr:
        if depth <= 0 or self.rng.random() < 0.1:
            return self.leaf(dtype, axes)
        kind = self.rng.random()
        readable = [b for b in self.buffers if b.dtype is dtype]
        if readable and kind < 0.35:
            buffer = self.rng.choice(readable)
            index = [self.within(dim, axes) for dim in buffer.shape]
            where = self.value(bool_, axes, depth - 1) if self.rng.random() < 0.3 else None
            return buffer.load(index, where)
        if kind < 0.45:
            source = self.rng.choice([d for d in DTYPES if d is not dtype])
            return cast(self.value(source, axes, depth - 1), dtype)
        if kind < 0.5:
            shared = self.value(dtype, axes, depth - 1)
            return apply("min", shared, shared) if not dtype.is_bool else shared | shared
        name, dtypes = self.rng.choice(_RULES[dtype])
        return Apply(name, tuple(self.value(d, axes, depth - 1) for d in dtypes), dtype)

    def leaf(self, dtype: DType, axes: tuple[Expr, ...]) -> Expr:
        if dtype is int64 and axes and self.rng.random() < 0.6:
            return self.rng.choice(axes)
        if dtype is int64 and self.rng.random() < 0.3:
            return size(self.rng.choice(DIMS))
        numbers = [0.1, -0.0, float("inf")] if dtype.is_float else [0, 1]
        return const(self.rng.choice(numbers), dtype)


def _rules() -> dict[DType, list[tuple[str, tuple[DType, ...]]]]:
    found: dict[DType, list[tuple[str, tuple[DType, ...]]]] = {d: [] for d in DTYPES}
    for name in _OPS:
        for dtype in DTYPES:
            arity = SCALAR_OPS[name].arity
            args = (bool_, dtype, dtype) if name == "select" else (dtype,) * arity
            try:
                found[result_dtype(name, args)].append((name, args))
            except TypeError:
                continue
    return found


_RULES = _rules()
