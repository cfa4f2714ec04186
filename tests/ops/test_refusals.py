"""Operands that an op refuses while the graph is built: which rule, and where."""

import re

import numpy as np
import pytest

import graphc.ops as gx
from graphc.ir.dtypes import COMPUTED, bool_, float32, int32, int64
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.op import OPS
from tests.ops.cases import CASES, all_cases


def f32(*shape):
    return gx.placeholder(float32, shape)


def i32(*shape):
    return gx.placeholder(int32, shape)


SHAPES = {
    "broadcast": (lambda: f32(2, 3) + f32(2), "equal or 1"),
    "broadcast a symbol": (lambda: f32("n") + f32("n", 2) + f32(3), "equal or 1"),
    "matmul": (lambda: f32(2, 3) @ f32(2, 3), "columns of a must equal rows of b"),
    "matmul transposed": (lambda: gx.matmul(f32(2, 3), f32(3, 2), True), "columns of a"),
    "matmul of vectors": (lambda: f32(3) @ f32(3, 2), "two axes"),
    "matmul batches": (lambda: f32(2, 1, 1) @ f32(3, 1, 1), "equal or 1"),
    "reduce axis": (lambda: gx.reduce_sum(f32(2), 1), "axis 1 is not in a tensor of rank 1"),
    "reduce negative axis": (lambda: gx.reduce_max(f32(2, 3), [0, -3]), "axis -3"),
    "reduce axis twice": (lambda: gx.reduce_sum(f32(2, 3), [0, -2]), r"named twice in \[0, -2\]"),
    "mean axis twice": (lambda: gx.reduce_mean(f32(2, 3), (1, 1)), "axis 1 of .* named twice"),
    "reduce no axis": (lambda: gx.reduce_sum(f32(2), 0.0), "0.0 is no axis"),
    "reduce a bool": (lambda: gx.reduce_sum(f32(2, 3), True), "True is no axis"),
    "reduce by a tensor": (lambda: gx.reduce_sum(f32(2), gx.constant(0)), "is no axis"),
    "mean axis": (lambda: gx.reduce_mean(f32(2), 3), "axis 3"),
    "argmax axis": (lambda: gx.argmax(f32(2), 1), "axis 1"),
    "argmax of nothing": (lambda: gx.argmax(f32(0, 3), 0), "an element to choose"),
    "reshape": (lambda: gx.reshape(f32(2, 3), [4]), r"\[4\] must have as many elements"),
    "reshape rest": (lambda: gx.reshape(f32(2, 3), [4, -1]), "as many elements"),
    "reshape two rests": (lambda: gx.reshape(f32(6), [-1, -1]), "one -1 at the most"),
    "reshape rest of nothing": (lambda: gx.reshape(f32(0), [0, -1]), "no size 0"),
    "reshape negative": (lambda: gx.reshape(f32(2), [-2]), "negative|at the most"),
    "reshape by a tensor": (lambda: gx.reshape(f32(2), gx.shape(f32(2))), "no size"),
    "transpose": (lambda: gx.transpose(f32(2, 3), [0, 0]), "each of 2 axes once"),
    "broadcast_to": (lambda: gx.broadcast_to(f32(2), [3]), r"must broadcast to \[3\]"),
    "broadcast_to fewer axes": (lambda: gx.broadcast_to(f32(1, 2), [2]), "must broadcast"),
    "broadcast_to less than none": (lambda: gx.zeros([-1]), "-1 is no size: it is negative"),
    "broadcast_to too many": (lambda: gx.zeros([2**62, 4]), r"broadcast_to.*more elements than a"),
    "more than an index counts": (lambda: gx.zeros([2**64], bool_), "more elements than"),
    "too many rows": (lambda: gx.zeros([f32("n").shape[0] * 2**62]), "more elements than"),
    "too many beside none": (lambda: f32(0, 2**40, 2**40), "more elements than"),
    "too many axes": (lambda: gx.reshape(f32(1), [1] * 65), "65 axes, more than 64"),
    "tile negative": (lambda: gx.tile(f32(2), [-1]), "-1 is no size"),
    "transpose by fractions": (lambda: gx.transpose(f32(2, 3), [0.0, 1.0]), "0.0 is no new place"),
    "transpose by a number": (lambda: gx.transpose(f32(2, 3), 1), "no list of numbers"),
    "expand_dims by none": (lambda: gx.expand_dims(f32(2), None), "None is no axis"),
    "expand_dims": (lambda: gx.expand_dims(f32(2), 3), "axis 3 is none of the 2 axes"),
    "squeeze": (lambda: gx.squeeze(f32(2), 0), "size 2: only one of size 1"),
    "squeeze of what may be empty": (lambda: gx.squeeze(f32("n", 3), 1), "size 3: only one"),
    "squeeze axis": (lambda: gx.squeeze(f32(1), 1), "axis 1"),
    "tile": (lambda: gx.tile(f32(2), [1, 2]), "2 multiples"),
    "concat sizes": (lambda: gx.concat([f32(2, 3), f32(3, 2)], 0), "every axis but 0"),
    "concat nothing": (lambda: gx.concat([], 0), "nothing to join"),
    "stack nothing": (lambda: gx.stack([]), "nothing to join"),
    "concat a tensor": (lambda: gx.concat(f32(2), 0), "list of tensors"),
    "concat ranks": (lambda: gx.concat([f32(2), f32(2, 1)], 0), "one rank"),
    "concat axis": (lambda: gx.concat([f32(2)], 1), "axis 1"),
    "stack": (lambda: gx.stack([f32(2), f32(3)]), "every axis but"),
    "split": (lambda: gx.split(f32(4), [1, 2]), "add up"),
    "split evenly": (lambda: gx.split(f32(4), 3), "add up"),
    "split in none": (lambda: gx.split(f32(4), 0), "0 pieces"),
    "split negative": (lambda: gx.split(f32(4), [5, -1]), "negative"),
    "split in halves": (lambda: gx.split(f32(4), 2.0), "no number of pieces"),
    "split two rests": (lambda: gx.split(f32(4), [-1, -1]), "negative"),
    "unstack unknown": (lambda: gx.unstack(f32("n")), "needs num"),
    "pad": (lambda: gx.pad(f32(2), [[1, 1], [1, 1]]), "two numbers, not negative, for each axis"),
    "pad one number": (lambda: gx.pad(f32(2), 1), "no list of paddings"),
    "pad negative": (lambda: gx.pad(f32(2), [[-1, 1]]), "not negative"),
    "pad mode": (lambda: gx.pad(f32(2), [[1, 1]], "REFLECT"), "CONSTANT, not REFLECT"),
    "slice": (lambda: gx.slice(f32(4), [2], [3]), "within axis 0"),
    "slice rank": (lambda: gx.slice(f32(4, 4), [2], [1]), "2 starts"),
    "slice at a fraction": (lambda: gx.slice(f32(4), [1.0], [1]), "1.0 is no begin"),
    "slice at a tensor": (lambda: gx.slice(f32(4), gx.constant([0]), [1]), "no list of numbers"),
    "strided_slice": (lambda: gx.strided_slice(f32(4, 4), [0, 0], [1]), "lists of one length"),
    "index beyond all": (lambda: f32("n")[2**70], "no axis has an element"),
    "gather axis": (lambda: gx.gather(f32(2), [0], 1), "axis 1"),
    "one_hot axis": (lambda: gx.one_hot(i32(2), 3, axis=2), "axis 2"),
    "one_hot depth": (lambda: gx.one_hot(i32(2), -1), "negative"),
    "reverse": (lambda: gx.reverse(f32(2), 1), "axis 1"),
}

