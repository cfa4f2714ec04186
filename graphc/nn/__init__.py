"""Building blocks of neural networks: activations, softmax and losses."""

from graphc.nn.activations import (
    bias_add,
    dropout,
    gelu,
    leaky_relu,
    relu6,
    sigmoid_cross_entropy_with_logits,
    silu,
    softplus,
)
from graphc.ops.arithmetic import relu
from graphc.ops.cross_entropy import (
    softmax_cross_entropy_with_logits,
    sparse_softmax_cross_entropy_with_logits,
)
from graphc.ops.normalization import log_softmax, softmax
from graphc.ops.transcendental import sigmoid, tanh

__all__ = [
    "bias_add",
    "dropout",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "relu6",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "silu",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softplus",
    "sparse_softmax_cross_entropy_with_logits",
    "tanh",
]
