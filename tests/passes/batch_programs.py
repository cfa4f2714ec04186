"""Random programs over a batch, most of which train: float64, so that shards can be compared.

A *safe* program has only steps that can be divided among workers; the others may hold any.
"""

from __future__ import annotations

import random

import numpy as np

import graphc as gx
from graphc.ir.graph import Tensor
from tests.passes.random_programs import Program

ROWS_AT = {"x": 0, "y": 0, "z": 1, "labels": 0, "scale": None}
"""The axis along which each feed is split."""
WIDTH = 4


class BatchMaker:
    """``rows`` of data; tensors by whether they have a row for each of the batch's."""

    def __init__(self, seed: int, rows: int, safe: bool) -> None:
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.rows, self.safe = rows, safe
        self.program = Program(gx.Graph())
        self.axes: list[int | None] = []
        self.batched: list[Tensor] = []
        self.whole: list[Tensor] = []
        self.variables: list[gx.Variable] = []

    def made(self, size: int = 18) -> Program:
        with self.program.graph.as_default():
            self.sources()
            for _ in range(size):
                self.step()
            self.finish()
        return self.program

    def sources(self) -> None:
        self.x = self.feed("x", gx.float64, [None, WIDTH], (self.rows, WIDTH))
        self.y = self.feed("y", gx.float64, [None, 3], (self.rows, 3))
        z = self.feed("z", gx.float64, [2, None], (2, self.rows))
        self.labels = self.feed("labels", gx.int32, [None], (self.rows,))
        self.whole.append(self.feed("scale", gx.float64, [WIDTH], (WIDTH,)))
        for name, shape in {"w": (WIDTH, WIDTH), "b": (WIDTH,), "table": (5, WIDTH)}.items():
            variable = gx.Variable(np.zeros(shape), name=name)
            self.program.variables[name] = self.numbers.standard_normal(shape)
            self.variables.append(variable)
        self.w, self.b, self.table = self.variables
        self.whole += [self.b.value(), self.w.value()]
        self.batched += [self.x, gx.matmul(self.x, self.w) + self.b, gx.transpose(z),
                         gx.gather(self.table, self.labels)]  # fmt: skip

    def feed(self, name, dtype, shape, sizes) -> Tensor:
        tensor = gx.placeholder(dtype, shape, name=name)
        array = (self.numbers.integers(0, 5, sizes) if dtype is gx.int32
                 else self.numbers.standard_normal(sizes))  # fmt: skip
        self.program.feeds[tensor] = np.asarray(array, dtype.numpy)
        self.axes.append(ROWS_AT[name])
        return tensor

    def row(self, width: int | None = None) -> Tensor:
        """One that has rows; ``width``: a matrix of so many columns."""
        fits = [t for t in self.batched if width is None or (t.shape[1:] == (width,))]
        return self.rng.choice(fits[-6:])

    def vectors(self) -> list[Tensor]:
        """The last whole ones that broadcast with rows."""
        return [t for t in self.whole if t.shape == (WIDTH,)][-3:]

    def step(self) -> None:
        risky = not self.safe and self.rng.random() < 0.1
        target, make = self.rng.choice(RISKY if risky else STEPS)
        found = make(self)
        if found is not None:
            (self.batched if target == "rows" else self.whole).append(found)

    def finish(self) -> None:
        rng, program = self.rng, self.program
        ends = [gx.reduce_mean(gx.tanh(t)) for t in rng.sample(self.batched, 3)]
        ends += [gx.reduce_sum(gx.tanh(t)) for t in rng.sample(self.whole, 2)]
        loss = sum(ends[1:], ends[0])
        program.fetches = [loss, *rng.sample(self.batched, 2), *self.whole[-3:]]
        if rng.random() < 0.2:
            return
        for variable, grad in zip(self.variables, gx.gradients(loss, self.variables), strict=True):
            if grad is not None:
                decay = rng.choice([None, None, 0.01])
                step = grad if decay is None else grad + decay * variable.value()
                if rng.random() < 0.2:
                    program.fetches.append(grad)
                program.targets.append(variable.assign_sub(0.1 * step).node)


def _unary(maker: BatchMaker) -> Tensor:
    op = maker.rng.choice(
        [gx.tanh, gx.square, gx.relu, gx.sigmoid, gx.negative, gx.abs, gx.identity]
    )
    return op(maker.row())


