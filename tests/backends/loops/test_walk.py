"""Walks over statements: what they find, and that what they rebuild means the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import I64, Block, Const, For, Let, Op, Stmt, Var
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import (
    defined,
    duplicate,
    free_variables,
    map_expressions,
    map_statements,
    statements,
    substitute,
)
from tests.backends.loops.random_functions import random_arrays, random_function

rngs = st.randoms(use_true_random=False)
ONE = Const(1, I64)


def unrolled(stmt: Stmt) -> Sequence[Stmt]:
    """A serial loop over constants, written down once for each iteration."""
    if not isinstance(stmt, For) or stmt.kind not in ("serial", "unrolled"):
        return (stmt,)
    assert isinstance(stmt.begin, Const)
    assert isinstance(stmt.end, Const)
    made: list[Stmt] = [Let(Var("s", c.var.type), c.start) for c in stmt.carried]
    state = [s.var for s in made if isinstance(s, Let)]
    for index in range(stmt.begin.value, stmt.end.value, stmt.step):
        values = dict(zip([c.var for c in stmt.carried], state, strict=True))
        after = tuple(Let(Var("s", c.var.type), c.next) for c in stmt.carried)
        copy = duplicate(stmt.body + after, {**values, stmt.index: Const(index, I64)})
        made += copy
        state = [let.var for let in copy[len(stmt.body) :] if isinstance(let, Let)]
    return (*made, *(Let(c.result, s) for c, s in zip(stmt.carried, state, strict=True)))


@given(rngs)
def test_unrolling_every_loop_changes_nothing(rng: random.Random) -> None:
    made = random_function(rng)
    flat = replace(made, body=map_statements(made.body, unrolled))
    verify_function(flat)
    assert not any(isinstance(s, For) and s.kind == "serial" for s in statements(flat.body))
    arrays = random_arrays(rng, 2)
    again = [a.copy() for a in arrays]
    assert run(made, arrays, [2]) == run(flat, again, [2])
    for a, b in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(a, b)


@given(rngs)
def test_what_does_not_change_stays_the_same_object(rng: random.Random) -> None:
    body: Block = random_function(rng).body
    assert map_expressions(body, lambda e: e) is body
    assert map_statements(body, lambda s: (s,)) is body
    assert substitute(body, {Var("other", I64): ONE}) is body


@given(rngs)
def test_a_duplicate_defines_its_own_variables(rng: random.Random) -> None:
    made = random_function(rng)
    copy = duplicate(made.body, {})
    own = {v for s in statements(made.body) for v in defined(s)}
    assert not own & {v for s in statements(copy) for v in defined(s)}
    assert free_variables(copy) == made.sizes
    verify_function(replace(made, body=copy + made.body))


def test_free_variables_in_order_of_use() -> None:
    a, b, c = (Var(name, I64) for name in "abc")
    inner = Let(c, Op("add", (b, a), I64))
    loop = For(Var("i", I64), ONE, b, 1, "serial", (inner, Let(Var("d", I64), c)))
    assert free_variables((loop,)) == (b, a)
    (changed,) = substitute((loop,), {b: ONE})
    assert free_variables((changed,)) == (a,)
    assert list(statements((loop,))) == [loop, *loop.body]
