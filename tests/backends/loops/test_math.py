"""The stated accuracy and the special cases of the functions in ``backends.loops.math``.

The oracles are NumPy in the next wider format, and, for erf, its series in decimal arithmetic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import (
    I64,
    Buffer,
    Const,
    Expr,
    For,
    Function,
    Load,
    Op,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.math import MATH, ULP, Term
from graphc.backends.loops.rewrites.expand_math import expand_math
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import postorder, statements
from graphc.ir.compute.scalar import SCALAR_OPS
from graphc.ir.dtypes import DType, float32, float64
from tests.backends.loops.math_samples import (
    CASE_NAMES,
    CASES,
    Array,
    computed,
    samples,
    specials,
)

UNARY = [case for case in CASES if case[0] != "pow"]
UNARY_NAMES = [f"{name}-{dtype.short}" for name, dtype in UNARY]
FUSED = pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])


def wider(dtype: DType) -> Any:
    """A NumPy type with at least 11 bits more than ``dtype``."""
    if dtype is float32:
        return np.float64
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("this platform's long double is no wider than double")
    return np.longdouble


def _half_turns(x: Array, ahead: int) -> Array:
    turn = x - 2 * np.rint(x / 2)
    quadrant = np.rint(2 * turn)
    pi = x.dtype.type("3.14159265358979323846264338327950288")
    rest = (turn - quadrant / 2) * pi
    index = (np.where(np.isfinite(quadrant), quadrant, 0).astype(int) + ahead) % 4
    waves = [np.sin(rest), np.cos(rest), -np.sin(rest), -np.cos(rest)]
    return np.where((x == 0) & (ahead == 0), x, np.choose(index, waves))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def _decimal_erf(x: float) -> str:
    """erf to 30 digits and more, by its Taylor series."""
    if not math.isfinite(x) or abs(x) > 6.5:
        return "nan" if math.isnan(x) else str(math.copysign(1, x))
    with localcontext() as context:
        context.prec = 60
        square, term, total = Decimal(x) ** 2, Decimal(x), Decimal(x)
        for n in range(1, 200):
            term *= -square / n
            total += term / (2 * n + 1)
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
        return str(total * 2 / pi.sqrt())


def _erf(x: Array) -> Array:
    if x.dtype == np.float64:
        return np.array([math.erf(v) for v in x])
    return np.array([x.dtype.type(_decimal_erf(float(v))) for v in x])


ORACLES: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "sinpi": lambda x: _half_turns(x, 0),
    "cospi": lambda x: _half_turns(x, 1),
    "pow": np.power,
}


def truth(name: str, dtype: DType, *args: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(ORACLES[name](*(a.astype(wider(dtype)) for a in args)))


def assert_within(bound: float, dtype: DType, got: Array, want: Array, *args: Array) -> None:
    """Errors below ``bound`` in units in the last place; NaN where NaN is due, infinities equal."""
    info = np.finfo(dtype.numpy)
    limit = np.ldexp(want.dtype.type(1), info.maxexp)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.clip(want, -limit / 2, limit / 2))
        unit = np.ldexp(want.dtype.type(1), np.maximum(exponent, info.minexp + 1) - info.nmant - 1)
        # An infinite result counts as the power of two that follows the largest number.
        near = np.clip(got.astype(want.dtype), -limit, limit)
        error = np.abs(near - np.clip(want, -limit, limit)) / unit
    both_nan = np.isnan(got) & np.isnan(want)
    worst = np.where(both_nan, 0, np.where(np.isnan(error), np.inf, error))
    at = int(np.argmax(worst))
    where = tuple(float(a[at]).hex() for a in args)
    assert worst[at] <= bound, f"{float(worst[at])} ulp at {where}: {got[at]} for {want[at]}"


def _is_slow(name: str, dtype: DType, fused: bool) -> bool:
    """Whether the interpreter computes a fused float64 sum, or the oracle a series."""
    exact = fused and (dtype is float64 or name in ("sin", "cos"))
    return exact or (name == "erf" and dtype is float64)


@FUSED
@pytest.mark.parametrize(("name", "dtype"), UNARY, ids=UNARY_NAMES)
def test_error_is_as_stated(name: str, dtype: DType, fused: bool) -> None:
    x = samples(name, dtype, 200 if _is_slow(name, dtype, fused) else 20_000)
    got = computed(name, dtype, x, fused=fused)
    assert got.dtype == dtype.numpy
    assert_within(ULP[name, dtype].of(fused=fused), dtype, got, truth(name, dtype, x), x)


@FUSED
@pytest.mark.parametrize("dtype", [float32, float64], ids=["f32", "f64"])
def test_error_of_pow_is_as_stated(dtype: DType, fused: bool) -> None:
    rng = np.random.default_rng(2)
    count = 300 if fused else 20_000
    top = 152 if dtype is float32 else 1080
    x = np.concatenate([rng.uniform(0, 10, count), 1 + rng.normal(0, 1e-3, count)])
    y = (rng.uniform(-top, top, 2 * count) / np.log2(x)).astype(dtype.numpy)
    x = x.astype(dtype.numpy)
    got = computed("pow", dtype, x, y, fused=fused)
    bound = ULP["pow", dtype].of(fused=fused)
    assert_within(bound, dtype, got, truth("pow", dtype, x, y), x, y)


@FUSED
@pytest.mark.parametrize("dtype", [float32, float64], ids=["f32", "f64"])
def test_pow_of_special_values(dtype: DType, fused: bool) -> None:
    x, y = map(np.array, zip(*itertools.product(specials(dtype), repeat=2), strict=True))
    got, want = computed("pow", dtype, x, y, fused=fused), truth("pow", dtype, x, y)
    assert_within(ULP["pow", dtype].of(fused=fused), dtype, got, want, x, y)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


@FUSED
@pytest.mark.parametrize(("name", "dtype"), UNARY, ids=UNARY_NAMES)
def test_signs_of_results(name: str, dtype: DType, fused: bool) -> None:
    """Zeros have the sign of C99, but those of sinpi and cospi at 1/2, 1, 3/2... have either."""
    x = specials(dtype)
    if name in ("sinpi", "cospi"):
        finite = x[np.isfinite(x)]
        x = finite[(finite == 0) | (finite % 0.5 != 0)]
    got, want = computed(name, dtype, x, fused=fused), truth(name, dtype, x)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


@FUSED
@pytest.mark.parametrize("dtype", [float32, float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_of_any_size_are_reduced_exactly(name: str, dtype: DType, fused: bool) -> None:
    """6381956970095103 * 2**797 is the float64 nearest to a multiple of pi / 2 (J.-M. Muller)."""
    exponents = np.arange(-20, np.finfo(dtype.numpy).maxexp, dtype=np.int32)
    powers = np.ldexp(dtype.numpy.type(1.25), exponents)
    hardest = [] if dtype is float32 else [6381956970095103 * 2.0**797]
    multiples = np.arange(1, 200) * (np.pi / 2)
    x = np.concatenate([powers, hardest, multiples, -powers]).astype(dtype.numpy)
    got = computed(name, dtype, x, fused=fused)
    assert_within(ULP[name, dtype].of(fused=fused), dtype, got, truth(name, dtype, x), x)


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "sin", "cos", "sinpi", "cospi"])
@FUSED
def test_bounded_functions_do_not_exceed_1(name: str, fused: bool) -> None:
    x = samples(name, float32, 500 if _is_slow(name, float32, fused) else 50_000)
    got = computed(name, float32, x, fused=fused)
    assert np.nanmax(np.abs(got)) <= 1


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=CASE_NAMES)
def test_expansions_use_primitive_operations_only(name: str, dtype: DType) -> None:
    params = [Term(Var("x", ValueType(dtype)), True) for _ in range(SCALAR_OPS[name].arity)]
    used = {e.op for e in postorder([MATH[name, dtype](*params).expr]) if isinstance(e, Op)}
    assert all(SCALAR_OPS[op].exact for op in used)
    assert not used & {"min", "max"}, "they cost several instructions on x86, for NaN"


def _elementwise(dtype: DType, value: Callable[[Expr], Expr]) -> Function:
    """y[i : i + 8] = value(x[i : i + 8])"""
    x, y, n = Buffer("x", dtype), Buffer("y", dtype), Var("n", I64)
    index = Var("i", I64)
    load = Load(x, index, ValueType(dtype, 8))
    body = (Store(y, index, value(load)),)
    loop = For(index, Const(0, I64), n, 8, "serial", body)
    return Function("f", (x, y), (n,), (loop,))


@pytest.mark.parametrize(("name", "dtype"), UNARY, ids=UNARY_NAMES)
def test_expand_math_replaces_the_op_in_every_lane(name: str, dtype: DType) -> None:
    function = _elementwise(dtype, lambda x: Op(name, (x,), x.type))
    expanded = expand_math(function, fused=True)
    verify_function(expanded)
    exprs = postorder(
        e for s in statements(expanded.body) if isinstance(s, Store) for e in [s.value]
    )
    assert all(SCALAR_OPS[e.op].exact for e in exprs if isinstance(e, Op))
    x = samples(name, dtype, 1)[:24]
    result = np.zeros_like(x)
    run(expanded, (x, result), (len(x),))
    np.testing.assert_array_equal(result, computed(name, dtype, x, fused=True))


def test_expand_math_leaves_other_functions_alone() -> None:
    function = _elementwise(float32, lambda x: Op("sqrt", (x,), x.type))
    assert expand_math(function, fused=True).body is function.body
