"""From a call of a session to a plan: one part of the program for each task that takes part.

The graph is optimised as a whole, each node is given a device, and it is cut where tensors go from
one device to another. Everything here depends on the graph and on the cluster alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

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
from graphc.runtime.feeds import Feeding
from graphc.runtime.part import Part, Route, printed

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
    agree: bool = False
    """Some task might write variables in a step that another does not commit."""
    writers: tuple[int, ...] = ()
    """The tasks, besides the client's, that then have to be told of the commit, in order."""
    axes: tuple[int | None, ...] = ()
    """Along which axis each feed is divided over the workers that share a batch, if they do."""
    digest: int = 0
    """Equal for equal graphs, of whatever lines, that are divided alike."""

    @cached_property
    def feeding(self) -> Feeding:
        """How values become feeds; what it finds out of their shapes serves all steps."""
        return Feeding(self.feeds, self.checks)


class Planner(Protocol):
    """What makes plans: ``make_plan``."""

    def __call__(
        self,
        signature: Signature,
        cluster: ClusterSpec,
        client: int,
        target: Target,
        options: CompileOptions,
        *,
        once: bool = False,
    ) -> Plan: ...


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
    names = _assigned(signature[1]) if once else ()
    return cut(graph, cluster, client, signature[2], extracted.checks, once=names)


def cut(
    graph: Graph,
    cluster: ClusterSpec,
    client: int,
    feeds: Sequence[Tensor] = (),
    checks: Sequence[Check] = (),
    *,
    once: Sequence[str] = (),
) -> Plan:
    """The plan for a graph whose nodes all have devices, which are tasks of the cluster.

    Raises:
        DeviceError: as ``partition``.
    """
    devices = [cluster.device_of(rank) for rank in range(cluster.size)]
    ranks = {device: rank for rank, device in enumerate(devices)}
    graphs = {ranks[device]: part for device, part in partition(graph, devices[client]).items()}
    numbers = _edge_numbers(graphs)
    symbols = _symbols(feeds)
    agree = needs_agreement(graph)
    writing = {ranks[device] for device in _writing(graph)}
    writers = tuple(sorted(writing - {client})) if agree else ()
    fetched = _fetched(graphs[client], agree=agree)
    parts = {
        rank: Part(
            *printed(part),
            symbols,
            _routes(part, numbers, ranks),
            tuple(once),
            writers if rank in writers else (),
            fetched,
        )
        for rank, part in graphs.items()
    }
    return Plan(tuple(feeds), tuple(checks), symbols, parts, len(numbers), agree, writers)


def _assigned(targets: Sequence[Node]) -> tuple[str, ...]:
    """The variables that these nodes assign."""
    return tuple(node.inputs[0].node.attrs["shared_name"] for node in targets)


def needs_agreement(graph: Graph) -> bool:
    """Whether a task could write a variable in a step that another task does not commit.

    A task that dies may do so between what two others hear of it, so two writers have to agree. One
    alone cannot be between; a step that fails elsewhere it does not commit if it needs something
    that is computed from whatever may fail there: what failed is never sent.
    """
    if len(_writing(graph)) > 1:
        return True
    guards = Guards()
    failing = {node for node in graph.nodes if guards.can_fail(node)}
    return any(
        node.device != device
        for device in _writing(graph)
        for node in failing - _behind(graph, device)
    )


def _fetched(graph: Graph, *, agree: bool) -> frozenset[str]:
    """The edges of what the client only fetches: it waits for them last, and nobody for it then.

    What it fetches twice it has to copy, and where tasks agree, that comes before they do.
    """
    read = {tensor for node in graph.nodes for tensor in node.inputs}
    if agree:
        read.update(tensor for tensor, n in Counter(graph.outputs).items() if n > 1)
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
