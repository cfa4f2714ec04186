"""Arithmetic of sizes against that of integers."""

from __future__ import annotations

import operator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphc.ir.dims import (
    Expression,
    evaluate,
    linear,
    product,
    provably_at_least,
    provably_unequal,
    solved,
    substitute,
    symbol,
    symbols_of,
)

NAMES = ("n", "m", "k")
OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}

leaves = st.one_of(st.integers(-6, 12), st.sampled_from(NAMES))
formulas = st.recursive(
    leaves, lambda inner: st.tuples(st.sampled_from(list(OPERATORS)), inner, inner), max_leaves=7
)
values = st.fixed_dictionaries({name: st.integers(0, 9) for name in NAMES})


def calculate(formula, sizes):
    """The formula over whatever `sizes` holds: integers or symbols.

    Divisors are made positive, as sizes are; None where a divisor is a constant below 1.
    """
    if isinstance(formula, int):
        return formula
    if isinstance(formula, str):
        return sizes[formula]
    op, left, right = formula
    a, b = calculate(left, sizes), calculate(right, sizes)
    if op in ("//", "%"):
        b = b * b + 1
    return OPERATORS[op](a, b)


SYMBOLS = {name: symbol(name) for name in NAMES}


@given(formulas, values)
def test_formulas_of_symbols_are_those_of_their_values(formula, sizes) -> None:
    dim = calculate(formula, SYMBOLS)
    assert evaluate(dim, sizes) == calculate(formula, sizes)
    assert symbols_of(dim) <= set(NAMES)


@given(formulas, formulas, values)
def test_substitution_is_evaluation(formula, inner, sizes) -> None:
    dim, part = calculate(formula, SYMBOLS), calculate(inner, SYMBOLS)
    assert substitute(dim, sizes) == evaluate(dim, sizes)
    partly = substitute(dim, {"n": part})
    known = evaluate(part, sizes)
    assume(known >= 0)
    assert evaluate(partly, sizes) == evaluate(dim, {**sizes, "n": known})


@given(formulas, formulas, formulas)
def test_equality_is_structural(a, b, c) -> None:
    x, y, z = (calculate(f, SYMBOLS) for f in (a, b, c))
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) + z == x + (y + z)
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x - x == 0
    assert x + 0 == x
    assert x * 1 == x
    assert hash(x + y) == hash(y + x)


@given(formulas, st.integers(1, 9), values)
def test_division_splits_off_multiples(formula, divisor, sizes) -> None:
    x = calculate(formula, SYMBOLS)
    assert (x * divisor) // divisor == x
    assert (x * divisor) % divisor == 0
    assert evaluate(x // divisor * divisor + x % divisor, sizes) == evaluate(x, sizes)


@given(formulas, formulas, values)
def test_what_is_proved_holds(a, b, sizes) -> None:
    x, y = calculate(a, SYMBOLS), calculate(b, SYMBOLS)
    if provably_unequal(x, y):
        assert evaluate(x, sizes) != evaluate(y, sizes)
    for bound in (-3, 0, 1, 4):
        if provably_at_least(x, bound):
            assert evaluate(x, sizes) >= bound


def test_what_is_proved() -> None:
    n, m = symbol("n"), symbol("m")
    assert provably_unequal(n, n + 1)
    assert provably_unequal(2 * n + 3, 2 * n)
    assert not provably_unequal(n, m)
    assert not provably_unequal(n, 0)
    assert provably_unequal(n + m, -1)
    assert provably_at_least(n * m + 2, 2)
    assert not provably_at_least(n - m, 0)
    assert not provably_at_least(n + 1, 2)
    assert provably_at_least(n // 3 + 1, 1)
    assert provably_at_least((n - 5) % 3, 0)
    assert not provably_at_least((n - 5) // 3, 0)
    assert not provably_unequal(-1, -1 // (n + 1))


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (symbol("n") * 2 + 1, "2 * n + 1"),
        (symbol("n") * symbol("m") - symbol("n"), "m * n - n"),
        ((symbol("n") + 1) // 2, "((n + 1) // 2)"),
        ((4 * symbol("n") + 6) // 4, "n + 1"),
        (symbol("n") * symbol("m") % symbol("n"), "0"),
        (-symbol("n"), "-n"),
    ],
)
def test_texts(dim, text) -> None:
    assert str(dim) == text


def test_a_symbol_is_no_number_while_the_graph_is_built() -> None:
    n = symbol("n")
    for use in (bool, range, [1, 2].__getitem__):
        with pytest.raises(TypeError, match="n is not known while the graph is built"):
            use(n)
    for wrong in (0, -1):
        with pytest.raises(ZeroDivisionError, match="cannot be divided by"):
            n // wrong
    with pytest.raises(TypeError):
        n + 1.5
    with pytest.raises(KeyError):
        evaluate(n, {})


def test_numbers_stay_numbers() -> None:
    n = symbol("n")
    for dim in (n - n, n * 0, (n + 3) - n, (2 * n) // n, n % n):
        assert isinstance(dim, int)
    assert product(()) == 1
    assert product((2, n, 3)) == 6 * n
    assert isinstance(product((2, n)), Expression)


def test_symbols_are_solved_for() -> None:
    n, m = symbol("n"), symbol("m")
    assert linear(3 * n + 2) == ("n", 3, 2)
    for dim in (7, n + m, n * n, n // 2, -n, 4 - n):
        assert linear(dim) is None
    assert solved([(3 * n + 2, 11), (m, 4), (m, 5)]) == {"n": 3, "m": 4}
    assert solved([(2 * n, 8), (n, 1)]) == {"n": 1}
    assert solved([(2 * n, 7), (m + 3, 1)]) == {"n": 3, "m": 0}
