"""Random graphs of every dtype, with known and unknown sizes, empty and single axes, and state.

Values are computed while a graph grows, by the ops' references, so that each new node can be
judged: a node that would fail, or make steps or enormous numbers of floats that may move
(``tests.native.spread``), is left unused. All else is kept, infinities and NaN included.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import numpy as np

import graphc as gx
from graphc.ir.dims import symbol_name
from graphc.ir.graph import Graph, Node, Tensor
from tests.native.spread import NoSlopeError, spread

FLOATS, INTEGERS = (gx.float32, gx.float64), (gx.int32, gx.int64)
SMALL, LARGE = (2, 3, 4, 5, 7, 8, 16, 17, 33), (64, 130, 257)
HARD = (0.0, -0.0, 1.0, -1.0, 0.5, 2.5, np.inf, -np.inf, np.nan, 1e-40, 3e38)
MOST_ELEMENTS = {SMALL: 3000, LARGE: 150_000}
LARGEST = 1e6
LOOSEST = 1e-3
"""A float that may move by more than this part of its size, or of 1, says little: left out."""


@dataclass
class RandomGraph:
    """A user's graph and its feeds; ``tensors`` are all there are, ``effects`` assign."""

    graph: Graph = field(default_factory=Graph)
    feeds: dict[Tensor, np.ndarray] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    effects: list[Node] = field(default_factory=list)
    start: dict[str, np.ndarray] = field(
        default_factory=lambda: {"random/counter": np.array(0, np.int64)}
    )
    """The values of variables, by shared name, before the step."""


class NothingFitsError(Exception):
    """The graph has no operand for a step."""