DTYPES = {
    "sqrt": (lambda: gx.sqrt(i32(2)), "float32 or float64, not int32"),
    "logical_and": (lambda: i32(2) & i32(2), "must be bool, not int32"),
    "negative": (lambda: -gx.placeholder(bool_, []), "not bool"),
    "mixed": (lambda: f32(2) * i32(2), "one dtype; convert with cast"),
    "float mod": (lambda: f32(2) % f32(2), "int32 or int64, not float32"),
    "where condition": (lambda: gx.where(i32(2), f32(2), f32(2)), "condition must be bool"),
    "where branches": (lambda: gx.where([True], f32(1), i32(1)), "x and y must have one dtype"),
    "gather": (lambda: gx.gather(f32(2), f32(2)), "indices must be int32 or int64, not float32"),
    "one_hot": (lambda: gx.one_hot(f32(2), 3), "indices must be int32 or int64"),
    "one_hot value": (lambda: gx.one_hot(i32(2), 3, 0.5, dtype=int64), "0.5 is no value of int64"),
    "pad value": (lambda: gx.pad(i32(2), [[1, 1]], constant_values=0.5), "0.5 is no value"),
    "concat": (lambda: gx.concat([f32(2), i32(2)], 0), "one dtype"),
    "cast to nothing": (lambda: gx.cast(f32(2), None), "None is not a dtype"),
    "cast to a word": (lambda: gx.cast(f32(2), "flaot32"), "'flaot32' is not a dtype"),
    "cast": (lambda: gx.cast(f32(2), "complex64"), "complex64"),
}


