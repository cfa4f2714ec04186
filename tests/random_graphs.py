"""Random smooth graphs of float64 matrices, written once for any library that has the ops."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

SIDE = 3
UNARY = ("tanh", "sigmoid", "square", "sin", "softmax", "log_softmax", "transpose", "mean",
         "rows", "exp_tanh", "log_square", "negative")  # fmt: skip
BINARY = ("add", "subtract", "multiply", "divide_safely", "matmul", "matmul_transposed")


@dataclass(frozen=True)
class Recipe:
    """`steps` are (op, operands): the values of the leaves come first, then those of the steps."""

    leaves: int
    steps: tuple[tuple[str, tuple[int, ...]], ...]

    def build(self, ops, leaves):
        """The last values over `leaves`, summed; `ops` has a function for every name."""
        values = list(leaves)
        for op, operands in self.steps:
            values.append(getattr(ops, op)(*(values[i] for i in operands)))
        result = values[-1]
        for value in values[self.leaves : -1][-3:]:
            result = ops.add(result, value)
        return ops.total(result)


def random_recipe(seed, size=12, leaves=3):
    rng = np.random.default_rng(seed)
    steps = []
    for n in range(leaves, leaves + size):
        ops, arity = (UNARY, 1) if rng.random() < 0.5 else (BINARY, 2)
        steps.append((str(rng.choice(ops)), tuple(int(i) for i in rng.integers(0, n, arity))))
    values = [rng.standard_normal((SIDE, SIDE)) for _ in range(leaves)]
    return Recipe(leaves, tuple(steps)), values


def graphc_ops():
    import graphc as gx

    return SimpleNamespace(
        tanh=gx.tanh, sigmoid=gx.sigmoid, square=gx.square, sin=gx.sin, softmax=gx.softmax,
        log_softmax=gx.log_softmax, transpose=lambda x: gx.transpose(x, [1, 0]),
        mean=lambda x: x - gx.reduce_mean(x), total=gx.reduce_sum,
        rows=lambda x: gx.reduce_sum(x, axis=1, keepdims=True) * x,
        exp_tanh=lambda x: gx.exp(gx.tanh(x)), log_square=lambda x: gx.log1p(gx.square(x)),
        negative=gx.negative, add=gx.add, subtract=gx.subtract, multiply=gx.multiply,
        divide_safely=lambda a, b: a / (gx.square(b) + 1.0), matmul=gx.matmul,
        matmul_transposed=lambda a, b: gx.matmul(a, b, transpose_a=True, transpose_b=True),
    )  # fmt: skip


def torch_ops(torch):
    return SimpleNamespace(
        tanh=torch.tanh, sigmoid=torch.sigmoid, square=torch.square, sin=torch.sin,
        softmax=lambda x: torch.softmax(x, -1),
        log_softmax=lambda x: torch.log_softmax(x, -1), transpose=lambda x: x.T,
        mean=lambda x: x - torch.mean(x), total=torch.sum,
        rows=lambda x: torch.sum(x, 1, keepdim=True) * x,
        exp_tanh=lambda x: torch.exp(torch.tanh(x)),
        log_square=lambda x: torch.log1p(torch.square(x)), negative=torch.neg, add=torch.add,
        subtract=torch.sub, multiply=torch.mul,
        divide_safely=lambda a, b: a / (torch.square(b) + 1), matmul=torch.matmul,
        matmul_transposed=lambda a, b: torch.matmul(a.T, b.T),
    )  # fmt: skip
