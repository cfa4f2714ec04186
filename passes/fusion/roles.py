"""What fusion knows of an op: what kind of loop computes it, and where it reads its operands.

Axes of size 1 do not count: a *frame* is a shape without them, and two tensors of one frame are
walked by the same loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto

from graphc.ir.compute.compose import CHEAP, operations
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node
from graphc.passes.guards import Guards
from graphc.passes.rules.application import frame

Frame = tuple[Dim, ...]


class Role(IntEnum):
    """What kind of loops an op is."""

    SOURCE = auto()
    """No operands: its value is in memory when the step begins."""
    POINTWISE = auto()
    """An element of the result takes those at its own place, broadcast."""
    MOVEMENT = auto()
    """An element of the result takes elements from elsewhere; no sums."""
    REDUCTION = auto()
    """Sums, extremes and where these are, over axes."""
    ROWWISE = auto()
    """Several passes over each row, such as a softmax."""
    PRODUCT = auto()
    """Matrix products, which have a schedule of their own."""
    ALONE = auto()
    """Anything else, known or not."""


class Place(IntEnum):
    """Where a consumer reads an operand, compared with where it is."""

    SAME = auto()
    """At its own place: frames are equal."""
    ROW = auto()
    """At the first of its axes: one element for a whole row."""
    OTHER = auto()
    """Repeated in another way."""
    FAR = auto()
    """At places that the op decides, or on another device."""


_ROLES: Mapping[str, Role] = {
    "broadcast_to": Role.POINTWISE,
    "reshape": Role.POINTWISE,
    "gather": Role.MOVEMENT, "transpose": Role.MOVEMENT, "strided_slice": Role.MOVEMENT,
    "strided_slice_grad": Role.MOVEMENT, "pad": Role.MOVEMENT, "concat": Role.MOVEMENT,
    "split": Role.MOVEMENT, "one_hot": Role.MOVEMENT, "random_uniform": Role.MOVEMENT,
    "random_normal": Role.MOVEMENT,
    "reduce_sum": Role.REDUCTION, "reduce_prod": Role.REDUCTION, "reduce_max": Role.REDUCTION,
    "reduce_min": Role.REDUCTION, "reduce_any": Role.REDUCTION, "reduce_all": Role.REDUCTION,
    "argmax": Role.REDUCTION, "argmin": Role.REDUCTION,
    "softmax": Role.ROWWISE, "log_softmax": Role.ROWWISE, "softmax_cross_entropy": Role.ROWWISE,
    "sparse_softmax_cross_entropy": Role.ROWWISE,
    "matmul": Role.PRODUCT,
}  # fmt: skip
"""Ops that are not listed are pointwise if they are ``elementwise``, and else stay alone."""

RANDOM = frozenset({"random_uniform", "random_normal"})
_SPARSE = "sparse_softmax_cross_entropy"


class Facts:
    """Everything about a graph's nodes that does not change while groups form, by number."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = list(graph.nodes)
        self.number = {node: i for i, node in enumerate(self.nodes)}
        self.guards = Guards()
        self._weights: dict[str, int | None] = {}
        self.role = [_role(node) for node in self.nodes]
        self.frame = [frame(node.outputs[0].shape) if node.outputs else () for node in self.nodes]
        """Of the first output."""
        self.uses: list[list[tuple[int, int]]] = [[] for _ in self.nodes]
        """(consumer, position of the operand) for each node."""
        number = self.number
        self.operands = [tuple([number[t.node] for t in node.inputs]) for node in self.nodes]
        for consumer, operands in enumerate(self.operands):
            for position, operand in enumerate(operands):
                self.uses[operand].append((consumer, position))
        self.demanded = {number[t.node] for t in graph.outputs} | {number[n] for n in graph.targets}
        """Outputs and targets: what has to be there whoever reads it."""

    def place(self, consumer: int, position: int) -> Place:
        """Where ``consumer`` reads its operand ``position``."""
        role, node = self.role[consumer], self.nodes[consumer]
        if node.inputs[position].node.device != node.device:
            return Place.FAR
        if role is Role.POINTWISE:
            return _pointwise_place(node, position)
        if role is Role.REDUCTION:
            return Place.SAME
        if role is Role.ROWWISE:
            return _rowwise_place(node, position)
        return Place.FAR

    def read_frame(self, n: int) -> Frame:
        """The frame of the first operand of ``n``."""
        return frame(self.nodes[n].inputs[0].shape)

    def weight(self, n: int) -> int | None:
        """How many operations an element of ``n`` takes; None: too many, or too dear ones."""
        if self.role[n] is not Role.POINTWISE:
            return None
        node = self.nodes[n]
        if node.op.name not in self._weights:
            self._weights[node.op.name] = _weight(node)
        return self._weights[node.op.name]

    def is_cheap(self, n: int) -> bool:
        """Whether computing ``n`` again costs less than reading it again."""
        return self.weight(n) is not None

    def can_fail(self, n: int) -> bool:
        """Whether ``n`` checks its data."""
        return self.guards.can_fail(self.nodes[n])

    def is_trailing(self, n: int) -> bool:
        """Whether reduction ``n`` has rows: it keeps the first axes and reduces all others."""
        kept, read = self.frame[n], self.read_frame(n)
        if not kept or read[: len(kept)] != kept:
            return False
        node = self.nodes[n]
        axes = _reduced_axes(node)
        shape = node.inputs[0].shape
        order = [axis in axes for axis, size in enumerate(shape) if size != 1]
        return order == sorted(order)

    def rows(self, n: int) -> Frame:
        """The rows of a reduction with rows, or of a rowwise op."""
        return self.frame[n] if self.role[n] is Role.REDUCTION else self.read_frame(n)[:-1]


