"""Dimensions: integers, or expressions over symbols.

An expression is kept as a polynomial with integer coefficients over atoms (symbols, and floor
divisions or remainders that could not be simplified away), which makes equality structural:
``n + n == 2 * n``. Symbols stand for sizes, so they are never negative; what can be proved from
that is proved, the rest becomes a run-time check (``graphc.ir.types.Constraint``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

Monomial: TypeAlias = tuple["Atom", ...]
"""A product of atoms, sorted by their text; the empty product is 1."""


@dataclass(frozen=True)
class Symbol:
    """An unknown size; two symbols of one name are the same size."""

    name: str

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        return sizes[self.name]

    def substitute(self, sizes: Mapping[str, Dim]) -> Dim:
        return sizes.get(self.name, Expression.of(self))

    def symbols(self) -> frozenset[str]:
        return frozenset((self.name,))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """``dividend // divisor`` or, if ``remainder``, ``dividend % divisor``; divisor positive."""

    dividend: Dim
    divisor: Dim
    remainder: bool

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        a, b = evaluate(self.dividend, sizes), evaluate(self.divisor, sizes)
        return a % b if self.remainder else a // b

    def substitute(self, sizes: Mapping[str, Dim]) -> Dim:
        a, b = substitute(self.dividend, sizes), substitute(self.divisor, sizes)
        return a % b if self.remainder else a // b

    def symbols(self) -> frozenset[str]:
        return symbols_of(self.dividend) | symbols_of(self.divisor)

    def __str__(self) -> str:
        sign = "%" if self.remainder else "//"
        return f"({_operand_text(self.dividend)} {sign} {_operand_text(self.divisor)})"


Atom: TypeAlias = Symbol | Quotient


