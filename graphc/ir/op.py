"""The contract of an op, and the registry of all ops.

One class per op holds everything there is to know about it: operands and attributes, type rule,
gradient, NumPy reference, and its meaning as a kernel (``graphc.ir.compute``). Backends never
register with an op and an op never names a backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from graphc.ir import dims
from graphc.ir.dims import Dim, Shape
from graphc.ir.dtypes import COMPUTED, DType
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.types import Constraint, TensorType, user_shape_text

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder
    from graphc.ir.compute.kernel import Kernel
    from graphc.ir.graph import Node, Tensor


LARGEST_RANK = 64
"""NumPy's arrays have no more axes."""
ADDRESSES = 2**63
"""So many bytes no machine addresses: sizes are int64 everywhere."""


class Typing:
    """One application of a type rule: what goes in, and what it demands of sizes.

    A rule that is certainly broken raises; one that depends on sizes unknown until a run becomes
    a ``Constraint`` of the node.
    """

    def __init__(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> None:
        self.inputs = tuple(inputs)
        self.attrs = attrs
        self.constraints: list[Constraint] = []

    def equal(self, a: Dim, b: Dim, rule: str) -> Dim:
        """Demand ``a == b`` and return the better known of the two."""
        if a == b:
            return a
        if dims.provably_unequal(a, b):
            raise ShapeError(rule)
        self.constraints.append(Constraint(a, b, rule))
        return a if isinstance(a, int) else b

    def at_least(self, dim: Dim, bound: Dim, rule: str) -> None:
        """Demand ``dim >= bound``."""
        if dims.provably_at_least(dim - bound, 0):
            return
        if dims.provably_at_least(bound - dim, 1):
            raise ShapeError(rule)
        if all((c.left, c.right, c.at_least) != (dim, bound, True) for c in self.constraints):
            self.constraints.append(Constraint(dim, bound, rule, at_least=True))

    def possible(self, results: Sequence[TensorType]) -> None:
        """Demand that tensors of these types can exist."""
        known = {dim for type_ in self.inputs for dim in type_.shape}
        for type_ in results:
            shape = user_shape_text(type_.shape)
            if type_.rank > LARGEST_RANK:
                raise ShapeError(f"the result has {type_.rank} axes, more than {LARGEST_RANK}")
            if dims.magnitude(type_.shape) * type_.dtype.size >= ADDRESSES:
                raise ShapeError(f"the result, {shape}, has more elements than a machine addresses")
            for dim in type_.shape:
                if isinstance(dim, dims.Expression) and dim not in known:
                    self.at_least(dim, 0, f"no size of the result, {shape}, may be negative")

    def same_dtype(self) -> DType:
        """Demand one dtype of all inputs: there is no promotion between tensors."""
        found = self.inputs[0].dtype
        if any(t.dtype is not found for t in self.inputs):
            raise DTypeError("operands must have one dtype; convert with cast")
        return found

    def dtype_in(self, allowed: frozenset[DType], what: str) -> DType:
        """Demand that the inputs share a dtype out of ``allowed``."""
        found = self.same_dtype()
        if found not in allowed:
            raise DTypeError(f"operands must be {what}, not {found.name}")
        return found

    def broadcast(self, *shapes: Shape) -> Shape:
        """NumPy's rule; a symbolic size is never taken for a 1 that broadcasts."""
        rank = max(map(len, shapes))
        padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
        return tuple(self._broadcast_dim(sizes) for sizes in zip(*padded, strict=True))

    def _broadcast_dim(self, sizes: Sequence[Dim]) -> Dim:
        result: Dim = 1
        for size in sizes:
            if size == 1:
                continue
            rule = "shapes must broadcast: sizes are equal or 1, aligned from the right"
            result = size if result == 1 else self.equal(result, size, rule)
        return result

    def axis(self, axis: int, rank: int) -> int:
        """``axis`` counted from the left; negative ones count from the right."""
        if not -rank <= axis < rank:
            raise ShapeError(f"axis {axis} is not in a tensor of rank {rank}")
        return axis % rank


class Op:
    """What an op is. Subclasses are stateless; ``register`` makes the one instance.

    ``operands`` names the inputs; a last name with a star takes any number. ``attributes`` maps
    each attribute to the Python types it may have.
    """

    name: ClassVar[str]
    operands: ClassVar[tuple[str, ...]] = ()
    attributes: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}
    """What attributes are that are left out, in a call and in a text."""
    dtypes: ClassVar[frozenset[DType]] = COMPUTED
    """The dtypes its operands may have, for tests that walk the registry."""

    elementwise: ClassVar[bool] = False
    """Each output element depends on the broadcast input elements at its index alone."""
    view: ClassVar[bool] = False
    """Output 0 has the bytes of input 0, in the same order: no kernel is needed."""
    commutative: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    """Copies or computes exactly rounded results, the same on every target: may be folded."""
    stateful: ClassVar[bool] = False
    """Reads or writes a variable, or has another effect: never merged or folded."""

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        """The types of the outputs.

        Raises:
            ShapeError, DTypeError: the message is the rule alone; the caller adds op, operands
                and source line.
        """
        raise NotImplementedError(f"op {self.name} has no type rule")

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Gradients for the inputs, given those of the outputs (None: does not depend)."""
        raise GraphError(f"op {self.name} has no gradient")

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        """The outputs in NumPy, slow and right; ``types`` are the outputs', all sizes known.

        Raises:
            DataError: an error in the data, as the kernels report it.
        """
        raise NotImplementedError(f"op {self.name} has no reference")

    def compute(self, build: KernelBuilder) -> None:
        """The op's meaning: add stages to ``build`` and name the results."""
        raise NotImplementedError(f"op {self.name} has no kernel")

    def kernel(self, node: Node) -> Kernel:
        """What ``node``, an application of this op, computes."""
        from graphc.ir.compute.builder import KernelBuilder

        build = KernelBuilder([t.type for t in node.inputs], node.types, node.attrs)
        self.compute(build)
        return build.finish()

    @property
    def variadic(self) -> bool:
        return bool(self.operands) and self.operands[-1].startswith("*")


OPS: dict[str, Op] = {}
"""Every op, by name: process-wide on purpose."""


def register(op: type[Op]) -> type[Op]:
    """Class decorator that enters an op into ``OPS``."""
    if op.name in OPS:
        raise GraphError(f"op {op.name} is registered twice")
    OPS[op.name] = op()
    return op


def op_named(name: str) -> Op:
    """The op called ``name``.

    Raises:
        GraphError: there is none.
    """
    try:
        return OPS[name]
    except KeyError:
        raise GraphError(f"there is no op called {name!r}") from None


def operand_text(op: Op, types: Sequence[TensorType], names: Sequence[str]) -> str:
    """``a: float32 [2, 3] (x:0)`` for each operand, in the shapes the user wrote."""
    labels = [o for o in op.operands if not o.startswith("*")]
    labels += [f"{op.operands[-1][1:]}[{i}]" for i in range(len(types) - len(labels))]
    return ", ".join(
        f"{label}: {t.dtype.name} {user_shape_text(t.shape)} ({name})"
        for label, t, name in zip(labels, types, names, strict=True)
    )
