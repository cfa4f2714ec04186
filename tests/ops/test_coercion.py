"""What a user writes where a tensor is wanted, and what dtype it gets."""

import numpy as np
import pytest

import graphc.ops as gx
from graphc.ir.dtypes import bool_, float32, float64, int32, int64
from graphc.ir.errors import DTypeError, ShapeError
from graphc.ops.coercion import convert


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, int32), (1.5, float32), (True, bool_), ([1, 2.5], float32), ([[1], [2]], int32),
        ((True, False), bool_), ([], float32), (np.ones(2), float64), (np.int64(3), int64),
        (np.float32(1), float32), (np.ones(2, ">f4"), float32), (np.ones(2, np.int64), int64),
    ],
)  # fmt: skip
def test_dtype_of_a_value_alone(value, dtype):
    tensor = convert(value)
    assert tensor.dtype is dtype
    assert tensor.shape == np.shape(value)


@pytest.mark.parametrize(
    ("value", "other", "dtype"),
    [
        (1, np.ones(2), float64), (2.5, np.ones(2), float64), ([1, 2], np.ones(2, np.int64), int64),
        (np.float64(0.5), np.ones(2, np.float32), float32), (np.int32(1), np.ones(2), float64),
    ],
)  # fmt: skip
def test_literals_take_the_dtype_of_the_other_operand(value, other, dtype):
    assert gx.add(value, other).dtype is dtype
    assert gx.add(gx.constant(other), value).dtype is dtype


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, int32), (True, int32), (1, bool_), (True, float32), ([1, 2.5], int64),
        (2**31, int32), (-(2**40), int32), (2**70, int64), (2**63, int64), (2**70, None),
        (10**400, float64), ("a", float32), (None, float32),
        (np.ones(2), int32), (np.array(["a"]), float32), (1j, float32), (object(), None),
    ],
)  # fmt: skip
def test_values_that_a_dtype_cannot_hold_are_refused(value, dtype):
    with pytest.raises(DTypeError) as caught:
        convert(value, dtype)
    assert "test_coercion.py" in str(caught.value)


def test_a_float_literal_does_not_meet_an_integer_tensor():
    with pytest.raises(DTypeError, match=r"1\.5 is no value of int32: use cast"):
        gx.constant([1, 2]) + 1.5


def test_integers_beyond_int64_are_floats_where_floats_are_wanted():
    assert convert(2**70, float32).node.attrs["value"] == np.float32(2**70)
    assert gx.multiply(gx.ones([2], float64), [2**70, 0.5]).dtype is float64
    assert convert([2**70, 0.5]).dtype is float32


def test_there_is_no_promotion_between_tensors():
    with pytest.raises(DTypeError, match=r"add of a: int32 \[2\].*b: float32 \[\].*cast"):
        gx.constant([1, 2]) + gx.constant(1.5)
    with pytest.raises(DTypeError, match="one dtype"):
        gx.constant([1.0, 2.0]) + np.ones(2)


def test_ragged_lists_are_refused():
    with pytest.raises(ShapeError, match="no array"):
        convert([[1, 2], [3]])


def test_lists_of_tensors_are_refused_and_stack_recommended():
    with pytest.raises(DTypeError, match="stack"):
        convert([gx.constant(1), gx.constant(2)])


def test_tensors_stay_and_variables_give_theirs():
    tensor = gx.constant(1.0)

    class Holder:
        def __graphc_tensor__(self):
            return tensor

    assert convert(tensor) is tensor
    assert convert(Holder()) is tensor
    assert gx.add(1.0, Holder()).dtype is float32
    with pytest.raises(DTypeError, match="cast"):
        convert(tensor, dtype=int32)


def test_constants_are_copied():
    value = np.ones(2, np.float32)
    tensor = gx.constant(value)
    value[0] = 5
    assert tensor.node.attrs["value"][0] == 1
    with pytest.raises(ValueError, match="read-only"):
        tensor.node.attrs["value"][0] = 2


def test_a_constant_has_as_many_values_as_its_shape():
    with pytest.raises(ShapeError, match=r"3 values cannot have shape \[2, 2\]"):
        gx.constant([1, 2, 3], shape=[2, 2])


def test_sizes_of_placeholders():
    x = gx.placeholder(float32, [None, "n", 3])
    y = gx.placeholder(float32, [None, "n", 3])
    assert x.shape[1:] == y.shape[1:]
    assert x.shape[0] != y.shape[0]
    assert gx.placeholder("int32", []).shape == ()
    assert gx.placeholder(np.float64, 3).shape == (3,)


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        (None, "rank"), ([-1], "no size"), ([2.0], "no size"), (["_n"], "no name"),
        (["a b"], "no name"), ([True], "no size"),
    ],
)  # fmt: skip
def test_shapes_of_placeholders_that_are_refused(shape, rule):
    with pytest.raises(ShapeError, match=rule) as caught:
        gx.placeholder(float32, shape)
    assert "test_coercion.py" in str(caught.value)
