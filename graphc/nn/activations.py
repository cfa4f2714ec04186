"""Functions that are a few ops each: fusion makes one kernel of them."""

from __future__ import annotations

import math

from graphc.ir.errors import GraphError
from graphc.ir.graph import Tensor, TensorLike
from graphc.ir.scope import name_scope
from graphc.ir.source import located, user_source
from graphc.ops import (
    abs as absolute,
)
from graphc.ops import (
    add,
    cast,
    convert,
    erf,
    exp,
    greater_equal,
    identity,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    relu,
    sigmoid,
    where,
)
from graphc.ops.random import random_uniform


def bias_add(value: TensorLike, bias: TensorLike, name: str | None = None) -> Tensor:
    """``value`` plus a vector along its last axis."""
    return add(value, bias, name or "bias_add")


def relu6(x: TensorLike, name: str | None = None) -> Tensor:
    """``min(max(x, 0), 6)``."""
    with name_scope(name or "relu6"):
        return minimum(relu(x), 6.0)


def leaky_relu(x: TensorLike, alpha: float = 0.2, name: str | None = None) -> Tensor:
    """``x``, or ``alpha * x`` where it is negative."""
    with name_scope(name or "leaky_relu"):
        x = convert(x)
        return where(greater_equal(x, 0.0), x, multiply(x, alpha))


def softplus(x: TensorLike, name: str | None = None) -> Tensor:
    """``log(1 + exp(x))``, without overflow."""
    with name_scope(name or "softplus"):
        x = convert(x)
        return add(maximum(x, 0.0), log1p(exp(negative(absolute(x)))))


def silu(x: TensorLike, name: str | None = None) -> Tensor:
    """``x * sigmoid(x)``."""
    with name_scope(name or "silu"):
        x = convert(x)
        return multiply(x, sigmoid(x))


def gelu(x: TensorLike, name: str | None = None) -> Tensor:
    """``x`` times the chance that a standard normal is below it: Hendrycks and Gimpel, 2016."""
    with name_scope(name or "gelu"):
        x = convert(x)
        return multiply(multiply(x, 0.5), add(erf(multiply(x, math.sqrt(0.5))), 1.0))


def dropout(x: TensorLike, rate: float, seed: int | None = None, name: str | None = None) -> Tensor:
    """``x`` with elements set to 0 with probability ``rate``, the others divided by 1 - rate.

    Raises:
        GraphError: a rate below 0, or of 1 or more.
    """
    if not 0 <= rate < 1:
        message = f"a dropout rate is at least 0 and less than 1, not {rate!r}"
        raise GraphError(located(message, user_source()))
    with name_scope(name or "dropout"):
        x = convert(x)
        if rate == 0:
            return identity(x)
        kept = greater_equal(random_uniform(x.shape, dtype=x.dtype, seed=seed), rate)
        return multiply(multiply(x, 1 / (1 - rate)), cast(kept, x.dtype))


def sigmoid_cross_entropy_with_logits(
    *, labels: TensorLike, logits: TensorLike, name: str | None = None
) -> Tensor:
    """The cross entropy of sigmoid(logits) and ``labels``, probabilities of the same shape.

    It is ``max(x, 0) - x * label + log(1 + exp(-|x|))``, which does not overflow.
    """
    with name_scope(name or "sigmoid_cross_entropy_with_logits"):
        x = convert(logits)
        return add(softplus(x), negative(multiply(x, convert(labels, like=x))))
