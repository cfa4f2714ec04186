"""Random programs of every kind of op that passes know, with state, and values that are hard."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

import graphc as gx
from graphc.ir.graph import Graph, Node, Tensor

HARD = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, float("inf"), float("-inf"), float("nan"), 1e-40, 3e38)
CONSTANTS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -4.0, 0.75)
MOST_ELEMENTS = 200
SHAPES = ((), (1,), (3,), (2, 3), (2, 1), (1, 3), (2, 3, 1), (4, 2, 3), (3, 3))


@dataclass
class Program:
    """A user's graph, what he asks of it, and the values that it starts from."""

    graph: Graph
    fetches: list[Tensor] = field(default_factory=list)
    targets: list[Node] = field(default_factory=list)
    feeds: dict[Tensor, np.ndarray] = field(default_factory=dict)
    variables: dict[str, np.ndarray] = field(
        default_factory=lambda: {"random/counter": np.array(7, np.int64)}
    )


def random_program(seed: int, size: int = 25, state: bool = True, place=None) -> Program:
    """About ``size`` nodes, of which a few are fetched or run; ``place`` gives them devices."""
    maker = _Maker(random.Random(seed), state)
    with maker.program.graph.as_default(), gx.device(place):
        maker.sources()
        for _ in range(size):
            maker.step()
        return maker.finished()