def _binary(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    other = maker.rng.choice(
        [maker.row(WIDTH), maker.b.value(), gx.constant(0.5, gx.float64), *maker.vectors()]
    )
    op = maker.rng.choice([gx.add, gx.subtract, gx.multiply, gx.maximum])
    return op(*maker.rng.sample([x, other], 2))


def _matmul(maker: BatchMaker) -> Tensor:
    return gx.tanh(gx.matmul(maker.row(WIDTH), maker.w))


def _reduce_rows(maker: BatchMaker) -> Tensor:
    op = maker.rng.choice([gx.reduce_sum, gx.reduce_mean, gx.reduce_max])
    return op(maker.row(WIDTH), axis=1, keepdims=True) * maker.row(WIDTH)


def _normalised(maker: BatchMaker) -> Tensor:
    """By statistics of the batch."""
    x = maker.row(WIDTH)
    away = x - gx.reduce_mean(x, axis=0)
    return away * gx.rsqrt(gx.reduce_mean(gx.square(away), axis=0) + 1e-1)


def _reshape(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    rows = x.shape[0]
    shapes = [(rows, 2, 2), (rows * WIDTH,), (rows * 2, 2), (1, rows, WIDTH)]
    back = gx.tanh(gx.reshape(x, maker.rng.choice(shapes)))
    return gx.reshape(back, (rows, WIDTH))


def _transpose(maker: BatchMaker) -> Tensor:
    turned = gx.transpose(maker.row(WIDTH))
    if maker.rng.random() < 0.5:
        return gx.transpose(gx.tanh(turned))
    return gx.matmul(turned, maker.w, transpose_a=True)


def _softmax(maker: BatchMaker) -> Tensor:
    return maker.rng.choice([gx.softmax, gx.log_softmax])(maker.row(WIDTH), axis=-1)


def _entropy(maker: BatchMaker) -> Tensor:
    logits = gx.concat([maker.row(WIDTH), maker.row(WIDTH)], axis=1)
    if maker.rng.random() < 0.5:
        loss = gx.sparse_softmax_cross_entropy_with_logits(labels=maker.labels, logits=logits)
    else:
        labels = gx.one_hot(maker.labels, 2 * WIDTH, dtype=gx.float64)
        loss = gx.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return gx.expand_dims(loss, 1) * maker.row(WIDTH)


def _slice(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    return gx.concat([x[:, 2:], x[:, :2]], axis=1) if maker.rng.random() < 0.5 else x[:, ::-1]


def _where(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    return gx.where(gx.greater(x, maker.rng.choice([maker.b.value(), maker.row(WIDTH)])), x, -x)


def _noise(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    make = maker.rng.choice([gx.random_uniform, gx.random_normal])
    shape = maker.rng.choice([x.shape, x.shape[::-1], (2, *x.shape)])
    noise = make(shape, dtype=gx.float64, seed=maker.rng.randint(0, 3))
    if len(shape) == 3:
        return x * noise[1]
    return x * (noise if shape == x.shape else gx.transpose(noise))


def _like(maker: BatchMaker) -> Tensor:
    x = maker.row(WIDTH)
    return x + gx.ones_like(x) * 2.0


def _best(maker: BatchMaker) -> Tensor:
    best = gx.argmax(maker.row(WIDTH), axis=1)
    return gx.gather(maker.table, best)


def _over_batch(maker: BatchMaker) -> Tensor:
    op = maker.rng.choice([gx.reduce_sum, gx.reduce_mean, gx.reduce_max, gx.reduce_min])
    return op(gx.tanh(maker.row(WIDTH)), axis=0)


def _product(maker: BatchMaker) -> Tensor:
    return gx.matmul(gx.tanh(maker.row(WIDTH)), gx.tanh(maker.row(WIDTH)), transpose_a=True)


def _of_whole(maker: BatchMaker) -> Tensor | None:
    """What is linear in its operands, or not: whether partial ones may stay so."""
    x = maker.rng.choice(maker.whole[-4:])
    alike = [t for t in maker.whole if t.shape == x.shape]
    other = maker.rng.choice(alike)
    steps = [
        lambda: x + other, lambda: x - other, lambda: -x, lambda: x * 0.5, lambda: x * other,
        lambda: gx.transpose(x), lambda: gx.square(x), lambda: gx.broadcast_to(x, (2, *x.shape))[1],
        lambda: gx.reshape(x, (*x.shape, 1))[..., 0], lambda: x / (gx.square(other) + 1.0),
        lambda: gx.where(gx.greater(other, 0.0), x, gx.zeros_like(x)),
        lambda: gx.pad(x, [(0, 1)] * len(x.shape))[(slice(0, WIDTH),) * len(x.shape)],
    ]  # fmt: skip
    return maker.rng.choice(steps)()


def _count(maker: BatchMaker) -> Tensor:
    x = maker.row()
    sizes = gx.cast(gx.shape(x), gx.float64)[:1] if maker.rng.random() < 0.5 else gx.cast(
        gx.size(x), gx.float64)  # fmt: skip
    return maker.b.value() / (sizes + 1.0)


def _accuracy(maker: BatchMaker) -> Tensor:
    best = gx.cast(gx.argmax(maker.row(WIDTH), axis=1), gx.int32)
    return gx.reduce_mean(gx.cast(gx.equal(best, maker.labels), gx.float64)) * maker.b


def _logical(maker: BatchMaker) -> Tensor:
    found = gx.greater(maker.row(WIDTH), maker.rng.choice([0.0, -3.0]))
    return gx.cast(maker.rng.choice([gx.reduce_any, gx.reduce_all])(found, axis=0), gx.float64)


STEPS = [
    *[("rows", step) for step in (
        _unary, _unary, _binary, _binary, _binary, _matmul, _matmul, _reduce_rows, _normalised,
        _reshape, _transpose, _softmax, _entropy, _slice, _where, _noise, _like, _best)],
    *[("whole", step) for step in (
        _over_batch, _over_batch, _product, _of_whole, _of_whole, _of_whole, _count, _accuracy,
        _logical)],
]  # fmt: skip
RISKY = [
    ("rows", lambda maker: maker.row(WIDTH)[::-1]),
    ("rows", lambda maker: gx.softmax(maker.row(WIDTH), axis=0)),
    ("whole", lambda maker: maker.row(WIDTH)[0]),
    ("whole", lambda maker: gx.cast(gx.argmax(maker.row(WIDTH), axis=0), gx.float64)),
    ("rows", lambda maker: gx.matmul(
        gx.matmul(maker.x, maker.row(WIDTH), transpose_b=True), maker.row(WIDTH))),
    ("rows", lambda maker: gx.gather(maker.row(WIDTH), maker.labels)),
    ("whole", lambda maker: gx.gather(maker.row(WIDTH), gx.constant([0, 1]))[0]),
    ("rows", lambda maker: gx.concat([maker.x, maker.row(WIDTH)], axis=0)[: maker.x.shape[0]]),
    ("rows", lambda maker: gx.reshape(gx.reshape(gx.transpose(maker.row(WIDTH)), [-1]),
                                      maker.x.shape)),
]  # fmt: skip
"""Steps that need rows of other workers."""
