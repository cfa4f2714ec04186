"""Gradients where functions have none, or several: the values that TensorFlow gives."""

import numpy as np
import pytest

import graphc.ops as gx
from tests.ops.evaluate import differentiate, evaluate

X = np.array([-2.0, -0.0, 0.0, 3.0], np.float32)


def gradients_of(function, *operands):
    """The gradients of the sum of a function's elements."""
    xs = [gx.constant(np.asarray(x, np.float32)) for x in operands]
    y = function(*xs)
    return evaluate(differentiate([y], [gx.ones_like(y)], xs), {})


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (gx.relu, [0, 0, 0, 1]), (gx.abs, [-1, 0, 0, 1]), (gx.sign, [0] * 4), (gx.floor, [0] * 4),
        (gx.round, [0] * 4), (gx.square, [-4, 0, 0, 6]), (lambda x: x**2.0, [-4, 0, 0, 6]),
        (lambda x: x ** gx.constant(3.0), [12, 0, 0, 27]),
        (lambda x: x ** gx.constant(0.0), [0] * 4), (lambda x: x ** gx.constant(1.0), [1] * 4),
        (lambda x: gx.maximum(x, 0.0), [0, 1, 1, 1]), (lambda x: gx.minimum(x, 0.0), [1, 1, 1, 0]),
        (lambda x: gx.where(x > 0, gx.log(gx.where(x > 0, x, 1.0)), 0.0), [0, 0, 0, 1 / 3]),
        (lambda x: gx.reduce_max(gx.stack([x, x])), [0, 0, 0, 1]),
        (lambda x: gx.reduce_max(x * 0), [0] * 4),
        (gx.stop_gradient, [0] * 4),
        (gx.reduce_mean, [0.25] * 4),
    ],
)  # fmt: skip
def test_gradient(function, expected):
    np.testing.assert_allclose(gradients_of(function, X)[0], expected, rtol=1e-6)


def test_ties_of_a_reduction_share_equally():
    x = np.array([[1, 3, 3], [2, 2, 2]], np.float32)
    (found,) = gradients_of(lambda t: gx.reduce_max(t, 1), x)
    np.testing.assert_allclose(found, [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    (found,) = gradients_of(lambda t: gx.reduce_min(t, 1), -x)
    np.testing.assert_allclose(found, [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])


def test_the_first_of_two_equal_operands_takes_all():
    found = gradients_of(gx.maximum, [1, 2], [1, 3])
    np.testing.assert_array_equal(found, [[1, 0], [0, 1]])


def test_pow_is_finite_at_a_base_of_zero():
    by_base, by_exponent = gradients_of(gx.pow, [0, 0, 0, -2], [0, 1, 2, 3])
    np.testing.assert_array_equal(by_base, [0, 1, 0, 12])
    np.testing.assert_array_equal(by_exponent, [0, 0, 0, 0])


def test_rows_looked_up_twice_add_up():
    x = np.ones((3, 2), np.float32)
    (found,) = gradients_of(lambda t: gx.gather(t, [2, 0, 2]), x)
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [2, 2]])


def test_products_with_zeros():
    x = np.array([[2, 0, 3], [0, 0, 5], [1, 2, 3]], np.float32)
    (found,) = gradients_of(lambda t: gx.reduce_prod(t, 1), x)
    np.testing.assert_allclose(found, [[0, 6, 0], [0, 0, 0], [6, 3, 2]], rtol=1e-6)


def test_casts_between_floats_carry_gradients_and_others_do_not():
    (found,) = gradients_of(lambda t: gx.cast(gx.cast(t, "float64") * 2.0, "float32"), X)
    np.testing.assert_array_equal(found, [2] * 4)
    (found,) = gradients_of(lambda t: gx.cast(gx.cast(t, "int32"), "float32"), X)
    np.testing.assert_array_equal(found, [0] * 4)