class _Maker:
    def __init__(self, rng: random.Random, state: bool) -> None:
        self.rng, self.state = rng, state
        self.program = Program(Graph())
        self.tensors: list[Tensor] = []
        self.variables: list[gx.Variable] = []
        self.effects: list[Tensor] = []

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Mostly ordinary numbers: what is only NaN tells nothing apart."""
        count = int(np.prod(shape))
        values = [
            self.rng.choice(HARD) if self.rng.random() < 0.1 else self.rng.uniform(-2, 2)
            for _ in range(count)
        ]
        return np.array(values, np.float32).reshape(shape)

    def sources(self) -> None:
        for shape in self.rng.sample(SHAPES, 4):
            x = gx.placeholder(gx.float32, shape)
            self.program.feeds[x] = self.array(shape)
            self.tensors.append(x)
        for number in range(2 if self.state else 0):
            shape = self.rng.choice(SHAPES)
            variable = gx.Variable(np.zeros(shape, np.float32), name=f"v{number}")
            self.program.variables[f"v{number}"] = self.array(shape)
            self.variables.append(variable)
            self.tensors.append(variable.value())

    def any(self) -> Tensor:
        recent = self.tensors[-8:] if self.rng.random() < 0.7 else self.tensors
        return self.rng.choice(recent)

    def partner(self, x: Tensor) -> Tensor:
        """A tensor that broadcasts with ``x`` to its shape, or a constant."""
        if self.rng.random() < 0.35:
            return self.constant(x)
        fits = [t for t in self.tensors if _broadcasts(t.shape, x.shape)]
        return self.rng.choice(fits[-6:])

    def constant(self, x: Tensor) -> Tensor:
        value = self.rng.choice(CONSTANTS)
        if self.rng.random() < 0.3:
            return gx.fill(x.shape, np.float32(value))
        return gx.constant(value, gx.float32, shape=self.rng.choice([(), (), (1,), x.shape]))

    def step(self) -> None:
        if self.variables and self.rng.random() < 0.15:
            self.change()
            return
        made = self.rng.choice(_STEPS)(self, self.any())
        if made is not None and len(made.shape) < 5 and np.prod(made.shape) < MOST_ELEMENTS:
            self.tensors.append(made)

    def change(self) -> None:
        """Read or assign, mostly after what was assigned before."""
        variable = self.rng.choice(self.variables)
        before = self.effects[-1:] if self.rng.random() < 0.9 else []
        with gx.control_dependencies(before):
            if self.rng.random() < 0.4:
                self.tensors.append(variable.read_value())
                return
            fits = [t for t in self.tensors if t.shape == variable.shape]
            update = self.rng.choice(["assign", "assign_add", "assign_sub"])
            effect = getattr(variable, update)(self.rng.choice(fits))
        self.effects.append(effect)
        self.tensors.append(effect)

    def finished(self) -> Program:
        program, rng = self.program, self.rng
        inner = [t for t in self.tensors if t not in program.feeds]
        program.fetches = rng.sample(inner, min(3, len(inner)))
        program.targets = [t.node for t in rng.sample(self.effects, min(2, len(self.effects)))]
        return program


def _broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    if len(small) > len(large):
        return False
    aligned = large[len(large) - len(small) :]
    return all(a in (1, b) for a, b in zip(small, aligned, strict=True))


def _unary(name: str):
    def step(maker: _Maker, x: Tensor) -> Tensor:
        return getattr(gx, name)(x)

    return step


def _binary(name: str):
    def step(maker: _Maker, x: Tensor) -> Tensor:
        operands = [x, maker.partner(x)]
        maker.rng.shuffle(operands)
        return getattr(gx, name)(*operands)

    return step


def _reduce(name: str):
    def step(maker: _Maker, x: Tensor) -> Tensor:
        axes = [axis for axis in range(len(x.shape)) if maker.rng.random() < 0.5]
        return getattr(gx, name)(x, axis=axes, keepdims=maker.rng.random() < 0.5)

    return step


def _where(maker: _Maker, x: Tensor) -> Tensor:
    condition = gx.greater(x, maker.partner(x))
    if maker.rng.random() < 0.2:
        condition = gx.constant(maker.rng.random() < 0.5)
    return gx.where(condition, x, maker.partner(x))


def _matmul(maker: _Maker, x: Tensor) -> Tensor | None:
    if len(x.shape) < 2:
        return None
    others = [t for t in maker.tensors if len(t.shape) == 2 and t.shape[0] == x.shape[-1]]
    if others:
        return gx.matmul(x, maker.rng.choice(others))
    return gx.matmul(x, x, transpose_b=True)


def _reshape(maker: _Maker, x: Tensor) -> Tensor:
    shape = [size for size in x.shape if size != 1]
    if maker.rng.random() < 0.3:
        maker.rng.shuffle(shape)
    for _ in range(maker.rng.randint(0, 2)):
        shape.insert(maker.rng.randint(0, len(shape)), 1)
    return gx.reshape(x, shape)


def _transpose(maker: _Maker, x: Tensor) -> Tensor:
    return gx.transpose(x, maker.rng.sample(range(len(x.shape)), len(x.shape)))


def _broadcast(maker: _Maker, x: Tensor) -> Tensor | None:
    shapes = [shape for shape in SHAPES if _broadcasts(x.shape, shape)]
    return gx.broadcast_to(x, maker.rng.choice(shapes)) if shapes else None


def _concat(maker: _Maker, x: Tensor) -> Tensor | None:
    if not x.shape:
        return None
    same = [t for t in maker.tensors if t.shape == x.shape]
    return gx.concat(maker.rng.choices(same, k=maker.rng.randint(1, 2)), axis=-1)


def _slice(maker: _Maker, x: Tensor) -> Tensor | None:
    if not x.shape:
        return None
    start = maker.rng.randint(0, x.shape[0] - 1)
    return x[start:] if maker.rng.random() < 0.5 else x[::-1]


def _gather(maker: _Maker, x: Tensor) -> Tensor | None:
    if not x.shape:
        return None
    return gx.gather(x, gx.constant([0, x.shape[0] - 1]))


def _softmax(name: str):
    def step(maker: _Maker, x: Tensor) -> Tensor | None:
        return getattr(gx, name)(x, axis=maker.rng.choice([-1, 0])) if x.shape else None

    return step


def _rows(maker: _Maker, x: Tensor) -> Tensor | None:
    """Normalises rows, in steps."""
    if not x.shape:
        return None
    mean = gx.reduce_mean(x, axis=-1, keepdims=True)
    away = x - mean
    spread = gx.reduce_mean(gx.square(away), axis=-1, keepdims=True)
    return away * gx.rsqrt(spread + 1e-3)


def _entropy(maker: _Maker, x: Tensor) -> Tensor | None:
    if len(x.shape) < 2:
        return None
    labels = gx.constant(np.zeros(x.shape[:-1], np.int32))
    return gx.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)


def _power(maker: _Maker, x: Tensor) -> Tensor:
    return gx.pow(gx.abs(x), maker.rng.choice([0.0, 1.0, -1.0, 0.5, 3.0]))


def _cast(maker: _Maker, x: Tensor) -> Tensor:
    return gx.cast(gx.cast(x, maker.rng.choice([gx.float64, gx.int32])), gx.float32)


def _whole(maker: _Maker, x: Tensor) -> Tensor:
    """Integers, by way of division that can fail, but does not."""
    whole = gx.cast(x, gx.int32)
    divided = gx.floordiv(whole, gx.constant(maker.rng.choice([1, 3])))
    return gx.cast(divided * maker.rng.choice([0, 1, 2]) + 0, gx.float32)


def _random(maker: _Maker, x: Tensor) -> Tensor:
    return gx.random_uniform(x.shape, seed=maker.rng.randint(0, 1))


_STEPS = (
    *[_unary(n) for n in ("relu", "negative", "abs", "square", "tanh", "exp", "identity",
                          "stop_gradient", "sign", "sqrt", "sigmoid")],
    *[_binary(n) for n in ("add", "subtract", "multiply", "divide", "maximum", "minimum")] * 3,
    *[_reduce(n) for n in ("reduce_sum", "reduce_max", "reduce_prod", "reduce_mean")] * 2,
    _where, _where, _matmul, _matmul, _reshape, _reshape, _transpose, _broadcast, _broadcast,
    _concat, _slice, _gather, _softmax("softmax"), _softmax("log_softmax"), _rows, _rows,
    _entropy, _power, _cast, _whole, _random,
)  # fmt: skip
