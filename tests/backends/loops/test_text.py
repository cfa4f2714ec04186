"""Loops as text: canonical, exact, and read back as the same function."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import (
    I64,
    Buffer,
    Const,
    Expr,
    Function,
    If,
    Intrinsic,
    Let,
    Op,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.parse import parse_function
from graphc.backends.loops.text import print_function
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import duplicate
from graphc.ir.dtypes import DTYPES, bfloat16, bool_, float16, float32, float64, int32
from graphc.ir.errors import ParseError
from tests.backends.loops.random_functions import random_arrays, random_function

F32 = ValueType(float32)
rngs = st.randoms(use_true_random=False)


def saxpy() -> Function:
    x, y = Buffer("x", float32, alignment=64), Buffer("y", float32)
    n = Var("n", I64)
    packed = Buffer("packed", float32, "packed", build.mul(n, 4), 64)
    emit = Emitter()
    with emit.loop(0, n, 16, "pooled") as loop:
        part = emit.load(x, loop.index, 16)
        ok = emit.op("ge", part, build.const(0, part.type))
        emit.store(packed, loop.index, part, ok)
        with emit.loop(0, 4, carry=[build.const(0, F32)]) as inner:
            inner.carry(Op("add", (inner.values[0], build.extract(part, 1)), F32))
        emit.guard(emit.op("gt", inner.results[0], build.const(0, F32)), 0, loop.index)
        total = Op("fma", (part, part, emit.wide(inner.results[0], 16)), part.type)
        emit.store(y, loop.index, total)
    return Function("saxpy", (x, y), (n,), emit.block, (packed,), ((1, 0),), 1)


SAXPY = """\
function f(p0: f32 aligned 64, p1: f32 reuses p0; n0) guards 1 {
    workspace w0: f32[n0 * 4] aligned 64
    pooled i0 in 0..n0 step 16 {
        v0: f32x16 = p0[i0 +: 16]
        v1: boolx16 = ge(v0, 0.0:f32x16)
        w0[i0 +: 16 if v1] = v0
        serial i1 in 0..4 carry (a0: f32 = 0.0:f32) {
            next (a0 + extract(v0, 1))
        } -> (r0)
        v2: bool = gt(r0, 0.0:f32)
        guard v2 else 0 at i0
        v3: f32x16 = broadcast(r0, 16)
        p1[i0 +: 16] = fma(v0, v0, v3)
    }
}
"""


def test_the_text_of_a_function() -> None:
    assert print_function(saxpy()) == SAXPY
    assert print_function(parse_function(SAXPY)) == SAXPY
    verify_function(parse_function(SAXPY))


def test_the_name_is_given() -> None:
    text = print_function(saxpy(), "saxpy")
    assert text == SAXPY.replace("function f(", "function saxpy(")
    assert parse_function(text).name == "saxpy"


def expression(value: Expr) -> str:
    """The lines that store `value`."""
    function = Function("f", (Buffer("y", value.type.dtype),), (), ())
    body = (Store(function.buffers[0], Const(0, I64), value),)
    text = print_function(replace(function, body=body))
    assert print_function(parse_function(text)) == text
    return "\n".join(line.strip() for line in text.splitlines()[1:-1])


def test_shared_values_are_printed_once() -> None:
    a = Op("add", (Const(1, I64), Const(2, I64)), I64)
    assert expression(Op("mul", (a, a), I64)) == "t0 = 1 + 2\np0[0] = t0 * t0"


def test_a_value_shared_by_two_statements_is_evaluated_in_each() -> None:
    x = Buffer("x", float32)
    value = build.op("add", Var("?", F32), build.const(1, F32))
    body = (Let(value.args[0], build.const(2, F32)), Store(x, Const(0, I64), value))
    text = print_function(Function("f", (x,), (), (*body, body[1])))
    assert text.count("p0[0] = v0 + 1.0:f32\n") == 2


def test_precedence_keeps_the_structure() -> None:
    a, b, c = (Const(i, I64) for i in (1, -2, 3))

    def op(name: str, *args: Expr) -> Op:
        return Op(name, args, I64)

    assert expression(op("sub", op("sub", a, b), c)).endswith("= 1 - -2 - 3")
    assert expression(op("sub", a, op("sub", b, c))).endswith("= 1 - (-2 - 3)")
    assert expression(op("mul", op("add", a, b), c)).endswith("= (1 + -2) * 3")
    assert expression(op("mul", a, op("mul", b, c))).endswith("= 1 * (-2 * 3)")
    assert expression(op("min", a, op("neg", b))).endswith("= min(1, neg(-2))")


def test_intrinsics() -> None:
    value = Intrinsic("dot", (Const(1, ValueType(int32, 8)),), ValueType(int32, 8))
    assert expression(value) == "p0[0 +: 8] = @dot(1:i32x8; i32x8)"


def test_a_deep_chain_prints_and_parses_without_recursion() -> None:
    value: Expr = Const(1, I64)
    for _ in range(20_000):
        value = Op("neg", (value,), I64)
    assert expression(value).count("neg") == 20_000


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_are_exact(dtype) -> None:
    if dtype.is_float:
        tiny = {float16: 2**-24, bfloat16: 2**-133, float32: 2**-149, float64: 2**-1074}[dtype]
        values = [0.0, -0.0, tiny, dtype.max, dtype.min, float("inf"), float("-inf"), float("nan")]
        values += [dtype.numpy.type(1 / 3).item()]
    else:
        values = [dtype.min, dtype.max, dtype.numpy.type(1).item()]
    for value in values:
        for lanes in (1, 8):
            body = (Let(Var("v", ValueType(dtype, lanes)), Const(value, ValueType(dtype, lanes))),)
            parsed = parse_function(print_function(Function("f", (), (), body))).body[0]
            assert parsed.value.type == ValueType(dtype, lanes)
            assert type(parsed.value.value) is type(value)
            assert repr(parsed.value.value) == repr(value)


def test_the_bits_of_a_nan_are_kept() -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    text = expression(Const(odd, ValueType(float64)))
    assert text == "p0[0] = nan(0xfff8000000000123):f64"
    body = parse_function("function f(p0: f64) {\n    " + text + "\n}\n").body
    assert struct.pack("<d", body[0].value.value) == struct.pack("<d", odd)


@given(rngs)
def test_random_functions_survive_the_text(rng: random.Random) -> None:
    function = random_function(rng, 25)
    text = print_function(function)
    parsed = parse_function(text)
    assert print_function(parsed) == text
    verify_function(parsed)
    arrays = random_arrays(rng, 3)
    again = [a.copy() for a in arrays]
    assert run(function, arrays, [3]) == run(parsed, again, [3])
    for a, b in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(a, b)


@given(rngs)
def test_equal_structure_means_equal_text(rng: random.Random) -> None:
    function = random_function(rng)
    text = print_function(function)
    assert print_function(replace(function, name="other")) == text
    assert print_function(replace(function, body=duplicate(function.body, {}))) == text


def test_what_differs_prints_differently() -> None:
    texts = [SAXPY]
    for old, new in (
        ("step 16", "step 8"),
        ("aligned 64,", "aligned 32,"),
        ("pooled", "serial"),
        (" reuses p0", ""),
        ("guards 1", "guards 2"),
        ("fma(v0, v0, v3)", "fma(v0, v3, v0)"),
        ("extract(v0, 1)", "extract(v0, 2)"),
        (" if v1", ""),
        ("0.0:f32x16", "-0.0:f32x16"),
    ):
        changed = SAXPY.replace(old, new)
        assert changed != SAXPY
        texts.append(print_function(parse_function(changed)))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the text ends too early"),
        ("function f(p0: f32) {\n", "line 2: the text ends too early"),
        ("function f() {\n}\n}\n", "line 3: the function has ended"),
        ("function f() {\n    v0: i64 = v1\n}\n", "line 2: expected a number, not 'v1'"),
        ("function f() {\n    v0: i64 = 1 1\n}\n", "line 2: nothing should follow, but '1' does"),
        ("function f() {\n    v0: i64 = 1\n    v0: i64 = 1\n}\n", "line 3: 'v0' cannot be defined"),
        ("function f() {\n    v0: i64 = 1.5\n}\n", "line 2: 1.5 is no i64"),
        ("function f() {\n    v0: f33 = 1\n}\n", "line 2: expected a type, not 'f33'"),
        ("function f() {\n    v0: i64 = add(1)\n}\n", "line 2: add does not take operands"),
        ("function f() {\n    v0: i64 = @jump(1; i64)\n}\n", "there is no intrinsic 'jump'"),
        ("function f() {\n    p1[0] = 1\n}\n", "line 2: there is no buffer p1"),
        ("function f() {\n    v0: i64 = " + "neg(" * 999 + "\n}\n", "line 2: nested too deeply"),
        ("function f() {\n" + "if true {\n" * 999 + "}\n", "nested too deeply"),
        ("function f() {\n    serial i0 in 0..3 {\n    next (1)\n    }\n}\n", "carries 0 values"),
    ],
)
def test_texts_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_function(text)
    assert message in str(caught.value)


SPOILERS = (
    "", "(", ")", "]", "}", "\n", "-", "1", "9" * 5000, "v0", "i0", "x99999999", "nan", "e400",
    "\x00", "²", "p9", "if",
)  # fmt: skip


@given(st.data())
def test_no_text_makes_the_reader_fail_otherwise(data: st.DataObject) -> None:
    text = SAXPY
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 8))
        new = data.draw(st.sampled_from(SPOILERS))
        text = text[:at] + new + text[at + cut :]
    try:
        parsed = parse_function(text)
    except ParseError as error:
        assert str(error).startswith("line ")  # noqa: PT017, a text may still be one
    else:
        again = print_function(parsed)
        assert print_function(parse_function(again)) == again


def test_bools_and_branches() -> None:
    y = Buffer("y", bool_)
    store = Store(y, Const(0, I64), Const(True, ValueType(bool_, 4)))
    function = Function("f", (y,), (), (If(Const(False, ValueType(bool_)), (store,), (store,)),))
    text = print_function(function)
    assert "if false {\n        p0[0 +: 4] = true:boolx4\n    } else {\n" in text
    assert print_function(parse_function(text)) == text
