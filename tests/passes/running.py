"""How pass tests read, run and compare graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.reference import run
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.target import Target
from graphc.ir.text import print_graph
from graphc.ir.verify import verify
from graphc.passes.context import Pass, PassContext

CPU = Target("cpu", "test")


def rewritten(step: Pass, before: Graph) -> Graph:
    """What a pass makes of a graph, well formed."""
    result = step.run(before, PassContext(CPU))
    verify(result)
    return result


def text(*lines: str) -> str:
    """A graph's text out of its lines."""
    return "graph {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def becomes(before: str, after: str, *steps: Pass) -> None:
    """Assert that the passes make one text of the other."""
    graph = parse_graph(before)
    for step in steps:
        graph = rewritten(step, graph)
    assert print_graph(graph) == after


def stays(before: str, step: Pass) -> None:
    """Assert that a pass leaves the graph alone, and says so."""
    graph = parse_graph(before)
    assert step.run(graph, PassContext(CPU)) is graph


def outcome(graph: Graph, feeds: Sequence[np.ndarray], variables: dict[str, np.ndarray]):
    """Fetched values and variables after a step of an extracted graph."""
    state = dict(variables)
    values = run(graph, dict(zip(graph.inputs, feeds, strict=True)), graph.outputs, state,
                 graph.targets)  # fmt: skip
    return values, state


def assert_same_bits(found, wanted) -> None:
    """Equal values and variables; all NaN are one, 0.0 and -0.0 are two."""
    values, state = found
    wanted_values, wanted_state = wanted
    assert state.keys() == wanted_state.keys()
    pairs = [*zip(values, wanted_values, strict=True)]
    pairs += [(state[name], wanted_state[name]) for name in state]
    for a, b in pairs:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
        numbers = ~np.isnan(a) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
        assert np.array_equal(np.signbit(a[numbers]), np.signbit(b[numbers]))
