"""From a call of a session to a plan: one part of the program for each task that takes part.

The graph is optimised as a whole, each node is given a device, and it is cut where tensors go from
one device to another. Everything here depends on the graph and on the cluster alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.loops.program import Check
from graphc.compiler import CompileOptions, Extract, extract
from graphc.ir.dims import symbols_of
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.target import Target
from graphc.ops.state import is_assign
from graphc.passes.context import PassContext
from graphc.passes.guards import Guards
from graphc.passes.partition import partition
from graphc.passes.pipeline import cluster_pipeline, run_pipeline
from graphc.passes.place import Place
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.part import Part, Route

Signature = tuple[tuple[Tensor, ...], tuple[Node, ...], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Plan:
    """What each task does in a step; ``feeds`` are the session's tensors, in order."""

    feeds: tuple[Tensor, ...]
    checks: tuple[Check, ...]
    symbols: tuple[str, ...]
    parts: Mapping[int, Part]
    """By rank; that of the client is always there: it feeds and fetches."""
    edges: int
    """How many transfers a step makes."""
    agree: bool
    """Some task might write variables in a step that fails on another."""


def make_plan(
    signature: Signature,
    cluster: ClusterSpec,
    client: int,
    target: Target,
    options: CompileOptions,
    *,
    once: bool = False,
) -> Plan:
    """The plan of a session in task ``client`` for fetches, targets and feeds.

    ``once``: the step initialises; variables that have a value keep it.

    Raises:
        FeedError, StateError: as ``extract`` and ``compile_graph``.
        DeviceError: a device that no task has.
    """
    extracted = extract(*signature)
    devices = [cluster.device_of(rank) for rank in range(cluster.size)]
    graph = _optimized(extracted, devices, devices[client], target, options)
    ranks = {device: rank for rank, device in enumerate(devices)}
    graphs = {ranks[device]: part for device, part in partition(graph, devices[client]).items()}
    numbers = _edge_numbers(graphs)
    symbols = _symbols(signature[2])
    agree = needs_agreement(graph)
    fetched = frozenset() if agree else _fetched(graphs[client])
    parts = {
        rank: Part(part, symbols, _routes(part, numbers, ranks), once, agree, fetched)
        for rank, part in graphs.items()
    }
    return Plan(tuple(signature[2]), extracted.checks, symbols, parts, len(numbers), agree)


def needs_agreement(graph: Graph) -> bool:
    """Whether a task could write a variable in a step that fails on another task.

    It cannot if it needs something that is computed from whatever may fail there: what failed is
    never sent.
    """
    guards = Guards()
    failing = {node for node in graph.nodes if guards.can_fail(node)}
    return any(
        node.device != device
        for device in _writing(graph)
        for node in failing - _behind(graph, device)
    )


def _fetched(graph: Graph) -> frozenset[str]:
    """The edges of what the client only fetches: it waits for them last, and nobody for it then."""
    read = {tensor for node in graph.nodes for tensor in node.inputs}
    arrivals = (t for t in graph.outputs if t.node.op.name == "recv" and t not in read)
    return frozenset(tensor.node.attrs["edge"] for tensor in arrivals)


def _writing(graph: Graph) -> set[str]:
    """The devices on which variables are written."""
    return {node.device for node in graph.nodes if is_assign(node)}


def _behind(graph: Graph, device: str) -> set[Node]:
    """The nodes on ``device``, and all that they depend on."""
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        if node in found or node.device == device:
            found.add(node)
            found.update(tensor.node for tensor in node.inputs)
    return found


def _optimized(
    extracted: Extract,
    devices: Sequence[str],
    default: str,
    target: Target,
    options: CompileOptions,
) -> Graph:
    context = PassContext(target=target, dump=options.dump)
    passes = cluster_pipeline(target, Place(tuple(devices), default))
    return run_pipeline(extracted.graph, context, options.disabled_passes, options.verify, passes)


def _edge_numbers(graphs: Mapping[int, Graph]) -> dict[str, int]:
    """The edges of all parts, numbered in the order in which they are sent."""
    sends = (n for _, graph in sorted(graphs.items()) for n in graph.nodes if n.op.name == "send")
    return {node.attrs["edge"]: number for number, node in enumerate(sends)}


def _routes(graph: Graph, numbers: Mapping[str, int], ranks: Mapping[str, int]) -> dict[str, Route]:
    found: dict[str, Route] = {}
    for node in graph.nodes:
        end = {"send": "to", "recv": "source"}.get(node.op.name)
        if end is not None:
            edge = node.attrs["edge"]
            found[edge] = Route(numbers[edge], ranks[node.attrs[end]])
    return found


def _symbols(feeds: Sequence[Tensor]) -> tuple[str, ...]:
    return tuple(sorted({s for fed in feeds for dim in fed.shape for s in symbols_of(dim)}))
