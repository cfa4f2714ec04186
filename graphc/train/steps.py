"""The global step: a variable that counts updates, for schedules and checkpoints."""

from __future__ import annotations

from typing import cast

import numpy as np

from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.scope import get_default_graph, graph_scope
from graphc.ir.source import located, user_source
from graphc.ops.variables import Variable

_KEY = "global_step"


def get_global_step(graph: Graph | None = None) -> Variable | None:
    """The graph's global step, or None if it has none."""
    graph = get_default_graph() if graph is None else graph
    return cast("Variable | None", graph.collections.get(_KEY))


def create_global_step(graph: Graph | None = None) -> Variable:
    """A global step, int64 and 0 at the start, for a graph that has none.

    Raises:
        GraphError: the graph has a global step.
    """
    graph = get_default_graph() if graph is None else graph
    if get_global_step(graph) is not None:
        raise GraphError(located("the graph has a global step already", user_source()))
    if graph is get_default_graph():
        step = Variable(np.int64(0), trainable=False, name=_KEY)
    else:
        with graph_scope(graph):
            step = Variable(np.int64(0), trainable=False, name=_KEY)
    graph.collections[_KEY] = step
    return step


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The graph's global step, made if it has none."""
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found
