"""Which variables must be given their initial values before a step, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from graphc.ir.graph import Node
from graphc.ops.state import initializer_of, initializers


def initialization_order(
    variables: Iterable[Node], initialized: Collection[str]
) -> list[list[Node]]:
    """Initializers to run, in steps: those of one step depend on the variables of earlier ones.

    Args:
        variables: the ``variable`` nodes whose values a step starts from.
        initialized: the shared names of variables that have values already.

    Returns:
        The ``assign`` nodes of ``variables``, and of those that their initial values depend on,
        without the initialized ones. A step is run as a whole, and commits, before the next.

    Raises:
        GraphError: a variable without an initializer.
    """
    wanted = [v for v in variables if v.attrs["shared_name"] not in initialized]
    if not wanted:
        return []
    table = initializers(wanted[0].graph)
    missing = _closure(wanted, initialized, table)
    done: set[Node] = set()
    steps: list[list[Node]] = []
    while len(done) < len(missing):
        ready = [v for v, needs in missing.items() if v not in done and needs <= done]
        assert ready, "initial values depend on each other in a circle"
        steps.append([table[variable] for variable in ready])
        done.update(ready)
    return steps


def _closure(
    variables: Iterable[Node], initialized: Collection[str], table: Mapping[Node, Node]
) -> dict[Node, set[Node]]:
    """Every variable to initialize, in order, with those that its initial value depends on."""
    found: dict[Node, set[Node]] = {}
    stack = list(variables)
    while stack:
        variable = stack.pop()
        if variable in found:
            continue
        initializer = table.get(variable) or initializer_of(variable)
        needs = _variables_behind(initializer) - {variable}
        found[variable] = {v for v in needs if v.attrs["shared_name"] not in initialized}
        stack.extend(found[variable])
    return {variable: found[variable] for variable in table if variable in found}


def _variables_behind(node: Node) -> set[Node]:
    """The variables that ``node`` depends on, over inputs and controls."""
    found, stack, variables = {node}, [node], set[Node]()
    while stack:
        node = stack.pop()
        if node.op.name == "variable":
            variables.add(node)
        for before in (*(tensor.node for tensor in node.inputs), *node.controls):
            if before not in found:
                found.add(before)
                stack.append(before)
    return variables
