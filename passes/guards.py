"""Which nodes can make a step fail: a rewrite must not let such a failure get lost.

An index out of range fails the step even if what was looked up is multiplied by zero in the end.
"""

from __future__ import annotations

from graphc.ir.errors import GraphcError
from graphc.ir.graph import Node, Tensor
from graphc.ops.fused import guarding_nodes


class Guards:
    """Answers for one graph; asked once for each op, since guards do not depend on operands."""

    def __init__(self) -> None:
        self._by_op: dict[str, bool] = {}
        self._behind: dict[Node, bool] = {}

    def can_fail(self, node: Node) -> bool:
        """Whether ``node`` itself checks its data."""
        name = node.op.name
        if name == "fused":
            return bool(guarding_nodes(node))
        if name not in self._by_op:
            self._by_op[name] = _has_guards(node)
        return self._by_op[name]

    def can_be_dropped(self, tensor: Tensor) -> bool:
        """Whether nothing that ``tensor`` is computed from can fail."""
        return not self._fails_behind(tensor.node)

    def _fails_behind(self, root: Node) -> bool:
        known = self._behind
        stack = [root]
        while stack:
            node = stack[-1]
            if node in known:
                stack.pop()
                continue
            before = [t.node for t in node.inputs]
            missing = [n for n in before if n not in known]
            if missing:
                stack.extend(missing)
                continue
            known[node] = any(known[n] for n in before) or self.can_fail(node)
            stack.pop()
        return known[root]


def _has_guards(node: Node) -> bool:
    """What has no kernel and no effect is not known well enough to be called safe."""
    if node.op.stateful or not node.inputs:
        return False
    try:
        return bool(node.op.kernel(node).guards)
    except (GraphcError, NotImplementedError):
        return True
