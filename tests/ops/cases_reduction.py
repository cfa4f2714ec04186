"""Cases of reductions, matrix products, softmax and its losses, and random numbers."""

import numpy as np

from graphc.ir.dtypes import float32, float64, int32, int64
from graphc.ir.op import OPS
from graphc.ops.cross_entropy import LABEL_RANGE
from tests.ops.case import SPECIAL, Case, cases_of, ordered, over_dtypes, positive, values

REDUCED = [
    ((), ()), ((7,), (0,)), ((3, 5), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)), ((3, 5), ()),
    ((2, 3, 4), (0, 2)), ((2, 3, 4), (1,)), ((1, 70, 1), (1,)), ((0, 3), (0,)), ((3, 0), (0,)),
    ((33, 65), (1,)), ((130, 517), (0,)), ((130, 517), (0, 1)),
]  # fmt: skip


@cases_of("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all")
def reductions(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for shape, axes in REDUCED:
            for keepdims in (False, True):
                attrs = {"axes": axes, "keepdims": keepdims}
                smooth = dtype is float64 and 0 not in shape and np.prod(shape) < 100
                x = values(rng, dtype, shape)
                if op == "reduce_prod" and dtype.is_float and x.size > 100:
                    x = 1 + x / 100  # a product that stays far from under- and overflow
                yield Case(op, (x,), attrs, smooth=smooth)
        special = np.array(SPECIAL[dtype], dtype.numpy)
        yield Case(op, (special,), {"axes": (0,), "keepdims": False})
    if op == "reduce_prod":
        for zeros in ([0], [0, 3], [0, 3, 4]):
            x = values(rng, float64, (2, 5))
            x[1, zeros] = 0
            for axes in ((1,), (0, 1)):
                yield Case(op, (x,), {"axes": axes, "keepdims": False}, smooth=True)


@cases_of("argmax", "argmin")
def extremes(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for shape, axis in [((7,), 0), ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((0, 3), 1)]:
            yield Case(op, (values(rng, dtype, shape),), {"axis": axis})
        ties = np.array([[1, 3, 3, 0, 0], [2, 2, 2, 2, 2]], dtype.numpy)
        yield Case(op, (ties,), {"axis": 1})
        yield Case(op, (np.array(SPECIAL[dtype], dtype.numpy),), {"axis": 0})


PRODUCTS = [
    ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((5, 0), (0, 2)), ((0, 3), (3, 2)), ((17, 33), (33, 9)),
    ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
    ((65, 130), (130, 70)),
]  # fmt: skip


@cases_of("matmul")
def matmul(op, rng):
    for dtype in ordered(OPS[op].dtypes):
        for a, b in PRODUCTS:
            for ta in (False, True):
                for tb in (False, True):
                    x = values(rng, dtype, a)
                    y = values(rng, dtype, b)
                    x = np.ascontiguousarray(np.swapaxes(x, -1, -2)) if ta else x
                    y = np.ascontiguousarray(np.swapaxes(y, -1, -2)) if tb else y
                    attrs = {"transpose_a": ta, "transpose_b": tb}
                    yield Case(op, (x, y), attrs, smooth=dtype is float64 and x.size < 100)


@cases_of("softmax", "log_softmax")
def softmax(op, rng):
    table = [((5,), 0), ((3, 5), -1), ((3, 5), 0), ((2, 3, 4), 1), ((0, 3), 1), ((33, 70), 1)]
    rows = [(shape, {"axis": axis}) for shape, axis in table]
    yield from over_dtypes(op, rng, rows)
    for dtype in (float32, float64):
        extreme = np.array([[1e4, -1e4, 0], [88.0, 89.0, 90.0], [-np.inf, 0, 1]], dtype.numpy)
        yield Case(op, (extreme,), {"axis": 1})


@cases_of("softmax_cross_entropy")
def softmax_cross_entropy(op, rng):
    for dtype in (float32, float64):
        for shape in [(5,), (3, 5), (2, 3, 4), (0, 3), (33, 70)]:
            inputs = (values(rng, dtype, shape), positive(rng, dtype, shape))
            yield Case(op, inputs, smooth=dtype is float64)


@cases_of("sparse_softmax_cross_entropy")
def sparse_softmax_cross_entropy(op, rng):
    for dtype in (float32, float64):
        for index in (int32, int64):
            for shape in [(5,), (3, 5), (2, 3, 4), (0, 3), (33, 70)]:
                labels = np.asarray(rng.integers(0, shape[-1], shape[:-1]), index.numpy)
                yield Case(op, (values(rng, dtype, shape), labels), smooth=dtype is float64)
    for wrong in (-1, 5):
        labels = np.array([0, wrong])
        yield Case(op, (values(rng, float32, (2, 5)), labels), fails=LABEL_RANGE)


@cases_of("random_uniform", "random_normal")
def random(op, rng):
    for dtype in (float32, float64):
        for shape in [(), (0, 3), (7,), (3, 33)]:
            for step in (0, 3, 2**40):
                attrs = {"seed": 2**32 - 1, "op_seed": 5, "dtype": dtype, "shape": shape}
                yield Case(op, (np.array(step),), attrs)
                part = {"whole": tuple(n + 2 for n in shape), "start": (1, 2)[: len(shape)]}
                yield Case(op, (np.array(step),), attrs | part)
