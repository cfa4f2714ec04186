"""Cases of ops that move elements about."""

import numpy as np

from graphc.ir.dtypes import bool_, float32, float64, int32, int64
from graphc.ir.op import OPS
from tests.ops.case import Case, cases_of, ordered, over_dtypes, values


@cases_of("reshape")
def reshape(op, rng):
    shapes = [
        ((), (1, 1)), ((6,), (2, 3)), ((2, 3), (-1,)), ((2, 3, 4), (6, 4)), ((2, 3, 4), (4, 6)),
        ((3, 4), (3, 1, 4)), ((3, 1, 4), (3, 4)), ((1, 6), (2, 3)), ((0, 3), (3, 0)), ((1,), ()),
        ((2, 3, 4), (2, -1)), ((4, 6), (2, 2, 3, 2)), ((0, 4), (0, 2, 2)), ((5, 6, 2), (5, 3, 4)),
    ]  # fmt: skip
    yield from over_dtypes(op, rng, [(a, {"shape": b}) for a, b in shapes])


@cases_of("transpose")
def transpose(op, rng):
    perms = [((), ()), ((3,), (0,)), ((3, 5), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((0, 3), (1, 0)),
             ((2, 1, 3, 4), (0, 2, 1, 3))]  # fmt: skip
    yield from over_dtypes(op, rng, [(shape, {"perm": perm}) for shape, perm in perms])


@cases_of("broadcast_to")
def broadcast_to(op, rng):
    shapes = [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1,), (0,)), ((2, 3), (2, 3)),
              ((3, 1), (2, 3, 4)), ((), ())]  # fmt: skip
    yield from over_dtypes(op, rng, [(a, {"shape": b}) for a, b in shapes])


@cases_of("size")
def size(op, rng):
    for dtype in (int32, int64, float32, float64):
        for shape, axes in [((), ()), ((2, 3), (0, 1)), ((2, 3), (1,)), ((0, 3), (0,))]:
            yield Case(op, (values(rng, float32, shape),), {"axes": axes, "dtype": dtype})


@cases_of("extent")
def extent(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for value in (0, 7, (), (3, 0, 5)):
            yield Case(op, (), {"value": value, "dtype": dtype})


@cases_of("shape")
def shape_of(op, rng):
    for dtype in (int32, int64):
        for shape in [(), (2,), (4, 0, 3), (5, 6)]:
            yield Case(op, (values(rng, float32, shape),), {"dtype": dtype})


@cases_of("concat")
def concat(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for shapes, axis in [
            ([(3,)], 0), ([(2, 3), (4, 3)], 0), ([(2, 3), (2, 1), (2, 0), (2, 2)], -1),
            ([(0, 2), (0, 2)], 0), ([(2, 1, 3), (2, 5, 3)], 1),
        ]:  # fmt: skip
            inputs = tuple(values(rng, dtype, shape) for shape in shapes)
            yield Case(op, inputs, {"axis": axis}, smooth=dtype is float64)


@cases_of("split")
def split(op, rng):
    table = [((5,), 0, (5,)), ((6, 2), 0, (1, 2, 3)), ((2, 6), -1, (3, 0, 3)),
             ((2, 4, 3), 1, (2, 2)), ((0, 2), 0, (0, 0))]  # fmt: skip
    rows = [(shape, {"axis": axis, "sizes": sizes}) for shape, axis, sizes in table]
    yield from over_dtypes(op, rng, rows)


@cases_of("pad")
def pad(op, rng):
    table = [((), (), ()), ((3,), (1,), (2,)), ((2, 3), (0, 2), (1, 0)), ((0, 2), (1, 0), (1, 0)),
             ((2, 3), (0, 0), (0, 0))]  # fmt: skip
    rows = [(shape, {"low": low, "high": high, "value": value})
            for shape, low, high in table for value in (0, 1)]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


SLICES = [
    # shape, starts, sizes, strides
    ((), (), (), ()),
    ((7,), (2,), (3,), (1,)),
    ((7,), (0,), (7,), (1,)),
    ((7,), (-1,), (7,), (-1,)),
    ((7,), (1,), (3,), (2,)),
    ((7,), (-2,), (2,), (-3,)),
    ((7,), (7,), (0,), (1,)),
    ((3, 5), (1, 0), (1, 5), (1, 1)),
    ((3, 5), (-1, 1), (2, 2), (-2, 3)),
    ((0, 4), (0, 1), (0, 2), (1, 2)),
]


@cases_of("strided_slice")
def strided_slice(op, rng):
    rows = [(shape, {"starts": starts, "sizes": sizes, "strides": strides})
            for shape, starts, sizes, strides in SLICES]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


@cases_of("strided_slice_grad")
def strided_slice_grad(op, rng):
    rows = [(sizes, {"shape": shape, "starts": starts, "strides": strides})
            for shape, starts, sizes, strides in SLICES]  # fmt: skip
    yield from over_dtypes(op, rng, rows)


GATHERS = [
    # params, indices, axis
    ((5,), (), 0), ((5,), (3,), 0), ((5, 2), (3, 2), 0), ((2, 5, 3), (4,), 1), ((2, 5), (3,), -1),
    ((5, 2), (0,), 0), ((5, 0), (3,), 0),
]  # fmt: skip


@cases_of("gather")
def gather(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for index in (int32, int64):
            for shape, count, axis in GATHERS:
                at = np.asarray(rng.integers(0, 5, count), index.numpy)
                params = values(rng, dtype, shape)
                yield Case(op, (params, at), {"axis": axis}, smooth=dtype is float64)
    for wrong in (-1, 5, 2**31 - 1):
        inputs = (values(rng, float32, (5, 2)), np.array([1, wrong], np.int32))
        yield Case(op, inputs, {"axis": 0}, fails="index out of range")
    yield Case(op, (values(rng, float32, (0,)), np.array([0])), {"axis": 0},
               fails="index out of range")  # fmt: skip
    yield Case(op, (values(rng, float32, (5, 0)), np.array([7])), {"axis": 0})


@cases_of("scatter_add")
def scatter_add(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for index in (int32, int64):
            for shape, count, axis in GATHERS:
                at = np.asarray(rng.integers(0, 5, count), index.numpy)
                place = axis % len(shape)
                updates = values(rng, dtype, (*shape[:place], *count, *shape[place + 1 :]))
                attrs = {"axis": axis, "shape": shape}
                yield Case(op, (at, updates), attrs, smooth=dtype is float64)
    yield Case(op, (np.array([1, -1]), values(rng, float32, (2, 3))), {"axis": 0, "shape": (5, 3)},
               fails="index out of range")  # fmt: skip


@cases_of("one_hot")
def one_hot(op, rng):
    for index in (int32, int64):
        for dtype, on, off in [(float32, 1, 0), (float64, 0.9, 0.1), (int32, 5, -5),
                               (int64, 1, 0), (bool_, True, False)]:  # fmt: skip
            for shape, axis in [((), -1), ((3,), -1), ((3,), 0), ((2, 3), 1), ((0,), 0)]:
                indices = np.asarray(rng.integers(-2, 7, shape), index.numpy)
                attrs = {"depth": 5, "on": on, "off": off, "axis": axis, "dtype": dtype}
                yield Case(op, (indices,), attrs)
    yield Case(op, (np.array([2**40, 1]),), {"depth": 2, "on": 1, "off": 0, "axis": -1,
                                             "dtype": float32})  # fmt: skip