def refused(error, rule):
    """The message names the rule, and then the user's line, which quotes it here."""
    message, place = str(error).split("\n", 1)
    assert re.search(rule, message), message
    assert "test_refusals.py" in place


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    make, rule = SHAPES[name]
    with pytest.raises(ShapeError) as caught:
        make()
    refused(caught.value, rule)


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(name):
    make, rule = DTYPES[name]
    with pytest.raises(DTypeError) as caught:
        make()
    refused(caught.value, rule)


def test_a_size_known_only_in_a_run_is_no_number():
    x = f32("n")
    with pytest.raises(DTypeError, match=r"n is a size.*gx\.shape\(x\)\[axis\]"):
        x * x.shape[0]
    with pytest.raises(GraphError, match="n is no number to count with"):
        gx.range(x.shape[0])
    with pytest.raises(GraphError, match="steps of 0"):
        gx.range(0, 5, 0)


def test_an_error_shows_what_the_user_wrote():
    x, w = gx.placeholder(float32, [None, 3], name="x"), gx.placeholder(float32, [4, 5], name="w")
    with pytest.raises(ShapeError) as caught:
        gx.matmul(x, w, name="layer")
    text = str(caught.value)
    assert re.match(
        r"matmul of a: float32 \[None, 3\] \(x:0\), b: float32 \[4, 5\] \(w:0\): ", text
    )
    assert text.endswith('gx.matmul(x, w, name="layer")')


def test_sizes_known_only_in_a_run_become_constraints():
    for make, holds, breaks in [
        (lambda: f32("n") + f32(3), {"n": 3}, {"n": 1}),
        (lambda: f32("n", 2) @ f32("m", 3), {"n": 1, "m": 2}, {"n": 1, "m": 1}),
        (lambda: gx.reshape(f32("n"), [-1, 4]), {"n": 8}, {"n": 9}),
        (lambda: gx.split(f32("n"), 2)[0], {"n": 4}, {"n": 5}),
        (lambda: gx.squeeze(f32("n", 2), 0), {"n": 1}, {"n": 2}),
        (lambda: gx.argmax(f32("n")), {"n": 1}, {"n": 0}),
        (lambda: gx.broadcast_to(f32("n"), [2, 3]), {"n": 3}, {"n": 1}),
        (lambda: gx.concat([f32("n", "m"), f32("n", 2)], 0), {"n": 1, "m": 2}, {"n": 1, "m": 3}),
    ]:
        constraints = make().node.constraints
        sizes = {"m": 0}
        assert all(c.holds(sizes | holds) for c in constraints)
        assert not all(c.holds(sizes | breaks) for c in constraints)


UNIFORM = [
    name for name in CASES
    if OPS[name].dtypes < COMPUTED and name not in {"one_hot", "random_uniform", "random_normal",
                                                    "scatter_add", "sparse_softmax_cross_entropy"}
]  # fmt: skip


@pytest.mark.parametrize("name", UNIFORM)
def test_every_other_dtype_is_refused(name):
    case = next(case for case in all_cases() if case.op == name)
    for dtype in COMPUTED - OPS[name].dtypes:
        operands = [gx.constant(np.ones(x.shape, dtype.numpy)) for x in case.inputs]
        with pytest.raises(DTypeError, match=dtype.name):
            operands[0].graph.add(name, operands, case.attrs)
