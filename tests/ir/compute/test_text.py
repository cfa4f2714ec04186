"""Kernels as text: canonical, exact, and read back as the same kernel."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.ir.compute.builder import KernelBuilder
from graphc.ir.compute.expr import Const, Expr, apply, const, size
from graphc.ir.compute.interpret import run
from graphc.ir.compute.kernel import Kernel, Map, Param
from graphc.ir.compute.parse import parse_kernel
from graphc.ir.compute.text import canonical, print_kernel, rename_symbols
from graphc.ir.compute.verify import verify_kernel
from graphc.ir.dims import symbol
from graphc.ir.dtypes import float32, float64, int64
from graphc.ir.errors import ParseError
from graphc.ir.types import TensorType
from tests.ir.compute.random_kernels import random_inputs, random_kernel, random_sizes

rngs = st.randoms(use_true_random=False)

TEXT = """\
kernel f(p0: f32[n, 4], p1: i64[m]) {
    error 0 "index out of \\"range\\""
    reduce sum s0: f32[i0 < n] over [k0 < 4] = p0[i0, k0]
    map s1: f32[i0 < m]
        t0 = p1[i0]
        = s0[guard(0, and(ge(t0, 0), lt(t0, size(n))), t0)]
    scatter max s2: f32[m, 4 * n + 1] over [i0 < m, i1 < 4] = p0[0, i1 if lt(i1, 2)] * 0.5:f32 at [i0, i1]
    return s1, s2
}
"""  # noqa: E501


def lookup() -> Kernel:
    n, m = symbol("n"), symbol("m")
    types = [TensorType(float32, (n, 4)), TensorType(int64, (m,))]
    build = KernelBuilder(types, [], {})
    x, where = build.inputs
    sums = build.reduce("sum", (n,), (4,), lambda i, k: x[i, k])
    found = build.map((m,), lambda i: sums[build.in_range(where[i], n, 'index out of "range"')])
    zero = const(0, int64)
    spread = build.scatter(
        "max", (m, 4 * n + 1), (m, 4), lambda i, j: (i, j),
        lambda _, j: x.load((zero, j), j < 2) * 0.5,
    )  # fmt: skip
    build.outputs = (found.type, spread.type)
    build.result(found, spread)
    return build.finish()


def test_the_text_of_a_kernel() -> None:
    assert print_kernel(lookup()) == TEXT
    parsed = parse_kernel(TEXT)
    verify_kernel(parsed)
    assert print_kernel(parsed, "g") == TEXT.replace("kernel f(", "kernel g(")


@given(rngs)
def test_random_kernels_survive_the_text(rng: random.Random) -> None:
    kernel = random_kernel(rng)
    text = print_kernel(kernel)
    parsed = parse_kernel(text)
    verify_kernel(parsed)
    assert print_kernel(parsed) == text
    sizes = random_sizes(rng)
    arrays = random_inputs(rng, kernel, sizes)
    found, error = run(kernel, arrays, sizes)
    again, error_again = run(parsed, arrays, sizes)
    assert error == error_again
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)


@given(rngs)
def test_canonical_kernels_forget_the_names_of_sizes(rng: random.Random) -> None:
    kernel = random_kernel(rng)
    text = print_kernel(canonical(kernel)[0])
    other = {"rows": "zeta", "columns": "other"}
    renamed, order = canonical(rename_symbols(kernel, {k: symbol(v) for k, v in other.items()}))
    assert print_kernel(renamed) == text
    assert list(order) == [other[name] for name in canonical(kernel)[1]]
    sizes = random_sizes(rng)
    arrays = random_inputs(rng, kernel, sizes)
    names = canonical(kernel)[1]
    numbered = {f"n{i}": sizes[name] for i, name in enumerate(names)}
    verify_kernel(canonical(kernel)[0])
    found, error = run(kernel, arrays, sizes)
    again, error_again = run(canonical(kernel)[0], arrays, numbered)
    assert error == error_again
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_symbols_are_numbered_in_order_of_appearance() -> None:
    kernel, order = canonical(lookup())
    assert order == ("n", "m")
    assert "f32[n1, 4 * n0 + 1]" in print_kernel(kernel)


def test_buffers_and_axes_may_be_called_anything() -> None:
    kernel = lookup()
    names = {"p0": "left", "p1": "right"}
    params = tuple(Param(names[p.name], p.type) for p in kernel.params)
    changed = print_kernel(replace(kernel, params=params))
    assert changed.startswith("kernel f(p0: f32[n, 4], p1: i64[m]) {")


def test_a_deep_chain_prints_and_parses_without_recursion() -> None:
    value: Expr = const(1, int64)
    for _ in range(20_000):
        value = apply("neg", value)
    text = print_kernel(Kernel((), (Map("s", int64, (), value),), ("s",)))
    assert text.count("neg") == 20_000
    assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize(
    "number", [0.0, -0.0, 0.1, float("inf"), float("-inf"), float("nan"), 5e-324]
)
def test_numbers_are_exact(number: float) -> None:
    kernel = Kernel((), (Map("s", float64, (), Const(number, float64)),), ("s",))
    (stage,) = parse_kernel(print_kernel(kernel)).stages
    assert repr(stage.value.value) == repr(number)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the text ends too early"),
        ("kernel f() {\n", "line 2: the text ends too early"),
        ("kernel f() {\n    return \n}\n\nx", "line 4: the kernel has ended"),
        ("kernel f() {\n    jump s0\n", "line 2: expected a stage, not 'jump'"),
        ("kernel f() {\n    map s0: i64[i0 < 2, i0 < 3] = 1\n", "line 2: i0 is defined twice"),
        ("kernel f() {\n    map s0: i64[i0 < -n] = j0\n", "line 2: expected a number, not 'j0'"),
        ("kernel f() {\n    map s0: i64[] = 1:f32\n", "line 2: 1 is no f32"),
        ("kernel f() {\n    map s0: i64[] = add(1, true)\n", "line 2: add does not take operands"),
        ("kernel f() {\n    map s0: i64[i0 < (n // 0)] = 1\n", "line 2: (n // 0) divides by less"),
        ("kernel f() {\n    map s0: i64[i0 < (4 // 2)] = 1\n", "not in its lowest form"),
        ("kernel f() {\n    map s0: i64[i0 < n + n] = 1\n", "line 2: a size has two terms"),
        ("kernel f() {\n    reduce jump s0: i64[]\n", "line 2: there is no combiner 'jump'"),
        ("kernel f() {\n    map s0: i64[]\n    x = 1\n", "line 3: expected a value, not 'x'"),
        ('kernel f() {\n    error 1 "x"\n', "line 2: errors are numbered from 0"),
        ("kernel f() {\n    error 0 x\n", "line 2: a rule is a string"),
        ("kernel f(p0: f32[2], p0: f32[2]) {\n", "line 1: p0 is defined twice"),
    ],
)
def test_texts_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_kernel(text)
    assert message in str(caught.value)


SPOILERS = (
    "", "(", ")", "]", "[", "}", "\n", "-", "1", "9" * 5000, "p0", "i0", "n", "nan", "e400", "//",
    "\x00", "²", " if ", '"',
)  # fmt: skip


@given(st.data())
def test_no_text_makes_the_reader_fail_otherwise(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 8))
        text = text[:at] + data.draw(st.sampled_from(SPOILERS)) + text[at + cut :]
    try:
        parsed = parse_kernel(text)
    except ParseError as error:
        assert str(error).startswith("line ")  # noqa: PT017, a text may still be one
    else:
        assert isinstance(parsed, Kernel)


def test_sizes_in_expressions() -> None:
    n = symbol("n")
    kernel = Kernel((), (Map("s", int64, (), size(n * n - (n + 1) // 2)),), ("s",))
    text = print_kernel(kernel)
    assert "= size(n * n - ((n + 1) // 2))" in text
    assert print_kernel(parse_kernel(text)) == text
