"""What is refused as a malformed kernel."""

from __future__ import annotations

import pytest

from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, Size, const
from graphc.ir.compute.kernel import Kernel, Map, Param, Reduce, Scatter, Stage
from graphc.ir.compute.verify import verify_kernel
from graphc.ir.dims import symbol
from graphc.ir.dtypes import bool_, float32, int32, int64, uint8
from graphc.ir.errors import VerifyError
from graphc.ir.types import TensorType

N = symbol("n")
P = Param("p", TensorType(float32, (N, 2)))
ROW, COLUMN, OTHER = Axis("i", N), Axis("j", 2), Axis("k", 3)
ONE, ZERO = const(1.0, float32), const(0, int64)
READ = Load("p", (Index(ROW), Index(COLUMN)), float32)


PLACE = (Index(COLUMN),)


def map_(value: Expr, dtype=None, axes=(ROW, COLUMN)) -> Map:
    return Map("s", dtype or value.dtype, axes, value)


def reduce(combiner: str, dtype=float32, value: Expr = READ, axes=(ROW,), over=(COLUMN,)) -> Reduce:
    return Reduce("s", dtype, axes, over, combiner, value)


def scatter(combiner: str = "sum", index=PLACE, value: Expr = READ, dtype=float32) -> Scatter:
    return Scatter("s", dtype, (2,), (ROW, COLUMN), index, combiner, value)


def kernel(*stages: Stage) -> Kernel:
    return Kernel((P,), stages, tuple(s.name for s in stages), ("out of range",))


BROKEN: dict[str, tuple[Stage, str]] = {
    "axis": (
        map_(Index(OTHER)),
        r"k is no axis of the stage, in\n    map s0: i64\[i0 < n, i1 < 2\]",
    ),
    "axes": (map_(READ, axes=(ROW, COLUMN, ROW)), "an axis is used twice"),
    "buffer": (map_(Load("q", (), float32)), "q is neither a parameter nor an earlier stage"),
    "itself": (map_(Load("s", (), float32)), "s is neither a parameter nor an earlier stage"),
    "rank": (map_(Load("p", (ZERO,), float32)), "p has rank 2, not 1"),
    "load": (map_(Load("p", (ZERO, ZERO), int32)), "p is f32, not i32"),
    "index": (map_(Load("p", (ZERO, ONE), float32)), "an index is i64, not f32"),
    "where": (map_(Load("p", (ZERO, ZERO), float32, ONE)), "condition of a load is a bool"),
    "number": (map_(Const(1, float32)), "1 is no f32"),
    "range": (map_(Const(-1, uint8)), "-1 is out of the range of u8"),
    "exact": (map_(Const(0.1, float32)), "0.1 is not exact in f32"),
    "size": (map_(Size(N, int32)), "a size is i64"),
    "op": (map_(Apply("jump", (ONE,), float32)), "there is no operation jump"),
    "operands": (map_(Apply("add", (ONE, ZERO), float32)), "add does not take operands f32, i64"),
    "result": (map_(Apply("lt", (ONE, ONE), float32)), "lt gives bool, not graphc.float32"),
    "width": (map_(Apply("bitcast", (ONE,), int64)), "bitcast from f32 to i64 changes the width"),
    "guard": (map_(Guard(ONE, ONE, 0, float32)), "a guard takes a bool"),
    "guarded": (map_(Guard(const(True, bool_), ONE, 0, int64)), "has the dtype of its value"),
    "code": (map_(Guard(const(True, bool_), ONE, 1, float32)), "error 1 is none of the kernel's 1"),
    "map": (map_(READ, int32), "a i32 is given a f32"),
    "again": (Map("p", float32, (), ONE), "p is defined twice"),
    "combiner": (reduce("jump"), "there is no combiner jump"),
    "argument": (reduce("argjump", int64), "there is no combiner argjump"),
    "arg dtype": (reduce("argmax"), "argmax gives an i64, over one axis"),
    "arg axes": (reduce("argmin", int64, axes=(), over=(ROW, COLUMN)), "argmin gives an i64"),
    "logic": (reduce("any"), "any does not combine f32"),
    "sum": (reduce("sum", bool_, const(True, bool_)), "sum does not combine bool"),
    "shared axis": (reduce("sum", over=(COLUMN, ROW)), "an axis is used twice"),
    "place": (scatter(index=()), "a shape of rank 1 has 0 indices"),
    "places": (scatter(index=(ONE,)), "an index is i64, not f32"),
    "scattered": (scatter(dtype=int32), "a i32 is given a f32"),
    "arg scatter": (scatter("argmax"), "there is no combiner argmax"),
}


@pytest.mark.parametrize(("stage", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_stages(stage: Stage, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_kernel(kernel(stage))


def test_broken_names() -> None:
    with pytest.raises(VerifyError, match="p is defined twice"):
        verify_kernel(Kernel((P, P), (), ()))
    with pytest.raises(VerifyError, match="the result p is no stage"):
        verify_kernel(Kernel((P,), (), ("p",)))


def test_what_is_right() -> None:
    wide = Reduce("wide", int64, (ROW,), (COLUMN,), "argmax", READ)
    narrow = Reduce("any", bool_, (), (ROW, COLUMN), "any", Apply("lt", (READ, ONE), bool_))
    verify_kernel(kernel(map_(READ), wide, narrow))
    verify_kernel(kernel(scatter()))
