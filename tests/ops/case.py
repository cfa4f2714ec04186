"""What a case of an op is, and the values that cases are made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401, it fills the registry
from graphc.ir.dims import symbol
from graphc.ir.dtypes import DType, as_dtype, bool_, float32, float64, int32, int64
from graphc.ir.op import OPS
from graphc.ir.scope import create


@dataclass(frozen=True)
class Case:
    """Operands and attributes of one op.

    At a `smooth` case the op can be differentiated: finite differences hold there. `fails` is the
    rule that a run of the case breaks.
    """

    op: str
    inputs: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = False
    fails: str | None = None

    @property
    def name(self) -> str:
        operands = ",".join(f"{as_dtype(x.dtype).short}{list(x.shape)}" for x in self.inputs)
        return f"{self.op}-{operands}" + "".join(f"-{v}" for v in self.attrs.values())

    def node(self, symbolic: bool = False, first_only: bool = False):
        """The op over placeholders; `symbolic` hides every size above 1 behind a symbol, of all
        operands or of the first one only."""
        hidden = [symbolic and not (first_only and i) for i in range(len(self.inputs))]
        shapes = [[symbol(f"n{n}") if hide and n > 1 else n for n in x.shape]
                  for x, hide in zip(self.inputs, hidden, strict=True)]  # fmt: skip
        placeholders = [
            create("placeholder", (), {"dtype": as_dtype(x.dtype), "shape": tuple(shape)})
            for x, shape in zip(self.inputs, shapes, strict=True)
        ]
        return create(self.op, [p.outputs[0] for p in placeholders], self.attrs)

    @property
    def sizes(self) -> dict[str, int]:
        """What the symbols of `node(symbolic=True)` stand for."""
        return {f"n{n}": n for x in self.inputs for n in x.shape}


Maker = Callable[[str, np.random.Generator], Iterator[Case]]
CASES: dict[str, Maker] = {}


def cases_of(*ops: str) -> Callable[[Maker], Maker]:
    """Enter a generator of cases for `ops`."""

    def enter(maker: Maker) -> Maker:
        for op in ops:
            assert op not in CASES, op
            CASES[op] = maker
        return maker

    return enter


SPECIAL = {
    bool_: [False, True],
    int32: [0, 1, -1, 2, -7, 2**31 - 1, -(2**31)],
    int64: [0, 1, -1, 2, -7, 2**63 - 1, -(2**63)],
    float32: [0.0, -0.0, 1.0, -1.5, 1e-42, 3.4e38, 2.5, -0.5, np.inf, -np.inf, np.nan],
    float64: [0.0, -0.0, 1.0, -1.5, 5e-324, 1.7e308, 2.5, -0.5, np.inf, -np.inf, np.nan],
}


def values(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Ordinary values: normal floats, small integers, bools."""
    if dtype is bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.is_integer:
        return np.asarray(rng.integers(-20, 20, shape), dtype.numpy)
    return np.asarray(rng.standard_normal(shape), dtype.numpy)


def positive(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.random(shape) * 3 + 0.25, dtype.numpy)


def ordered(dtypes: frozenset[DType]) -> list[DType]:
    return sorted(dtypes, key=lambda d: d.name)


def over_dtypes(op, rng, table):
    """A case per dtype and (shape, attributes); those of float64 are smooth."""
    for dtype in ordered(OPS[op].dtypes):
        for shape, attrs in table:
            x = values(rng, dtype, shape)
            yield Case(op, (x,), attrs, smooth=dtype is float64)