class Expression:
    """A polynomial over atoms that is not a plain integer; arithmetic gives a ``Dim``."""

    __slots__ = ("__dict__", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(
            sorted(terms.items(), key=lambda term: (-len(term[0]), *map(str, term[0])))
        )

    @staticmethod
    def of(atom: Atom) -> Expression:
        return Expression({(atom,): 1})

    def __add__(self, other: Dim) -> Dim:
        return _add(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return _add(self, other, -1)

    def __rsub__(self, other: Dim) -> Dim:
        return _add(other, self, -1)

    def __mul__(self, other: Dim) -> Dim:
        return _multiply(self, other)

    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return _multiply(self, -1)

    def __floordiv__(self, other: Dim) -> Dim:
        return _divide(self, other, remainder=False)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return _divide(other, self, remainder=False)

    def __mod__(self, other: Dim) -> Dim:
        return _divide(self, other, remainder=True)

    def __rmod__(self, other: Dim) -> Dim:
        return _divide(other, self, remainder=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def _text(self) -> str:
        parts = [_term_text(monomial, factor) for monomial, factor in self.terms]
        return parts[0] + "".join(
            f" - {p[1:]}" if p.startswith("-") else f" + {p}" for p in parts[1:]
        )

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is not known while the graph is built")

    def __index__(self) -> int:
        raise TypeError(f"the size {self} is not known while the graph is built")


Dim: TypeAlias = int | Expression
Shape: TypeAlias = tuple[Dim, ...]


def symbol(name: str) -> Expression:
    """The dimension called ``name``; names that begin with ``_`` are the graph's own."""
    return Expression.of(Symbol(name))


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The integer that ``dim`` is when its symbols have these sizes (KeyError if one lacks)."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, factor in dim.terms:
        total += factor * math.prod(atom.evaluate(sizes) for atom in monomial)
    return total


def substitute(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """``dim`` with symbols replaced; those not in ``sizes`` stay."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, factor in dim.terms:
        product: Dim = factor
        for atom in monomial:
            product = product * atom.substitute(sizes)
        total = total + product
    return total


def symbols_of(dim: Dim) -> frozenset[str]:
    """The names of the symbols in ``dim``."""
    if isinstance(dim, int):
        return frozenset()
    return frozenset().union(*(a.symbols() for monomial, _ in dim.terms for a in monomial))


def symbol_name(dim: Dim) -> str | None:
    """The name of a dimension that is one symbol and nothing else."""
    found = linear(dim)
    return found[0] if found is not None and found[1:] == (1, 0) else None


def linear(dim: Dim) -> tuple[str, int, int] | None:
    """``(name, factor, constant)`` of a dimension ``factor * name + constant``, factor positive."""
    if isinstance(dim, int):
        return None
    terms = dict(dim.terms)
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return None
    ((monomial, factor),) = terms.items()
    if factor < 1 or len(monomial) != 1 or not isinstance(monomial[0], Symbol):
        return None
    return monomial[0].name, factor, constant


def solved(dims: Iterable[tuple[Dim, int]]) -> dict[str, int]:
    """What symbols are, where these dimensions have these sizes; the first that tells one counts.

    A symbol alone is taken at its word, one in a linear expression only where it must be. Sizes
    that contradict each other, or that no symbol makes, show when the dimensions are evaluated.
    """
    found: dict[str, int] = {}
    parts = [(*parts, size) for dim, size in dims if (parts := linear(dim)) is not None]
    for name, factor, constant, size in sorted(parts, key=lambda p: p[1:3] != (1, 0)):
        found.setdefault(name, max(0, (size - constant) // factor))
    return found


def product(dims: Shape) -> Dim:
    """The number of elements of a shape."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def magnitude(dims: Shape) -> int:
    """How many elements a shape has at the least, if no size is 0 and each symbol is 1 or more."""
    factors = (
        max(abs(dim), 1) if isinstance(dim, int) else max(abs(factor) for _, factor in dim.terms)
        for dim in dims
    )
    return math.prod(factors)


def provably_unequal(a: Dim, b: Dim) -> bool:
    """Whether no sizes make ``a`` and ``b`` equal: their difference has one sign and is never 0."""
    difference = a - b
    if isinstance(difference, int):
        return difference != 0
    lower, upper = _sign_bounds(difference)
    return (lower is not None and lower > 0) or (upper is not None and upper < 0)


def provably_at_least(dim: Dim, bound: int) -> bool:
    """Whether ``dim >= bound`` for all sizes."""
    if isinstance(dim, int):
        return dim >= bound
    lower, _ = _sign_bounds(dim)
    return lower is not None and lower >= bound


def _sign_bounds(dim: Expression) -> tuple[int | None, int | None]:
    """Constant bounds of a polynomial by the signs of its terms (None: not bounded so)."""
    constant, signs = 0, set()
    for monomial, factor in dim.terms:
        if not all(map(_never_negative, monomial)):
            return None, None
        if monomial:
            signs.add(factor > 0)
        else:
            constant = factor
    return (None if False in signs else constant), (None if True in signs else constant)


def _never_negative(atom: Atom) -> bool:
    if isinstance(atom, Symbol) or atom.remainder:
        return True
    return provably_at_least(atom.dividend, 0)


def _terms(dim: Dim) -> dict[Monomial, int]:
    if isinstance(dim, int):
        return {(): dim} if dim else {}
    return dict(dim.terms)


def _normal(terms: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: factor for monomial, factor in terms.items() if factor}
    if not kept.keys() - {()}:
        return kept.get((), 0)
    return Expression(kept)


def _add(a: Dim, b: Dim, sign: int) -> Dim:
    if not isinstance(b, int | Expression):
        return NotImplemented
    terms = _terms(a)
    for monomial, factor in _terms(b).items():
        terms[monomial] = terms.get(monomial, 0) + sign * factor
    return _normal(terms)


def _multiply(a: Dim, b: Dim) -> Dim:
    if not isinstance(b, int | Expression):
        return NotImplemented
    terms: dict[Monomial, int] = {}
    for (m, f), (n, g) in itertools.product(_terms(a).items(), _terms(b).items()):
        monomial = tuple(sorted(m + n, key=str))
        terms[monomial] = terms.get(monomial, 0) + f * g
    return _normal(terms)


def _divide(a: Dim, b: Dim, *, remainder: bool) -> Dim:
    """Exact parts leave the division: ``(4 * n + 2) // 4 == n``, ``(n * m) % n == 0``."""
    if not isinstance(a, int | Expression) or not isinstance(b, int | Expression):
        return NotImplemented
    if isinstance(b, int) and b <= 0:
        raise ZeroDivisionError(f"a size cannot be divided by {b}")
    if isinstance(a, int) and isinstance(b, int):
        return a % b if remainder else a // b
    exact, rest = _split_multiples(_terms(a), b)
    if rest == 0 or (isinstance(rest, int) and isinstance(b, int) and 0 <= rest < b):
        return rest if remainder else exact
    atom = Expression.of(Quotient(rest, b, remainder))
    return atom if remainder else exact + atom


def _split_multiples(terms: Mapping[Monomial, int], b: Dim) -> tuple[Dim, Dim]:
    """``(q, r)`` with ``terms == q * b + r``, moving whole multiples of a one-term ``b`` to q."""
    divisor = _terms(b)
    if len(divisor) != 1:
        return (1, 0) if _normal(terms) == b else (0, _normal(terms))
    ((by, scale),) = divisor.items()
    exact: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, factor in terms.items():
        left = list(monomial)
        try:
            for atom in by:
                left.remove(atom)
        except ValueError:
            rest[monomial] = factor
            continue
        quotient, remainder = divmod(factor, scale)
        exact[tuple(left)] = quotient
        rest[monomial] = remainder
    return _normal(exact), _normal(rest)


def _operand_text(dim: Dim) -> str:
    return f"({dim})" if isinstance(dim, Expression) and len(dim.terms) > 1 else str(dim)


def _term_text(monomial: Monomial, factor: int) -> str:
    if not monomial:
        return str(factor)
    text = " * ".join(map(str, monomial))
    if factor == 1:
        return text
    return f"-{text}" if factor == -1 else f"{factor} * {text}"
