"""Operands and attributes for every op: what tests that walk the registry run.

An op without a case fails `test_registry.py`. A `smooth` case is one at which the op can be
differentiated: finite differences hold there. `fails` is the rule that a run of the case breaks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401
from graphc.ir.dims import symbol
from graphc.ir.dtypes import DType, as_dtype, bool_, float32, float64, int32, int64
from graphc.ir.op import OPS
from graphc.ir.scope import create


@dataclass(frozen=True)
class Case:
    op: str
    inputs: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = False
    fails: str | None = None

    @property
    def name(self) -> str:
        operands = ",".join(f"{as_dtype(x.dtype).short}{list(x.shape)}" for x in self.inputs)
        return f"{self.op}-{operands}" + "".join(f"-{v}" for v in self.attrs.values())

    def node(self, symbolic: bool = False):
        """The op over placeholders; `symbolic` hides every size above 1 behind a symbol."""
        shapes = [[symbol(f"n{n}") if symbolic and n > 1 else n for n in x.shape]
                  for x in self.inputs]  # fmt: skip
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


def all_cases(seed: int = 0) -> list[Case]:
    """Every case of every op that has some, the same for the same seed."""
    return [
        case
        for number, (op, make) in enumerate(CASES.items())
        for case in make(op, np.random.default_rng([seed, number]))
    ]


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


def _ordered(dtypes: frozenset[DType]) -> list[DType]:
    return sorted(dtypes, key=lambda d: d.name)


UNARY_SHAPES = [(), (1,), (0, 3), (7,), (5, 33), (1, 2, 1, 3)]
BINARY_SHAPES = [
    ((), ()), ((3,), ()), ((2, 3), (3,)), ((4, 1), (1, 5)), ((0, 3), (1, 3)), ((1,), (7, 33)),
    ((7, 33), (7, 33)), ((2, 1, 3), (4, 1)),
]  # fmt: skip
KINKED = {"floor", "ceil", "round", "sign"}
POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "reciprocal"}


@cases_of(
    "negative", "abs", "sign", "square", "reciprocal", "sqrt", "rsqrt", "relu", "exp", "expm1",
    "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil", "round", "is_nan",
    "is_finite", "logical_not",
)  # fmt: skip
def unary(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for shape in UNARY_SHAPES:
            yield Case(op, (values(rng, dtype, shape),))
        yield Case(op, (np.array(SPECIAL[dtype], dtype.numpy),))
    if float64 in OPS[op].dtypes and not op.startswith("is_"):
        # Away from the kinks: none of these is near an integer.
        signs = 1 if op in POSITIVE else np.sign(rng.standard_normal((3, 4)))
        yield Case(op, ((rng.integers(0, 3, (3, 4)) + 0.3 + 0.4 * rng.random((3, 4))) * signs,),
                   smooth=True)  # fmt: skip


@cases_of(
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal", "greater",
    "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
)  # fmt: skip
def binary(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for a, b in BINARY_SHAPES:
            yield Case(op, (values(rng, dtype, a), values(rng, dtype, b)))
        special = np.array(SPECIAL[dtype], dtype.numpy)
        yield Case(op, (special[:, None], special))
    if op in {"add", "subtract", "multiply", "divide", "maximum", "minimum"}:
        for a, b in BINARY_SHAPES:
            x, y = values(rng, float64, a), values(rng, float64, b)
            yield Case(op, (x, y + np.sign(y) * 0.5), smooth=True)


@cases_of("floordiv", "mod")
def integer_division(op, rng):
    for dtype in (int32, int64):
        for a, b in BINARY_SHAPES:
            divisor = values(rng, dtype, b)
            yield Case(op, (values(rng, dtype, a), np.where(divisor == 0, 3, divisor)))
        special = np.array(SPECIAL[dtype], dtype.numpy)
        yield Case(op, (special[:, None], special[1:]))
        for divisor in (np.zeros((), dtype.numpy), np.array([2, 0, 1], dtype.numpy)):
            yield Case(op, (values(rng, dtype, (3,)), divisor), fails="integer division by zero")
        yield Case(op, (np.zeros((0, 3), dtype.numpy), np.array([2, 0, 1], dtype.numpy)))


@cases_of("pow")
def pow_(op, rng):
    for dtype in (float32, float64):
        for a, b in BINARY_SHAPES:
            yield Case(op, (positive(rng, dtype, a), values(rng, dtype, b)))
        bases = np.array([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, np.inf, -np.inf, np.nan], dtype.numpy)
        exponents = np.array([0, -0.0, 1, -1, 2, 3, -3, 0.5, np.inf, -np.inf, np.nan], dtype.numpy)
        yield Case(op, (bases[:, None], exponents))
    for a, b in BINARY_SHAPES:
        inputs = (positive(rng, float64, a), values(rng, float64, b))
        yield Case(op, inputs, smooth=True)


@cases_of("where")
def where(op, rng):
    shapes = [((), (), ()), ((3,), (2, 3), ()), ((2, 1), (1, 3), (2, 3)), ((0,), (0,), (1,))]
    for dtype in _ordered(OPS[op].dtypes):
        for c, x, y in shapes:
            inputs = (values(rng, bool_, c), values(rng, dtype, x), values(rng, dtype, y))
            yield Case(op, inputs, smooth=dtype is float64)


@cases_of("cast")
def cast(op, rng):
    for source in _ordered(OPS[op].dtypes):
        for target in _ordered(OPS[op].dtypes):
            for x in (np.array(SPECIAL[source], source.numpy), values(rng, source, (3, 5)) * 3,
                      values(rng, source, (0, 2))):  # fmt: skip
                yield Case(op, (x.astype(source.numpy),), {"dtype": target})
    edges = np.array([2147483583.0, 2147483648.0, -2147483904.0, 9.2e18, 9.3e18, 0.9, -0.9])
    for source in (float32, float64):
        for target in (int32, int64):
            yield Case(op, (edges.astype(source.numpy),), {"dtype": target})
    yield Case(op, (values(rng, float64, (2, 3)),), {"dtype": float64}, smooth=True)


@cases_of("identity", "stop_gradient")
def copies(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for shape in UNARY_SHAPES:
            smooth = dtype is float64 and op == "identity"
            yield Case(op, (values(rng, dtype, shape),), smooth=smooth)


@cases_of("constant")
def constant(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        yield Case(op, (), {"value": values(rng, dtype, ())})
        yield Case(op, (), {"value": values(rng, dtype, (1, 1))})


REDUCED = [
    ((), ()), ((7,), (0,)), ((3, 5), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)), ((3, 5), ()),
    ((2, 3, 4), (0, 2)), ((2, 3, 4), (1,)), ((1, 70, 1), (1,)), ((0, 3), (0,)), ((3, 0), (0,)),
    ((33, 65), (1,)),
]  # fmt: skip


@cases_of("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all")
def reductions(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for shape, axes in REDUCED:
            for keepdims in (False, True):
                attrs = {"axes": axes, "keepdims": keepdims}
                smooth = dtype is float64 and 0 not in shape and np.prod(shape) < 100
                yield Case(op, (values(rng, dtype, shape),), attrs, smooth=smooth)
        special = np.array(SPECIAL[dtype], dtype.numpy)
        yield Case(op, (special,), {"axes": (0,), "keepdims": False})
    if op == "reduce_prod":
        for zeros in ([0], [0, 3], [0, 3, 4]):
            x = values(rng, float64, (2, 5))
            x[1, zeros] = 0
            for axes in ((1,), (0, 1)):
                yield Case(op, (x,), {"axes": axes, "keepdims": False}, smooth=True)


@cases_of("argmax", "argmin")
def extremes(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for shape, axis in [((7,), 0), ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((0, 3), 1)]:
            yield Case(op, (values(rng, dtype, shape),), {"axis": axis})
        ties = np.array([[1, 3, 3, 0, 0], [2, 2, 2, 2, 2]], dtype.numpy)
        yield Case(op, (ties,), {"axis": 1})
        yield Case(op, (np.array(SPECIAL[dtype], dtype.numpy),), {"axis": 0})


PRODUCTS = [
    ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((5, 0), (0, 2)), ((0, 3), (3, 2)), ((17, 33), (33, 9)),
    ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
]  # fmt: skip


@cases_of("matmul")
def matmul(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for a, b in PRODUCTS:
            for ta in (False, True):
                for tb in (False, True):
                    x = values(rng, dtype, a)
                    y = values(rng, dtype, b)
                    x = np.ascontiguousarray(np.swapaxes(x, -1, -2)) if ta else x
                    y = np.ascontiguousarray(np.swapaxes(y, -1, -2)) if tb else y
                    attrs = {"transpose_a": ta, "transpose_b": tb}
                    yield Case(op, (x, y), attrs, smooth=dtype is float64 and x.size < 100)


def over_dtypes(op, rng, table):
    """A case per dtype and (shape, attributes); those of float64 are smooth."""
    for dtype in _ordered(OPS[op].dtypes):
        for shape, attrs in table:
            x = values(rng, dtype, shape)
            yield Case(op, (x,), attrs, smooth=dtype is float64)


@cases_of("reshape")
def reshape(op, rng):
    shapes = [
        ((), (1, 1)), ((6,), (2, 3)), ((2, 3), (-1,)), ((2, 3, 4), (6, 4)), ((2, 3, 4), (4, 6)),
        ((3, 4), (3, 1, 4)), ((3, 1, 4), (3, 4)), ((1, 6), (2, 3)), ((0, 3), (3, 0)), ((1,), ()),
        ((2, 3, 4), (2, -1)), ((4, 6), (2, 2, 3, 2)), ((0, 4), (0, 2, 2)), ((5, 6, 2), (5, 3, 4)),
    ]  # fmt: skip
    yield from over_dtypes(op, rng, [(a, {"shape": b}) for a, b in shapes])


@cases_of("transpose")
def transpose(op, rng):
    perms = [((), ()), ((3,), (0,)), ((3, 5), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((0, 3), (1, 0)),
             ((2, 1, 3, 4), (0, 2, 1, 3))]  # fmt: skip
    yield from over_dtypes(op, rng, [(shape, {"perm": perm}) for shape, perm in perms])


@cases_of("broadcast_to")
def broadcast_to(op, rng):
    shapes = [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1,), (0,)), ((2, 3), (2, 3)),
              ((3, 1), (2, 3, 4)), ((), ())]  # fmt: skip
    yield from over_dtypes(op, rng, [(a, {"shape": b}) for a, b in shapes])


@cases_of("size")
def size(op, rng):
    for dtype in (int32, int64, float32, float64):
        for shape, axes in [((), ()), ((2, 3), (0, 1)), ((2, 3), (1,)), ((0, 3), (0,))]:
            yield Case(op, (values(rng, float32, shape),), {"axes": axes, "dtype": dtype})


@cases_of("shape")
def shape_of(op, rng):
    for dtype in (int32, int64):
        for shape in [(), (2,), (4, 0, 3), (5, 6)]:
            yield Case(op, (values(rng, float32, shape),), {"dtype": dtype})


@cases_of("concat")
def concat(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for shapes, axis in [
            ([(3,)], 0), ([(2, 3), (4, 3)], 0), ([(2, 3), (2, 1), (2, 0), (2, 2)], -1),
            ([(0, 2), (0, 2)], 0), ([(2, 1, 3), (2, 5, 3)], 1),
        ]:  # fmt: skip
            inputs = tuple(values(rng, dtype, shape) for shape in shapes)
            yield Case(op, inputs, {"axis": axis}, smooth=dtype is float64)


@cases_of("split")
def split(op, rng):
    table = [((5,), 0, (5,)), ((6, 2), 0, (1, 2, 3)), ((2, 6), -1, (3, 0, 3)), ((2, 4, 3), 1, (2, 2)),
             ((0, 2), 0, (0, 0))]  # fmt: skip
    rows = [(shape, {"axis": axis, "sizes": sizes}) for shape, axis, sizes in table]
    yield from over_dtypes(op, rng, rows)


@cases_of("pad")
def pad(op, rng):
    table = [((), (), ()), ((3,), (1,), (2,)), ((2, 3), (0, 2), (1, 0)), ((0, 2), (1, 0), (1, 0)),
             ((2, 3), (0, 0), (0, 0))]  # fmt: skip
    rows = [(shape, {"low": low, "high": high, "value": value})
            for shape, low, high in table for value in (0, 1)]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


SLICES = [
    # shape, starts, sizes, strides
    ((), (), (), ()),
    ((7,), (2,), (3,), (1,)),
    ((7,), (0,), (7,), (1,)),
    ((7,), (-1,), (7,), (-1,)),
    ((7,), (1,), (3,), (2,)),
    ((7,), (-2,), (2,), (-3,)),
    ((7,), (7,), (0,), (1,)),
    ((3, 5), (1, 0), (1, 5), (1, 1)),
    ((3, 5), (-1, 1), (2, 2), (-2, 3)),
    ((0, 4), (0, 1), (0, 2), (1, 2)),
]


@cases_of("strided_slice")
def strided_slice(op, rng):
    rows = [(shape, {"starts": starts, "sizes": sizes, "strides": strides})
            for shape, starts, sizes, strides in SLICES]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


@cases_of("strided_slice_grad")
def strided_slice_grad(op, rng):
    rows = [(sizes, {"shape": shape, "starts": starts, "strides": strides})
            for shape, starts, sizes, strides in SLICES]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


GATHERS = [
    # params, indices, axis
    ((5,), (), 0), ((5,), (3,), 0), ((5, 2), (3, 2), 0), ((2, 5, 3), (4,), 1), ((2, 5), (3,), -1),
    ((5, 2), (0,), 0), ((5, 0), (3,), 0),
]  # fmt: skip


@cases_of("gather")
def gather(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for index in (int32, int64):
            for shape, count, axis in GATHERS:
                at = np.asarray(rng.integers(0, 5, count), index.numpy)
                params = values(rng, dtype, shape)
                yield Case(op, (params, at), {"axis": axis}, smooth=dtype is float64)
    for wrong in (-1, 5, 2**31 - 1):
        inputs = (values(rng, float32, (5, 2)), np.array([1, wrong], np.int32))
        yield Case(op, inputs, {"axis": 0}, fails="index out of range")
    yield Case(op, (values(rng, float32, (0,)), np.array([0])), {"axis": 0},
               fails="index out of range")  # fmt: skip
    yield Case(op, (values(rng, float32, (5, 0)), np.array([7])), {"axis": 0})


@cases_of("scatter_add")
def scatter_add(op, rng):
    for dtype in _ordered(OPS[op].dtypes):
        for index in (int32, int64):
            for shape, count, axis in GATHERS:
                at = np.asarray(rng.integers(0, 5, count), index.numpy)
                place = axis % len(shape)
                updates = values(rng, dtype, (*shape[:place], *count, *shape[place + 1 :]))
                attrs = {"axis": axis, "shape": shape}
                yield Case(op, (at, updates), attrs, smooth=dtype is float64)
    yield Case(op, (np.array([1, -1]), values(rng, float32, (2, 3))), {"axis": 0, "shape": (5, 3)},
               fails="index out of range")  # fmt: skip


@cases_of("one_hot")
def one_hot(op, rng):
    for index in (int32, int64):
        for dtype, on, off in [(float32, 1, 0), (float64, 0.9, 0.1), (int32, 5, -5),
                               (int64, 1, 0), (bool_, True, False)]:  # fmt: skip
            for shape, axis in [((), -1), ((3,), -1), ((3,), 0), ((2, 3), 1), ((0,), 0)]:
                indices = np.asarray(rng.integers(-2, 7, shape), index.numpy)
                attrs = {"depth": 5, "on": on, "off": off, "axis": axis, "dtype": dtype}
                yield Case(op, (indices,), attrs)
    yield Case(op, (np.array([2**40, 1]),), {"depth": 2, "on": 1, "off": 0, "axis": -1,
                                             "dtype": float32})  # fmt: skip