def _weight(node: Node) -> int | None:
    kernel = node.op.kernel(node)
    if kernel.guards or len(kernel.stages) != 1:
        return None
    count = operations(kernel.stages[0].value)
    return None if count is None or count > CHEAP else count


def _role(node: Node) -> Role:
    if not node.inputs:
        return Role.SOURCE
    if node.op.name == "read_variable":
        return Role.SOURCE
    if node.op.stateful or node.controls or not node.outputs:
        return Role.ALONE
    role = _ROLES.get(node.op.name)
    if role is None:
        return Role.POINTWISE if node.op.elementwise else Role.ALONE
    return role if _is_usual(node, role) else Role.ALONE


def _is_usual(node: Node, role: Role) -> bool:
    """Whether a node is what its op's role says, in its shapes."""
    read = frame(node.inputs[0].shape)
    if role is Role.REDUCTION:
        return len(frame(node.outputs[0].shape)) < len(read)
    if role is Role.ROWWISE:
        axis = node.attrs.get("axis", -1) % len(node.inputs[0].shape)
        after = node.inputs[0].shape[axis:]
        return len(read) > 1 and after[0] != 1 and len(frame(after)) == 1
    if node.op.name == "reshape":
        return read == frame(node.outputs[0].shape)
    if len(node.outputs) > 1:
        return len({frame(t.shape) for t in node.outputs}) == 1
    return True


def _reduced_axes(node: Node) -> frozenset[int]:
    if "axes" in node.attrs:
        return frozenset(node.attrs["axes"])
    return frozenset({node.attrs["axis"] % len(node.inputs[0].shape)})


def _pointwise_place(node: Node, position: int) -> Place:
    read, made = node.inputs[position].shape, node.outputs[0].shape
    if read == made or node.op.name == "reshape":
        return Place.SAME
    shift = len(made) - len(read)
    own = [axis + shift for axis, size in enumerate(read) if size != 1]
    all_ = [axis for axis, size in enumerate(made) if size != 1]
    if own == all_:
        return Place.SAME
    return Place.ROW if own and own == all_[: len(own)] else Place.OTHER


def _rowwise_place(node: Node, position: int) -> Place:
    """A sparse cross entropy reads one logit of each row that the label chooses."""
    if node.op.name != _SPARSE:
        return Place.SAME
    return Place.FAR if position == 0 else Place.ROW