class Maker:
    """A graph that grows, and what its tensors hold."""

    def __init__(self, seed, sizes=SMALL):
        self.most_elements = MOST_ELEMENTS[sizes]
        self.rng = Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.made = RandomGraph()
        self.values = {}
        self.errors = {}
        self.sizes = {}
        self.variables = []
        self.now = dict(self.made.start)
        """What variables hold after the last assign."""
        self.moved = {}
        """How far that may be off."""
        self.last = {}
        """The last assign to each variable."""
        self.done = 0
        axes = [*self.rng.sample(sizes, 2), self.rng.choice([0, 1, 1, 65, *sizes])]
        self.bases = [self.rng.choices(axes, k=rank) for rank in (2, self.rng.choice([1, 3, 4]))]

    # What is fed and what outlives the step.

    def sources(self):
        dtypes = [gx.float32, gx.float32, gx.float64, gx.int32, gx.int64, gx.bool]
        self.rng.shuffle(dtypes)
        for dtype in [gx.float32, *dtypes[:5]]:
            self.placeholder(dtype, self.shape())
        shape = self.shape()
        for number in range(self.rng.choice([0, 2, 3, 5])):
            dtype = self.rng.choice([gx.float32, gx.float32, gx.float32, gx.int32, gx.bool])
            value = self.array(dtype, shape if self.rng.random() < 0.7 else self.shape())
            variable = gx.Variable(value, name=f"v{number}")
            self.made.start[f"v{number}"] = self.now[f"v{number}"] = value
            self.variables.append(variable)
        self.judge()

    def placeholder(self, dtype, shape):
        axes = [
            self.rng.choice([f"n{n}", f"n{n}", None]) if self.rng.random() < 0.35 else n
            for n in shape
        ]
        x = gx.placeholder(dtype, axes)
        self.sizes |= {
            symbol_name(dim): n for dim, n in zip(x.shape, shape, strict=True)
            if symbol_name(dim) is not None
        }  # fmt: skip
        self.made.feeds[x] = self.array(dtype, shape)
        return x

    def shape(self):
        """One of the graph's shapes, or one that broadcasts to it or is its transpose."""
        shape = self.rng.choice(self.bases)
        change = self.rng.choice(["", "", "single", "tail", "transposed"])
        if change == "single":
            shape = [self.rng.choice([n, 1]) for n in shape]
        elif change == "tail":
            shape = shape[self.rng.randint(0, len(shape)) :]
        elif change == "transposed":
            shape = shape[::-1]
        return tuple(shape if np.prod(shape) <= self.most_elements else shape[:2])

    def array(self, dtype, shape):
        """Mostly ordinary numbers; among the floats of some tensors, hard ones."""
        if dtype is gx.bool:
            return np.asarray(self.numbers.random(shape) < 0.5)
        if dtype.is_integer:
            ends = np.iinfo(dtype.numpy)
            wild = self.numbers.integers(ends.min, ends.max, shape, endpoint=True)
            tame = self.numbers.integers(-9, 10, shape)
            share = 0.1 if self.rng.random() < 0.3 else 0
            return np.where(self.numbers.random(shape) < share, wild, tame).astype(dtype.numpy)
        share = 0.1 if self.rng.random() < 0.25 else 0
        hard = self.numbers.choice(np.array(HARD), shape)
        ordinary = self.numbers.uniform(-2, 2, shape)
        if self.rng.random() < 0.2:
            ordinary = np.rint(ordinary)  # many are equal, and zeros have both signs
        with np.errstate(all="ignore"):
            found = np.where(self.numbers.random(shape) < share, hard, ordinary)
            return np.asarray(found, dtype.numpy)

    # Operands.

    def pick(self, *dtypes, rank=0, ok=None):
        """A tensor of these dtypes and at least this rank, rather a new one."""
        found = [
            t for t in self.made.tensors
            if (not dtypes or t.dtype in dtypes)
            and len(t.shape) >= rank
            and (ok is None or ok(t))
        ]  # fmt: skip
        if not found:
            raise NothingFitsError
        computed = [t for t in found if t.node.inputs]
        if computed and self.rng.random() < 0.8:
            return self.rng.choice(computed[-5:] if self.rng.random() < 0.7 else computed)
        return self.rng.choice(found)

    def partner(self, x, dtype=None):
        """A tensor or number that broadcasts with ``x``."""
        dtype = dtype or x.dtype
        if self.rng.random() < 0.15:
            plain = True if dtype is gx.bool else self.rng.choice([0, -0.0, 1, -1, 2])
            shape = self.rng.choice([(), (), (1,)])
            if self.rng.random() < 0.5:
                return gx.constant(np.full(shape, plain, dtype.numpy))
            return gx.constant(self.array(dtype, shape))
        return self.pick(dtype, ok=lambda t: _broadcast(t.shape, x.shape))

    def exact(self, *dtypes, **how):
        """A tensor whose bits do not depend on how kernels are cut."""
        return self.pick(*dtypes, ok=lambda t: self.errors[t] is None, **how)

    def axis(self, x):
        return self.rng.randrange(-len(x.shape), len(x.shape))

    # Growth.

    def grow(self, step):
        """Let ``step`` add nodes, unless there are no operands that fit."""
        with suppress(NothingFitsError, gx.ShapeError, gx.DTypeError):
            step(self)
        self.judge()

    def judge(self):
        """Keep those of the new nodes whose values can be told and compared."""
        graph = self.made.graph
        new, self.done = graph.nodes[self.done :], len(graph)
        for node in new:
            if all(t in self.values or t.type.resource for t in node.inputs):
                self.keep(node)

    def keep(self, node):
        """Enter a node's outputs, if they are worth it."""
        if node.op.name == "variable" or node.attrs.get("initializer"):
            return
        try:
            outputs, errors = self.evaluate(node)
        except (NoSlopeError, gx.DataError):
            return
        if any(x.size > self.most_elements or x.ndim > 5 for x in outputs):
            return
        if not all(map(_tells, outputs, errors)):
            return
        self.values |= zip(node.outputs, outputs, strict=True)
        self.errors |= zip(node.outputs, errors, strict=True)
        self.made.tensors += node.outputs
        if node.inputs and node.inputs[0].type.resource and node.op.name != "read_variable":
            name = node.inputs[0].node.attrs["shared_name"]
            self.now[name], self.moved[name], self.last[name] = outputs[0], errors[0], node
            self.made.effects.append(node)

    def evaluate(self, node):
        if node.op.name == "placeholder":
            return [self.made.feeds[node.outputs[0]]], [None]
        if not all(c.holds(self.sizes) for c in node.constraints):
            raise NoSlopeError(node.name)
        operands = [self.operand(node, t) for t in node.inputs]
        types = [t.substitute(self.sizes) for t in node.types]
        inputs = [value for value, _ in operands]
        outputs = node.op.reference(node, inputs, types)
        return outputs, spread(node, inputs, outputs, [error for _, error in operands])

    def operand(self, node, tensor):
        """What ``node`` sees of ``tensor``, and how far it may be off."""
        if not tensor.type.resource:
            return self.values[tensor], self.errors[tensor]
        name = tensor.node.attrs["shared_name"]
        if self.last.get(name) in node.controls:
            return self.now[name], self.moved[name]
        return self.made.start[name], None


def _tells(value, error):
    """Whether an output can be compared sharply."""
    if error is None:
        return True
    size = np.abs(value.astype(np.float64))
    with np.errstate(all="ignore"):
        return bool((size < LARGEST).all() and (error <= LOOSEST * np.maximum(size, 1)).all())


def _broadcast(a, b):
    pairs = zip(a[::-1], b[::-1], strict=False)
    return all(x == y or 1 in (x, y) for x, y in pairs)
