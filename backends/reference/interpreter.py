"""Runs a graph node by node with the ops' NumPy references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backends.reference.sizes import bind, check
from graphc.backends.reference.state import Sight, look
from graphc.ir.errors import DataError, FeedError, FetchError, StateError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import TensorType
from graphc.ops.initialization import initialization_order

Array = np.ndarray[Any, Any]
Variables = dict[str, Array]
"""The values of variables, by shared name."""


def run(
    graph: Graph,
    feeds: Mapping[Tensor, Any],
    fetches: Sequence[Tensor],
    variables: Variables | None = None,
    targets: Iterable[Node] = (),
) -> list[Array]:
    """One step: the values of ``fetches``, fresh arrays.

    Args:
        graph: what ``fetches`` and ``targets`` belong to.
        feeds: arrays of exactly the dtypes of the tensors that they replace; Python values are
            converted.
        fetches: any tensors but handles of variables.
        variables: values by shared name; those that are missing and needed are initialized, and
            what the step assigns is stored here, when all of it went well.
        targets: nodes to run for their effects.

    Raises:
        FeedError, FetchError: a missing or wrong feed, a fetch of another graph.
        ShapeError, DataError: sizes or data that break a rule, with the user's line.
        StateError: two assigns to one variable that no path orders.
    """
    variables = {} if variables is None else variables
    given = {tensor: _fed(tensor, value) for tensor, value in feeds.items()}
    for tensor in fetches:
        if tensor.graph is not graph or tensor.type.resource:
            raise FetchError(f"{tensor!r} cannot be fetched: it is no value of this graph")
    targets = list(targets)
    nodes = _needed(graph, given, [*(t.node for t in fetches if t not in given), *targets])
    sight = look(nodes)
    for step in initialization_order(sight.start.values(), variables):
        before = _needed(graph, given, step)
        _run_step(before, look(before), given, variables)
    values = _run_step(nodes, sight, given, variables)
    return [np.array(values[tensor]) for tensor in fetches]


def _run_step(
    nodes: Sequence[Node], sight: Sight, feeds: Mapping[Tensor, Array], variables: Variables
) -> dict[Tensor, Array]:
    """The values of all tensors; stores what is assigned at the very end."""
    sizes = bind(feeds)
    values = dict(feeds)
    for node in nodes:
        check(node, sizes)
        operands = [
            _variable_value(node, tensor, sight, values, variables)
            if tensor.type.resource
            else values[tensor]
            for tensor in node.inputs
        ]
        types = [t.substitute(sizes) for t in node.types]
        outputs = _evaluate(node, operands, types)
        for tensor, output in zip(node.outputs, outputs, strict=True):
            values.setdefault(tensor, output)
    variables |= {name: np.array(values[tensor]) for name, tensor in sight.last.items()}
    return values


def _evaluate(node: Node, operands: Sequence[Any], types: Sequence[TensorType]) -> Sequence[Any]:
    if node.op.name == "variable":
        return [None]
    if node.op.name == "placeholder":
        raise FeedError(node.error("needs a feed"))
    try:
        outputs = node.op.reference(node, operands, types)
    except DataError as error:
        raise DataError(node.error(str(error))) from None
    for output, type_ in zip(outputs, types, strict=True):
        found = (output.dtype, output.shape)
        assert found == (type_.dtype.numpy, type_.shape), (node, found, type_)
    return outputs


def _variable_value(
    node: Node,
    handle: Tensor,
    sight: Sight,
    values: Mapping[Tensor, Array],
    variables: Variables,
) -> Array | None:
    """What ``node`` sees of a variable; None: it does not look, for it assigns anew."""
    seen = sight.seen[node]
    if seen is not None:
        return values[seen]
    name = handle.node.attrs["shared_name"]
    value = variables.get(name)
    if value is not None and (value.dtype, value.shape) != (handle.dtype.numpy, handle.shape):
        found = f"{value.dtype} {list(value.shape)}"
        raise StateError(handle.node.error(f"holds {found}, which it was not declared to"))
    return value


def _needed(graph: Graph, feeds: Mapping[Tensor, Any], roots: Iterable[Node]) -> list[Node]:
    """What ``roots`` depend on, up to the feeds, in order."""
    stack = list(roots)
    found = set(stack)
    while stack:
        node = stack.pop()
        inputs = (tensor.node for tensor in node.inputs if tensor not in feeds)
        for before in (*inputs, *node.controls):
            if before not in found:
                found.add(before)
                stack.append(before)
    return [node for node in graph.nodes if node in found]


def _fed(tensor: Tensor, value: Any) -> Array:
    if tensor.type.resource:
        raise FeedError(f"{tensor!r} is a variable: it is assigned to, not fed")
    wanted = tensor.dtype.numpy
    array = np.asarray(value) if isinstance(value, np.ndarray) else np.asarray(value, wanted)
    if array.dtype != wanted:
        raise FeedError(f"{tensor!r} is fed {array.dtype}: the reference converts nothing")
    return array
