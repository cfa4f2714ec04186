"""Ops: one class for everything there is to know about each, and the functions users call.

The functions bear TensorFlow 1's names. Importing this package registers the ops and gives
Python's operators on tensors their meaning.
"""

from __future__ import annotations

from graphc.ir.operators import OPERATORS
from graphc.ops import custom as custom
from graphc.ops import fused as fused
from graphc.ops import state as state
from graphc.ops.arithmetic import (
    abs,
    add,
    floordiv,
    maximum,
    minimum,
    mod,
    multiply,
    negative,
    reciprocal,
    relu,
    rsqrt,
    sign,
    sqrt,
    square,
    subtract,
    truediv,
)
from graphc.ops.arrangement import broadcast_to, tile, transpose
from graphc.ops.comparison import (
    equal,
    greater,
    greater_equal,
    is_finite,
    is_nan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)
from graphc.ops.control import group, no_op, tuple
from graphc.ops.conversion import cast, ceil, floor, round
from graphc.ops.convert import convert
from graphc.ops.cross_entropy import (
    softmax_cross_entropy_with_logits,
    sparse_softmax_cross_entropy_with_logits,
)
from graphc.ops.custom import custom_values
from graphc.ops.gathering import gather, one_hot
from graphc.ops.indexing import getitem, reverse, slice, strided_slice
from graphc.ops.initializers import (
    constant_initializer,
    global_variables_initializer,
    glorot_uniform_initializer,
    he_normal_initializer,
    ones_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    variables_initializer,
    zeros_initializer,
)
from graphc.ops.joining import concat, pad, split, stack, unstack
from graphc.ops.linear_algebra import matmul
from graphc.ops.random import random_normal, random_uniform, set_random_seed
from graphc.ops.reduction import (
    argmax,
    argmin,
    reduce_all,
    reduce_any,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
)
from graphc.ops.sizes import rank, shape, size
from graphc.ops.softmax import log_softmax, softmax
from graphc.ops.source import (
    constant,
    fill,
    ones,
    ones_like,
    placeholder,
    range,
    zeros,
    zeros_like,
)
from graphc.ops.transcendental import cos, erf, exp, expm1, log, log1p, pow, sigmoid, sin, tanh
from graphc.ops.variable_store import AUTO_REUSE, get_variable, get_variable_scope, variable_scope
from graphc.ops.variables import (
    Variable,
    assign,
    assign_add,
    assign_sub,
    global_variables,
    trainable_variables,
)
from graphc.ops.views import expand_dims, identity, reshape, squeeze, stop_gradient

sub, mul, divide = subtract, multiply, truediv

OPERATORS |= {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": truediv,
    "floordiv": floordiv,
    "mod": mod,
    "pow": pow,
    "matmul": matmul,
    "neg": negative,
    "abs": abs,
    "lt": less,
    "le": less_equal,
    "gt": greater,
    "ge": greater_equal,
    "and": logical_and,
    "or": logical_or,
    "xor": logical_xor,
    "invert": logical_not,
    "getitem": getitem,
}

__all__ = [
    "AUTO_REUSE",
    "Variable",
    "abs",
    "add",
    "argmax",
    "argmin",
    "assign",
    "assign_add",
    "assign_sub",
    "broadcast_to",
    "cast",
    "ceil",
    "concat",
    "constant",
    "constant_initializer",
    "convert",
    "cos",
    "custom_values",
    "divide",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "fill",
    "floor",
    "floordiv",
    "gather",
    "get_variable",
    "get_variable_scope",
    "global_variables",
    "global_variables_initializer",
    "glorot_uniform_initializer",
    "greater",
    "greater_equal",
    "group",
    "he_normal_initializer",
    "identity",
    "is_finite",
    "is_nan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "matmul",
    "maximum",
    "minimum",
    "mod",
    "mul",
    "multiply",
    "negative",
    "no_op",
    "not_equal",
    "one_hot",
    "ones",
    "ones_initializer",
    "ones_like",
    "pad",
    "placeholder",
    "pow",
    "random_normal",
    "random_normal_initializer",
    "random_uniform",
    "random_uniform_initializer",
    "range",
    "rank",
    "reciprocal",
    "reduce_all",
    "reduce_any",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
    "relu",
    "reshape",
    "reverse",
    "round",
    "rsqrt",
    "set_random_seed",
    "shape",
    "sigmoid",
    "sign",
    "sin",
    "size",
    "slice",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "sparse_softmax_cross_entropy_with_logits",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "stop_gradient",
    "strided_slice",
    "sub",
    "subtract",
    "tanh",
    "tile",
    "trainable_variables",
    "transpose",
    "truediv",
    "tuple",
    "unstack",
    "variable_scope",
    "variables_initializer",
    "where",
    "zeros",
    "zeros_initializer",
    "zeros_like",
]
