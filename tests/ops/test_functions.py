"""The public functions against NumPy, run by the references: every function has a row."""

import math

import numpy as np
import pytest

import graphc.ops as gx
from graphc.ir.dtypes import float64, int32, int64
from graphc.ir.graph import Tensor
from tests.ops.evaluate import close, evaluate

A = np.array([[1.5, -2.0, 0.25], [4.0, 0.5, -3.0]], np.float32)
B = np.array([[2.0, 1.0, -0.5]], np.float32)
P = np.abs(A)
I = np.array([[7, -7, 3], [0, 5, -1]], np.int32)  # noqa: E741
J = np.array([[2, 3, -2]], np.int32)
T = A > 0
C = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

ROWS = {
    "abs": [((A,), np.abs(A)), ((I,), np.abs(I))],
    "add": [((A, B), A + B), ((A, 1), A + 1), ((1.5, A), A + 1.5), ((I, J), I + J)],
    "argmax": [((A,), A.argmax(0)), ((A, 1), A.argmax(1))],
    "argmin": [((A,), A.argmin(0)), ((A, -1), A.argmin(1))],
    "broadcast_to": [((B, [2, 3]), np.broadcast_to(B, (2, 3))), ((1, [2]), np.int32([1, 1]))],
    "cast": [((A, int64), A.astype(np.int64)), ((T, int32), T.astype(np.int32))],
    "ceil": [((A,), np.ceil(A))],
    "concat": [(([A, B], 0), np.concatenate([A, B])), (([C, C], -1), np.concatenate([C, C], -1))],
    "constant": [
        ((3,), np.int32(3)), ((2.5,), np.float32(2.5)), (([True],), np.array([True])),
        (([1, 2], float64), np.array([1.0, 2.0])), ((7, int64, [2]), np.array([7, 7])),
        (([1, 2, 3, 4], None, [2, 2]), np.int32([[1, 2], [3, 4]])),
        ((np.float64(3),), np.float64(3)), (([],), np.zeros(0, np.float32)),
    ],
    "cos": [((A,), np.cos(A))],
    "divide": [((A, B), A / B), ((1, A), 1 / A), ((I, J), I / J)],
    "equal": [((A, B), A == B), ((I, 3), I == 3), ((T, True), T)],
    "erf": [((A,), np.vectorize(math.erf)(A).astype(np.float32))],
    "exp": [((A,), np.exp(A))],
    "expand_dims": [((A, 0), A[None]), ((A, -1), A[..., None]), ((A, 1), A[:, None])],
    "expm1": [((A,), np.expm1(A))],
    "fill": [(([2, 3], 5), np.full((2, 3), 5, np.int32)), (([], 1.5), np.float32(1.5))],
    "floor": [((A,), np.floor(A))],
    "floordiv": [((I, J), I // J), ((A, B), A // B), ((I, 2), I // 2)],
    "gather": [((A, [1, 0, 1]), A[[1, 0, 1]]), ((A, [[2, 0]], 1), A[:, [[2, 0]]])],
    "greater": [((A, B), A > B)],
    "greater_equal": [((A, B), A >= B)],
    "identity": [((A,), A)],
    "is_finite": [((np.float32([np.inf, -np.inf, np.nan, 1]),), np.array([False] * 3 + [True]))],
    "is_nan": [((np.float32([np.inf, np.nan]),), np.array([False, True]))],
    "less": [((A, B), A < B), ((I, 3), I < 3)],
    "less_equal": [((A, B), A <= B)],
    "log": [((P,), np.log(P))],
    "log1p": [((P,), np.log1p(P))],
    "logical_and": [((T, [True, False, True]), T & [True, False, True])],
    "logical_not": [((T,), ~T)],
    "logical_or": [((T, False), T)],
    "logical_xor": [((T, True), ~T)],
    "matmul": [((A, C[0]), A @ C[0]), ((A, A, False, True), A @ A.T), ((A, A, True), A.T @ A)],
    "maximum": [((A, B), np.maximum(A, B)), ((I, 2), np.maximum(I, 2))],
    "minimum": [((A, B), np.minimum(A, B))],
    "mod": [((I, J), I % J), ((I, -3), I % -3)],
    "multiply": [((A, B), A * B), ((I, J), I * J), ((2, A), 2 * A)],
    "negative": [((A,), -A)],
    "not_equal": [((A, B), A != B)],
    "one_hot": [(([0, 2, 5], 3), np.float32([[1, 0, 0], [0, 0, 1], [0, 0, 0]])),
                (([1], 2, 5, -5, 0, int32), np.int32([[-5], [5]]))],
    "ones": [(([2],), np.ones(2, np.float32)), (([2], int32), np.ones(2, np.int32))],
    "ones_like": [((I,), np.ones_like(I))],
    "pad": [((A, [[1, 0], [0, 2]]), np.pad(A, [[1, 0], [0, 2]])),
            ((I, [[0, 0], [1, 1]], "CONSTANT", 9), np.pad(I, [[0, 0], [1, 1]], constant_values=9))],
    "pow": [((P, B), P**B), ((A, 2), A * A), ((I, 2), I * I), ((2.0, A), 2.0**A)],
    "range": [((4,), np.int32([0, 1, 2, 3])), ((1, 6, 2), np.int32([1, 3, 5])),
              ((0.0, 1.0, 0.5), np.float32([0, 0.5]))],
    "rank": [((C,), np.int32(3))],
    "reciprocal": [((A,), 1 / A)],
    "reduce_all": [((T,), np.all(T)), ((T, 0), np.all(T, 0))],
    "reduce_any": [((T, [1]), np.any(T, 1))],
    "reduce_max": [((A, 1, True), A.max(1, keepdims=True)), ((I,), I.max())],
    "reduce_mean": [((A,), A.mean()), ((A, 0), A.mean(0)), ((I, 0), np.int32([3, -1, 1]))],
    "reduce_min": [((A, -1), A.min(1))],
    "reduce_prod": [((A, (0, 1)), A.prod()), ((I, 1), I.prod(1, dtype=np.int32))],
    "reduce_sum": [((C, [0, 2]), C.sum((0, 2))), ((C, -1, True), C.sum(-1, keepdims=True)),
                   ((I,), I.sum(dtype=np.int32)), ((A, []), A)],
    "relu": [((A,), np.maximum(A, 0)), ((I,), np.maximum(I, 0))],
    "reshape": [((C, [4, -1]), C.reshape(4, 6)), ((A, -1), A.reshape(-1))],
    "reverse": [((C, 1), C[:, ::-1]), ((C, [0, -1]), C[::-1, :, ::-1])],
    "round": [((np.float32([0.5, 1.5, -2.5, 2.4]),), np.float32([0, 2, -2, 2]))],
    "rsqrt": [((P,), 1 / np.sqrt(P))],
    "shape": [((C,), np.int32([2, 3, 4])), ((C, int64), np.int64([2, 3, 4]))],
    "sigmoid": [((A,), (1 / (1 + np.exp(-A.astype(float)))).astype(np.float32))],
    "sign": [((A,), np.sign(A)), ((I,), np.sign(I))],
    "sin": [((A,), np.sin(A))],
    "size": [((C,), np.int32(24))],
    "slice": [((C, [0, 1, 2], [1, -1, 2]), C[0:1, 1:, 2:4])],
    "split": [((A, 2), [A[:1], A[1:]]), ((A, [1, 2], -1), [A[:, :1], A[:, 1:]]),
              ((A, [1, -1], 1), [A[:, :1], A[:, 1:]]), ((A, np.int64(2)), [A[:1], A[1:]])],
    "sqrt": [((P,), np.sqrt(P))],
    "square": [((A,), A * A), ((I,), I * I)],
    "squeeze": [((B,), B[0]), ((B, np.int64(0)), B[0]), ((B, 0), B[0]),
                ((B[:, :1], [0, -1]), B[0, 0])],
    "stack": [(([A, A],), np.stack([A, A])), (([A, A], -1), np.stack([A, A], -1))],
    "stop_gradient": [((A,), A)],
    "strided_slice": [((C, [1, 0], [2, 3], [1, 2]), C[1:2, 0:3:2]), ((C, [1], [2]), C[1:2])],
    "subtract": [((A, B), A - B), ((1, A), 1 - A), ((I, J), I - J)],
    "tanh": [((A,), np.tanh(A))],
    "tile": [((A, [2, 1]), np.tile(A, [2, 1])), ((C, [1, 0, 3]), np.tile(C, [1, 0, 3]))],
    "transpose": [((C,), C.T), ((C, [1, 0, 2]), C.transpose(1, 0, 2)),
                  ((C, np.array([-1, 0, 1])), C.transpose(2, 0, 1))],
    "unstack": [((A,), [A[0], A[1]]), ((A, None, -1), [A[:, 0], A[:, 1], A[:, 2]])],
    "where": [((T, A, B), np.where(T, A, B)), ((T, 1.0, A), np.where(T, np.float32(1), A)),
              (([True, False, True], I, 0), np.where([True, False, True], I, 0).astype(np.int32))],
    "zeros": [(([2, 0],), np.zeros((2, 0), np.float32)), ((3, int64), np.zeros(3, np.int64))],
    "zeros_like": [((A,), np.zeros_like(A)), ((A, int32), np.zeros_like(A, np.int32))],
}  # fmt: skip
MODULES = {
    "arithmetic", "arrangement", "comparison", "conversion", "gathering", "indexing", "joining",
    "linear_algebra", "reduction", "sizes", "source", "transcendental", "views",
}  # fmt: skip
SECOND_NAMES = {"truediv", "sub", "mul"}
ROUNDED = {"erf", "exp", "expm1", "cos", "sin", "log", "log1p", "pow", "sigmoid", "tanh",
           "reduce_mean", "reduce_sum", "reduce_prod", "matmul"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [pytest.param(name, *row, id=f"{name}-{n}") for name, rows in ROWS.items()
     for n, row in enumerate(rows)],
)  # fmt: skip
def test_function(name, args, expected):
    found = getattr(gx, name)(*args)
    tensors = found if isinstance(found, list) else [found]
    wanted = expected if isinstance(expected, list) else [expected]
    assert len(tensors) == len(wanted)
    for tensor, value, want in zip(tensors, evaluate(tensors, {}), wanted, strict=True):
        assert isinstance(tensor, Tensor)
        assert tensor.shape == want.shape
        bound = 1e-6 * (1 + np.abs(want)) if name in ROUNDED else 0
        assert close(np.asarray(value), np.asarray(want), bound), (value, want)


def test_every_function_is_tested():
    modules = {f"graphc.ops.{module}" for module in MODULES}
    names = {name for name in gx.__all__ if getattr(gx, name).__module__ in modules}
    assert names - SECOND_NAMES - {"getitem", "placeholder"} == ROWS.keys()


def test_operators():
    a, b, i, t = (gx.constant(x) for x in (A, B, I, T))
    rows = [
        (a + b, A + B), (2 - a, 2 - A), (a * b, A * B), (1 / a, 1 / A), (i // 2, I // 2),
        (7 % (i * i + 1), 7 % (I * I + 1)), (abs(a) ** b, np.abs(A) ** B), (2.0**a, 2.0**A),
        (-a, -A), (a < b, A < B), (a <= 0.5, A <= 0.5), (a > b, A > B), (a >= 0.5, A >= 0.5),
        (t & True, T), (t | False, T), (t ^ True, ~T), (~t, ~T), (a @ np.eye(3, dtype=A.dtype), A),
        (A @ gx.transpose(a), A @ A.T), (a[1], A[1]), (A + a, A + A),
    ]  # fmt: skip
    found = evaluate([tensor for tensor, _ in rows], {})
    for value, (_, expected) in zip(found, rows, strict=True):
        assert close(value, expected, 1e-6)
