"""Loops expressions with Python's operators, so that numerical code reads as its formulas do.

A ``Term`` wraps an expression; plain numbers beside it become constants of its type. Everything
here is one primitive operation in every lane, with no branch and no memory: what any target has.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.loops.ir import Const, Expr, Op, ValueType
from graphc.ir.compute.scalar import result_dtype
from graphc.ir.dtypes import DType, float32, float64, uint32, uint64

BITS_OF: dict[DType, DType] = {float32: uint32, float64: uint64}
FLOAT_OF: dict[DType, DType] = {uint32: float32, uint64: float64}


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """An expression of loops.

    ``fused`` says whether the target computes ``fma`` with one rounding. Where it does not, ``fma``
    is a product and a sum; only code that would lose more than that rounding asks.
    """

    expr: Expr
    fused: bool

    @property
    def dtype(self) -> DType:
        return self.expr.type.dtype

    def constant(self, value: float) -> Term:
        """``value``, rounded to this term's dtype, in every lane."""
        rounded = self.dtype.numpy.type(value).item()
        return Term(Const(rounded, self.expr.type), self.fused)

    def lift(self, value: Number) -> Term:
        """``value`` itself if it is a term, else a constant."""
        return value if isinstance(value, Term) else self.constant(value)

    def __add__(self, other: Number) -> Term:
        return apply("add", self, other)

    def __radd__(self, other: Number) -> Term:
        return apply("add", other, self)

    def __sub__(self, other: Number) -> Term:
        return apply("sub", self, other)

    def __rsub__(self, other: Number) -> Term:
        return apply("sub", other, self)

    def __mul__(self, other: Number) -> Term:
        return apply("mul", self, other)

    def __rmul__(self, other: Number) -> Term:
        return apply("mul", other, self)

    def __truediv__(self, other: Number) -> Term:
        return apply("div", self, other)

    def __rtruediv__(self, other: Number) -> Term:
        return apply("div", other, self)

    def __neg__(self) -> Term:
        return apply("neg", self)

    def __abs__(self) -> Term:
        return apply("abs", self)

    def __and__(self, other: Number) -> Term:
        return apply("and", self, other)

    def __or__(self, other: Number) -> Term:
        return apply("or", self, other)

    def __xor__(self, other: Number) -> Term:
        return apply("xor", self, other)

    def __lshift__(self, other: Number) -> Term:
        return apply("shl", self, other)

    def __rshift__(self, other: Number) -> Term:
        return apply("shr", self, other)

    def __lt__(self, other: Number) -> Term:
        return apply("lt", self, other)

    def __le__(self, other: Number) -> Term:
        return apply("le", self, other)

    def __gt__(self, other: Number) -> Term:
        return apply("gt", self, other)

    def __ge__(self, other: Number) -> Term:
        return apply("ge", self, other)

    def equals(self, other: Number) -> Term:
        return apply("eq", self, other)

    def differs(self, other: Number) -> Term:
        return apply("ne", self, other)

    def to(self, dtype: DType) -> Term:
        """Converted lane by lane, as the scalar op ``cast`` does."""
        return self._in("cast", dtype)

    @property
    def bits(self) -> Term:
        """The bits of each float, as an unsigned integer of the same width."""
        return self._in("bitcast", BITS_OF[self.dtype])

    @property
    def as_float(self) -> Term:
        """The float whose bits each unsigned integer holds."""
        return self._in("bitcast", FLOAT_OF[self.dtype])

    def _in(self, op: str, dtype: DType) -> Term:
        return Term(Op(op, (self.expr,), self.expr.type.with_dtype(dtype)), self.fused)


Number = Term | float | int


def apply(op: str, *operands: Number) -> Term:
    """The scalar op ``op``; numbers take the type of the last operand that is a term.

    Raises:
        TypeError: operands that ``op`` does not take.
    """
    like = next(o for o in reversed(operands) if isinstance(o, Term))
    terms = [like.lift(o) for o in operands]
    dtype = result_dtype(op, tuple(t.dtype for t in terms))
    exprs = tuple(t.expr for t in terms)
    return Term(Op(op, exprs, ValueType(dtype, like.expr.type.lanes)), like.fused)


def fma(a: Number, b: Number, c: Number) -> Term:
    """``a * b + c``, in one rounding where the target can."""
    return apply("fma", a, b, c)


def select(condition: Term, a: Number, b: Number) -> Term:
    """``a`` where ``condition`` holds, else ``b``; at least one of them is a term."""
    like = a if isinstance(a, Term) else b
    assert isinstance(like, Term)
    return apply("select", condition, like.lift(a), like.lift(b))


def at_most(x: Term, bound: float) -> Term:
    """The smaller of ``x`` and ``bound``; NaN stays NaN. On x86 one instruction, unlike ``min``."""
    return select(x.constant(bound) < x, x.constant(bound), x)


def at_least(x: Term, bound: float) -> Term:
    """The larger of ``x`` and ``bound``; NaN stays NaN."""
    return select(x.constant(bound) > x, x.constant(bound), x)


def with_sign_of(x: Term, magnitude: Term) -> Term:
    """``magnitude``, which is not negative, negated where ``x`` has its sign bit set."""
    sign = x.bits & (1 << x.dtype.bits - 1)
    return (magnitude.bits | sign).as_float


def horner(x: Term, coefficients: tuple[float, ...]) -> Term:
    """The polynomial with these coefficients, the constant one first: fewest operations."""
    result: Number = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = fma(result, x, coefficient)
    assert isinstance(result, Term)
    return result
