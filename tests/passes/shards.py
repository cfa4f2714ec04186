"""The oracle of sharding: runs a sharded graph for all workers in lock step, with NumPy.

Every node is computed for each worker from that worker's rows alone, by the op's reference; only
at an ``all_reduce`` do they meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.reference.sizes import bind, check
from graphc.compiler.extract import extract
from graphc.ir.errors import DataError, ShardError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.verify import verify
from graphc.passes.context import PassContext
from graphc.passes.pipeline import run_pipeline
from graphc.passes.sharding import Replicated, Sharded, Split, shard
from tests.passes.running import CPU

COMBINERS = {
    "sum": np.add.reduce, "prod": np.multiply.reduce, "max": np.maximum.reduce,
    "min": np.minimum.reduce, "any": np.logical_or.reduce, "all": np.logical_and.reduce,
}  # fmt: skip


def extracted(fetches: Sequence[Tensor], targets: Sequence[Node], feeds: Sequence[Tensor]) -> Graph:
    """What a strategy shards: all passes but fusion."""
    graph = extract(fetches, targets, feeds).graph
    return run_pipeline(graph, PassContext(CPU), frozenset({"fuse"}))


def sharded(graph: Graph, axes: Sequence[int | None]) -> Sharded:
    """``graph`` with its inputs split along ``axes`` (None: replicated), well formed."""
    split = {t: a for t, a in zip(graph.inputs, axes, strict=True) if a is not None}
    found = shard(graph, split)
    verify(found.graph)
    assert len(found.graph.inputs) == len(graph.inputs)
    for state, axis in zip(found.inputs, axes, strict=True):
        assert state == (Replicated() if axis is None else Split(axis))
    return found


def run_shards(
    found: Sharded, feeds: Sequence[np.ndarray], counts: Sequence[int],
    variables: dict[str, np.ndarray],
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """Outputs and variables after a step of workers that have ``counts`` rows each."""
    starts = np.cumsum([0, *counts])
    workers = [
        _Worker(found, feeds, int(first), count, int(starts[-1]), variables)
        for first, count in zip(starts, counts, strict=False)
    ]
    for place, node in enumerate(found.graph.nodes):
        if node.op.name == "all_reduce":
            combine = COMBINERS[node.attrs["combiner"]]
            for index in range(len(node.inputs)):
                whole = combine([worker.operand(place, index) for worker in workers])
                for worker in workers:
                    worker.put(place, index, whole.astype(node.types[index].dtype.numpy))
        else:
            for worker in workers:
                worker.compute(place)
    outputs = [
        _gathered(state, [worker.values[worker.graph.outputs[i]] for worker in workers])
        for i, state in enumerate(found.outputs)
    ]
    for worker in workers[1:]:
        assert worker.assigned.keys() == workers[0].assigned.keys()
        for name, value in worker.assigned.items():
            np.testing.assert_array_equal(value, workers[0].assigned[name])
    return outputs, variables | workers[0].assigned


def _gathered(state, values):
    if isinstance(state, Split):
        return np.concatenate(values, axis=state.axis)
    for value in values[1:]:
        np.testing.assert_array_equal(value, values[0])
    return values[0]


class _Worker:
    """One worker's graph with its own sizes in place of symbols, and what it computed so far."""

    def __init__(self, found, feeds, first, count, total, variables) -> None:
        own = {found.rows: count, found.all_rows: total, found.first_row: first}
        parts = [
            feed if isinstance(state, Replicated)
            else np.take(feed, range(first, first + count), state.axis)
            for feed, state in zip(feeds, found.inputs, strict=True)
        ]  # fmt: skip
        given = dict(zip(found.graph.inputs, parts, strict=True))
        self.graph = _with_sizes(found.graph, bind(given) | own)
        self.values: dict[Tensor, np.ndarray] = dict(zip(self.graph.inputs, parts, strict=True))
        self.variables = variables
        self.assigned: dict[str, np.ndarray] = {}

    def operand(self, place: int, index: int) -> np.ndarray:
        return self.values[self.graph.nodes[place].inputs[index]]

    def put(self, place: int, index: int, value: np.ndarray) -> None:
        self.values[self.graph.nodes[place].outputs[index]] = value

    def compute(self, place: int) -> None:
        node = self.graph.nodes[place]
        check(node, {})
        name = node.op.name
        if name == "placeholder":
            return
        if name == "variable":
            outputs = [self.variables[node.attrs["shared_name"]]]
        else:
            operands = [self.values[t] for t in node.inputs]
            outputs = node.op.reference(node, operands, node.types)
        for tensor, value in zip(node.outputs, outputs, strict=True):
            assert (value.shape, value.dtype) == (tensor.shape, tensor.dtype.numpy), node
            self.values[tensor] = value
        if name == "assign":
            self.assigned[node.inputs[0].node.attrs["shared_name"]] = outputs[0]


def _with_sizes(graph: Graph, sizes: dict[str, int]) -> Graph:
    """A copy in which all sizes are numbers."""
    new, tensors = Graph(), {}
    for node in graph.nodes:
        copied = new.copy_node(node, [tensors[t] for t in node.inputs], sizes=sizes)
        tensors.update(zip(node.outputs, copied.outputs, strict=True))
    new.inputs = tuple(tensors[t] for t in graph.inputs)
    new.outputs = tuple(tensors[t] for t in graph.outputs)
    return new


def refusal(graph: Graph, axes: Sequence[int | None]) -> str:
    """Why ``graph`` cannot be sharded; empty if it can."""
    try:
        sharded(graph, axes)
    except ShardError as error:
        return str(error)
    return ""


def ragged(rng: np.random.Generator, rows: int) -> list[int]:
    """``rows`` divided among a few workers, some of which may have none."""
    cuts = np.sort(rng.integers(0, rows + 1, rng.integers(0, 4)))
    return np.diff([0, *cuts, rows]).tolist()


def failing(compute):
    """What ``compute()`` gives, and whether an error in the data came instead."""
    try:
        return compute(), False
    except DataError:
        return None, True
