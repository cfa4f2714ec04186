"""What is refused as malformed, and that everything else is not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.loops.ir import (
    BOOL,
    I64,
    Alloc,
    Barrier,
    Block,
    Broadcast,
    Buffer,
    Carried,
    Const,
    Expr,
    Extract,
    For,
    Function,
    Guard,
    If,
    Intrinsic,
    Lanes,
    Let,
    Load,
    Op,
    Shuffle,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.backends.loops.verify import verify_function
from graphc.backends.loops.walk import free_variables, map_expressions
from graphc.ir.dtypes import float32, int16, uint8
from graphc.ir.errors import VerifyError
from tests.backends.loops.random_functions import random_function

F32 = ValueType(float32)
F32X4, I64X4, BOOLX4 = F32.with_lanes(4), I64.with_lanes(4), BOOL.with_lanes(4)
X, Y = Buffer("x", float32), Buffer("y", float32)
N = Var("n", I64)
ZERO, ONE = Const(0, I64), Const(1.0, F32)
FOUR = Const(1.0, F32X4)
V = Var("v", I64)
SIZE = Const(4, I64)


def let(value: Expr, type_: ValueType | None = None) -> Let:
    return Let(Var("r", type_ or value.type), value)


def loop(kind: str, *body: Stmt, **changes: object) -> For:
    made = For(Var(f"{kind}_i", I64), ZERO, Const(4, I64), 1, kind, body)
    return replace(made, **changes)  # type: ignore[arg-type]


def carried(start: Expr, after: Expr) -> tuple[Carried, ...]:
    return (Carried(Var("a", start.type), start, after, Var("r", start.type)),)


def alloc(space: str = "thread", size: Expr = SIZE, alignment: int = 4) -> Alloc:
    return Alloc(Buffer("b", float32, space, size, alignment))


def function(*body: Stmt, **changes: object) -> Function:
    return replace(Function("f", (X, Y), (N,), body, guards=2), **changes)  # type: ignore[arg-type]


INNER = Var("inner", I64)
BROKEN: dict[str, tuple[Block, str]] = {
    "undefined": ((let(V),), "v is used where it is not defined, in\n    r: i64 = v"),
    "twice": ((Let(V, ZERO), Let(V, ZERO)), "v is defined twice"),
    "size again": ((Let(N, ZERO),), "n is defined twice"),
    "out of its loop": ((loop("serial", Let(INNER, ZERO)), let(INNER)), "inner is used where"),
    "out of its branch": ((If(Const(True, BOOL), (Let(INNER, ZERO),)), let(INNER)), "inner is"),
    "index after": ((one := loop("serial"), let(one.index)), "serial_i is used where"),
    "unknown buffer": ((Store(Buffer("z", float32), ZERO, ONE),), "buffer z is used where"),
    "buffer after": ((loop("serial", own := alloc()), Store(own.buffer, ZERO, ONE)), "buffer b is"),
    "let type": ((let(ZERO, F32),), "a f32 is given a i64"),
    "op": ((let(Op("jump", (), I64)),), "there is no operation jump"),
    "operands": ((let(Op("add", (ZERO, ONE), I64)),), "add does not take operands i64, f32"),
    "arity": ((let(Op("add", (ZERO,), I64)),), "add does not take operands i64"),
    "result": ((let(Op("add", (ZERO, ZERO), F32)),), "add gives i64, not f32"),
    "bits of floats": ((let(Op("and", (ONE, ONE), F32)),), "and does not take operands f32, f32"),
    "lanes": ((let(Op("add", (ONE, FOUR), F32X4)),), "add to f32x4 takes operands f32, f32x4"),
    "bitcast": ((let(Op("bitcast", (ONE,), I64)),), "changes the width"),
    "no lanes": ((let(Const(1.0, F32.with_lanes(0))),), "a value has 0 lanes"),
    "kind of number": ((let(Const(1, F32)),), "1 is no f32"),
    "range": ((let(Const(256, ValueType(uint8))),), "256 is out of the range of u8"),
    "exactness": ((let(Const(0.1, F32)),), "0.1 is not exact in f32"),
    "overflow": ((let(Const(1e300, F32)),), "is not exact in f32"),
    "load dtype": ((let(Load(X, ZERO, I64)),), "a f32 is read as i64"),
    "offset": ((let(Load(X, ONE, F32)),), "the offset of f32 is a f32"),
    "offsets": ((let(Load(X, Lanes(I64X4), F32.with_lanes(8))),), "the offset of f32x8 is a i64x4"),
    "mask": ((let(Load(X, ZERO, F32X4, Const(True, BOOL))),), "the mask of f32x4 is a bool"),
    "broadcast": ((let(Broadcast(ONE, I64X4)),), "f32 is broadcast to i64x4"),
    "lanes dtype": ((let(Lanes(F32X4)),), "lanes are i64, not f32"),
    "shuffle types": ((let(Shuffle(ONE, FOUR, (0,), F32)),), "f32 is shuffled out of f32 and"),
    "shuffle lane": ((let(Shuffle(FOUR, FOUR, (8,), F32)),), r"a lane of \[8\] is not in two"),
    "extract": ((let(Extract(FOUR, 0, I64)),), "i64 is extracted from f32x4"),
    "extract lane": ((let(Extract(FOUR, 4, F32)),), "f32x4 has no lane 4"),
    "intrinsic": ((let(Intrinsic("jump", (), I64)),), "there is no intrinsic jump"),
    "warp": ((let(Intrinsic("warp_shuffle_xor", (ONE, ONE), F32)),), "takes operands f32, f32"),
    "store dtype": ((Store(X, ZERO, ZERO),), r"a f32 is set to a i64, in\n    x\[0\] = 0"),
    "store mask": ((Store(X, ZERO, FOUR, Const(True, BOOL)),), "the mask of f32x4 is a bool"),
    "kind": ((loop("sideways"),), "there are no sideways loops"),
    "bounds": ((loop("serial", end=ONE),), "a loop counts in i64, not i64, i64, f32"),
    "step": ((loop("serial", step=0),), "a step is a positive number"),
    "carry": ((loop("pooled", carried=carried(ONE, ONE)),), "a pooled loop carries no values"),
    "carry type": ((loop("serial", carried=carried(ONE, ZERO)),), "in types of several kinds"),
    "start": ((loop("serial", carried=carried(V, ZERO)),), "v is used where"),
    "pool in pool": ((loop("pooled", loop("serial", loop("pooled"))),), "pooled loop stands in a"),
    "grid in block": ((loop("thread", loop("block")),), "a block loop stands in a thread loop"),
    "warp in thread": ((loop("thread", loop("warp")),), "a warp loop stands in a thread loop"),
    "from one": ((loop("block", begin=Const(1, I64)),), "a block loop counts from 0 by 1"),
    "threads": ((loop("thread", end=N),), "the extent of a thread loop is a constant"),
    "condition": ((If(ZERO, ()),), "a condition is a bool, not a i64"),
    "memory": ((alloc("global"),), "nothing is allocated in global memory"),
    "size": ((alloc(size=N),), "the size of b is no positive constant"),
    "empty": ((alloc(size=ZERO),), "the size of b is no positive constant"),
    "alignment": ((alloc(alignment=12),), "b is aligned to 12, no power of two"),
    "again": ((own, own), "b is declared twice"),
    "shared": ((loop("pooled", alloc("shared")),), "tasks have no shared memory"),
    "barrier": ((loop("pooled", Barrier()),), "tasks have no barriers"),
    "guard": ((Guard(ZERO, 0, ZERO),), "a guard takes a bool, not a i64"),
    "position": ((Guard(Const(True, BOOLX4), 0, ZERO),), "position is i64 for each lane, not i64"),
    "code": ((Guard(Const(True, BOOL), 2, ZERO),), "error 2 is none of the function's 2"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_bodies(body: Block, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_function(function(*body))


def test_the_innermost_statement_is_shown() -> None:
    body = loop("pooled", If(Const(True, BOOL), (loop("serial", Store(X, V, ONE)),)))
    with pytest.raises(VerifyError, match=r"f: v is used where .*, in\n    x\[v\] = 1.0:f32$"):
        verify_function(function(body))


PACKED = Buffer("w", float32, "packed", Op("add", (N, Const(1, I64)), I64))
PARAMETERS = {
    "space": ({"buffers": (replace(X, space="shared"),)}, "parameter x is shared"),
    "sized": ({"buffers": (replace(X, size=ZERO),)}, "parameter x has a size"),
    "twice": ({"buffers": (X, X)}, "x is declared twice"),
    "size": ({"sizes": (Var("n", F32),)}, "size n is f32, not i64"),
    "workspace": ({"workspace": (replace(PACKED, space="thread"),)}, "workspace w is thread"),
    "unsized": ({"workspace": (replace(PACKED, size=None),)}, "workspace w has no i64 size"),
    "unknown": ({"workspace": (replace(PACKED, size=V),)}, "v is used where"),
    "data": ({"workspace": (replace(PACKED, size=Extract(Lanes(I64X4), 0, I64)),)}, "not computed"),
    "in place": ({"in_place": ((1, 1),)}, "names no two buffers"),
    "in nothing": ({"in_place": ((1, 2),)}, "names no two buffers"),
    "in others": (
        {"in_place": ((1, 0),), "buffers": (X, Buffer("z", ValueType(uint8).dtype))},
        "has elements of two sizes",
    ),
}


@pytest.mark.parametrize(("changes", "message"), PARAMETERS.values(), ids=PARAMETERS)
def test_broken_parameters(changes: dict[str, object], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_function(function(**changes))


def test_what_is_right() -> None:
    own = alloc("register")
    nested = loop("block", loop("block", loop("warp", loop("thread", Barrier())), end=N))
    stores = (Store(own.buffer, ZERO, FOUR), Store(PACKED, N, Load(X, Lanes(I64X4), F32X4)))
    body = (own, *stores, nested, loop("pooled", loop("vector", loop("unrolled"))))
    verify_function(function(*body, workspace=(PACKED,), in_place=((1, 0),)))


@given(st.randoms(use_true_random=False))
def test_random_functions_are_right_until_one_value_changes_its_type(rng: random.Random) -> None:
    made = random_function(rng)
    verify_function(made)
    assert free_variables(made.body) == made.sizes
    count = 0

    def spoil(expr: Expr) -> Expr:
        nonlocal count
        count += 1
        wrong = Const(1, ValueType(int16, 3))  # which no buffer holds and no value is
        return wrong if count == at and not isinstance(expr, Const) else expr

    at = -1
    map_expressions(made.body, spoil)
    at, count = rng.randint(1, count), 0
    spoiled = map_expressions(made.body, spoil)
    if spoiled is made.body:
        return
    with pytest.raises(VerifyError):
        verify_function(replace(made, body=spoiled))
