"""The functions of `graphc.nn` against their formulas in NumPy."""

import math

import numpy as np
import pytest

import graphc as gx
from graphc.backends.reference import run
from graphc.nn import __all__ as public

X = np.array([[-700.0, -3.0, -0.5, 0.0], [0.25, 1.0, 7.0, 700.0]])
LABELS = np.array([[0.0, 1.0, 0.5, 0.25], [1.0, 0.0, 0.5, 1.0]])
E = np.exp(X - X.max(axis=1, keepdims=True))
P = E / E.sum(axis=1, keepdims=True)
LOG_P = X - X.max(axis=1, keepdims=True) - np.log(E.sum(axis=1, keepdims=True))
SIGMOID = 1 / (1 + np.exp(-X))

FORMULAS = {
    "bias_add": (lambda x: gx.nn.bias_add(x, [1.0, 2.0, 3.0, 4.0]), X + np.arange(1, 5)),
    "dropout": (lambda x: gx.nn.dropout(x, 0.0), X),
    "gelu": (gx.nn.gelu, X * 0.5 * (1 + np.vectorize(math.erf)(X / math.sqrt(2)))),
    "leaky_relu": (gx.nn.leaky_relu, np.where(X < 0, 0.2 * X, X)),
    "log_softmax": (gx.nn.log_softmax, LOG_P),
    "relu": (gx.nn.relu, np.maximum(X, 0)),
    "relu6": (gx.nn.relu6, np.clip(X, 0, 6)),
    "sigmoid": (gx.nn.sigmoid, SIGMOID),
    "sigmoid_cross_entropy_with_logits": (
        lambda x: gx.nn.sigmoid_cross_entropy_with_logits(labels=LABELS, logits=x),
        np.logaddexp(0, -X) * LABELS + np.logaddexp(0, X) * (1 - LABELS),
    ),
    "silu": (gx.nn.silu, X * SIGMOID),
    "softmax": (gx.nn.softmax, P),
    "softmax_cross_entropy_with_logits": (
        lambda x: gx.nn.softmax_cross_entropy_with_logits(labels=LABELS, logits=x),
        -(LABELS * LOG_P).sum(axis=1),
    ),
    "softplus": (gx.nn.softplus, np.logaddexp(0, X)),
    "sparse_softmax_cross_entropy_with_logits": (
        lambda x: gx.nn.sparse_softmax_cross_entropy_with_logits(labels=[2, 3], logits=x),
        -LOG_P[[0, 1], [2, 3]],
    ),
    "tanh": (gx.nn.tanh, np.tanh(X)),
}


@pytest.mark.parametrize("name", public)
def test_function_equals_its_formula(name):
    function, expected = FORMULAS[name]
    x = gx.placeholder(gx.float64, [None, 4])
    (found,) = run(x.graph, {x: X}, [function(x)])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    assert (gx.gradients(function(x), x)[0]).shape == x.shape


def test_axes_other_than_the_last():
    x = gx.placeholder(gx.float64, [2, 3, 4])
    values = np.random.default_rng(0).standard_normal((2, 3, 4))
    labels = np.full((2, 3, 4), 0.25)
    fetches = [
        gx.nn.softmax(x, axis=1),
        gx.nn.log_softmax(x, axis=-3),
        gx.nn.softmax_cross_entropy_with_logits(labels=labels, logits=x, axis=1),
    ]
    e = np.exp(values)
    expected = [
        e / e.sum(axis=1, keepdims=True),
        values - np.log(e.sum(axis=0, keepdims=True)),
        (0.25 * (np.log(e.sum(axis=1, keepdims=True)) - values)).sum(axis=1),
    ]
    for found, wanted in zip(run(x.graph, {x: values}, fetches), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    with pytest.raises(gx.ShapeError, match="axis 3 is not in a tensor of rank 3"):
        gx.nn.softmax_cross_entropy_with_logits(labels=labels, logits=x, axis=3)


def test_dropout_keeps_the_mean():
    x = gx.ones([1000, 100])
    (found,) = run(x.graph, {}, [gx.nn.dropout(x, 0.3)])
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.7], rtol=1e-6)
    assert found.mean() == pytest.approx(1, abs=0.01)
    with pytest.raises(gx.GraphError, match=r"(?s)dropout rate.*test_activations\.py"):
        gx.nn.dropout(x, 1.0)


def test_losses_check_their_operands():
    logits = gx.placeholder(gx.float32, [4, 3])
    sparse = gx.nn.sparse_softmax_cross_entropy_with_logits
    with pytest.raises(gx.ShapeError, match=r"(?s)same sizes.*test_activations\.py"):
        sparse(labels=[0, 1], logits=logits)
    with pytest.raises(gx.ShapeError, match="same rows"):
        sparse(labels=[[0, 1, 2]], logits=logits)
    with pytest.raises(gx.DTypeError, match="labels must be int32 or int64"):
        sparse(labels=[0.0] * 4, logits=logits)
    with pytest.raises(gx.DTypeError, match="logits must be"):
        sparse(labels=[0] * 4, logits=gx.cast(logits, gx.int32))
    with pytest.raises(gx.ShapeError, match="same sizes"):
        gx.nn.softmax_cross_entropy_with_logits(labels=gx.zeros([4, 2]), logits=logits)
