"""Random graphs of everything that a node can have: for texts, verifier and views."""

from __future__ import annotations

import random

import numpy as np

import graphc.ops  # noqa: F401, it fills the registry
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DTYPES, float32, int64
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.source import Source

FLOATS = (0.0, -0.0, 0.1, float("inf"), float("-inf"), float("nan"), 1e300, 5e-324)
DEVICES = ("", "", "/cpu:0", "/job:ps/task:1/gpu:0")
FILES = ("train.py", 'my "odd" dir/é\\n.py')


def random_graph(rng: random.Random, size: int = 20, depth: int = 1) -> Graph:
    """A graph of about ``size`` nodes, some of them with bodies ``depth`` deep."""
    maker = _Maker(rng, depth)
    for _ in range(size):
        rng.choice(_NODES)(maker)
    graph = maker.graph
    graph.inputs = tuple(t for n in graph.nodes if n.op.name == "placeholder" for t in n.outputs)
    tensors = [t for n in graph.nodes for t in n.outputs if not t.type.resource]
    graph.outputs = tuple(rng.choices(tensors, k=rng.randint(0, 3))) if tensors else ()
    graph.targets = tuple(rng.sample(list(graph.nodes), min(2, len(graph))))
    return graph


class _Maker:
    """Adds nodes to ``graph``."""

    def __init__(self, rng: random.Random, depth: int) -> None:
        self.rng = rng
        self.depth = depth
        self.graph = Graph()
        self.sizes: list[Dim] = [1, 2, 3]

    def add(self, op: str, *inputs: Tensor, **attrs: object) -> Node:
        rng, nodes = self.rng, list(self.graph.nodes)
        controls = rng.sample(nodes, min(len(nodes), rng.choice([0, 0, 0, 1, 2])))
        source = Source(rng.choice(FILES), rng.randint(1, 999)) if rng.random() < 0.8 else None
        forward = rng.choice(nodes).name if nodes and rng.random() < 0.2 else None
        name = rng.choice([None, "scope/x", "a.b-c>d"])
        return self.graph.add(
            op, inputs, attrs, name=name, controls=controls, device=rng.choice(DEVICES),
            source=source, forward=forward,
        )  # fmt: skip

    def float_tensor(self) -> Tensor:
        found = [
            t for n in self.graph.nodes for t in n.outputs
            if t.dtype is float32 and not t.type.resource
        ]  # fmt: skip
        return self.rng.choice(found) if found else self.placeholder().outputs[0]

    def placeholder(self) -> Node:
        self.sizes.append(self.graph.fresh_symbol())
        n = self.sizes[-1]
        self.sizes += [n + 1, 3 * n // 2, n * n - 1, n % 3]
        shape = tuple(self.rng.choices(self.sizes, k=self.rng.randint(0, 3)))
        return self.add("placeholder", dtype=float32, shape=shape)

    def constant(self) -> Node:
        dtype = self.rng.choice(DTYPES)
        shape = self.rng.choice([(), (0,), (2, 3), (64,), (5, 13)])
        generator = np.random.default_rng(self.rng.getrandbits(32))
        value = np.asarray(generator.integers(0, 100, shape), dtype.numpy)
        if dtype.is_float and value.size and self.rng.random() < 0.5:
            with np.errstate(over="ignore"):
                value.reshape(-1)[-1] = self.rng.choice(FLOATS)
        return self.add("constant", value=value)

    def add_(self) -> Node:
        a = self.float_tensor()
        same = [t for t in (self.float_tensor() for _ in range(5)) if t.type == a.type]
        return self.add("add", a, same[0] if same else a)

    def constrained(self) -> Node:
        """Two vectors whose sizes only a run can compare."""
        shapes = [(self.graph.fresh_symbol(),) for _ in range(2)]
        pair = [self.add("placeholder", dtype=float32, shape=s).outputs[0] for s in shapes]
        return self.add("add", *pair)

    def split(self) -> Node:
        x = self.add("placeholder", dtype=float32, shape=(5, self.rng.choice(self.sizes)))
        return self.add("split", x.outputs[0], axis=0, sizes=(1, 0, 4))

    def cast(self) -> Node:
        return self.add("cast", self.float_tensor(), dtype=int64)

    def pad(self) -> Node:
        x = self.add("placeholder", dtype=float32, shape=(2,)).outputs[0]
        return self.add("pad", x, low=(1,), high=(0,), value=self.rng.choice(FLOATS))

    def state(self) -> Node:
        name = self.rng.choice(["w", 'o"dd\n', "ü"])
        variable = self.add("variable", shared_name=name, dtype=float32, shape=(2,))
        value = self.add("constant", value=np.ones(2, np.float32))
        return self.add("assign", variable.outputs[0], value.outputs[0], initializer=True)

    def no_op(self) -> Node:
        return self.add("no_op")

    def fused(self) -> Node:
        if not self.depth:
            return self.no_op()
        body = random_graph(self.rng, 3, self.depth - 1)
        inputs = [self.add("placeholder", dtype=t.dtype, shape=t.shape) for t in body.inputs]
        return self.add("fused", *(n.outputs[0] for n in inputs), body=body)


_NODES = (
    _Maker.placeholder, _Maker.constant, _Maker.add_, _Maker.add_, _Maker.constrained,
    _Maker.split, _Maker.cast, _Maker.pad, _Maker.state, _Maker.no_op, _Maker.fused,
)  # fmt: skip
