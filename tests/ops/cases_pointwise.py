"""Cases of elementwise ops, and of those that merely copy."""

import numpy as np

from graphc.ir.dtypes import bool_, float32, float64, int32, int64
from graphc.ir.op import OPS
from tests.ops.case import SPECIAL, Case, cases_of, ordered, positive, values

UNARY_SHAPES = [(), (1,), (0, 3), (7,), (5, 33), (1, 2, 1, 3), (1003,)]
BINARY_SHAPES = [
    ((), ()), ((3,), ()), ((2, 3), (3,)), ((4, 1), (1, 5)), ((0, 3), (1, 3)), ((1,), (7, 33)),
    ((7, 33), (7, 33)), ((2, 1, 3), (4, 1)), ((67, 130), (67, 1)),
]  # fmt: skip
KINKED = {"floor", "ceil", "round", "sign"}
POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "reciprocal"}


@cases_of(
    "negative", "abs", "sign", "square", "reciprocal", "sqrt", "rsqrt", "relu", "exp", "expm1",
    "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil", "round", "is_nan",
    "is_finite", "logical_not",
)  # fmt: skip
def unary(op, rng):
    for dtype in ordered(OPS[op].dtypes):
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
    for dtype in ordered(OPS[op].dtypes):
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
        yield Case(op, (bases, np.array(0.5, dtype.numpy)))
    for a, b in BINARY_SHAPES:
        inputs = (positive(rng, float64, a), values(rng, float64, b))
        yield Case(op, inputs, smooth=True)


@cases_of("where")
def where(op, rng):
    shapes = [((), (), ()), ((3,), (2, 3), ()), ((2, 1), (1, 3), (2, 3)), ((0,), (0,), (1,))]
    for dtype in ordered(OPS[op].dtypes):
        for c, x, y in shapes:
            inputs = (values(rng, bool_, c), values(rng, dtype, x), values(rng, dtype, y))
            yield Case(op, inputs, smooth=dtype is float64)


@cases_of("cast")
def cast(op, rng):
    for source in ordered(OPS[op].dtypes):
        for target in ordered(OPS[op].dtypes):
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
    for dtype in ordered(OPS[op].dtypes):
        for shape in UNARY_SHAPES:
            smooth = dtype is float64 and op == "identity"
            yield Case(op, (values(rng, dtype, shape),), smooth=smooth)


@cases_of("constant")
def constant(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        yield Case(op, (), {"value": values(rng, dtype, ())})
        yield Case(op, (), {"value": values(rng, dtype, (1, 1))})
