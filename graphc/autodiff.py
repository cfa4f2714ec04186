"""Gradients by reverse accumulation: the graph of the derivatives is built beside the graph.

A gradient node knows the forward node that it belongs to, and runs where that one runs. Since
gradients are ordinary nodes, they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from graphc.ir.dims import provably_unequal
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Graph, Node, Tensor, TensorLike
from graphc.ir.op import Op
from graphc.ir.scope import differentiating, name_scope
from graphc.ir.source import located, user_source
from graphc.ops import convert, ones
from graphc.ops.custom import GradientFunction, custom_values
from graphc.ops.emit import emit, reshaped
from graphc.ops.partitioned import PartitionedVariable, flattened
from graphc.ops.variables import Assignable


def gradients(
    ys: TensorLike | Sequence[TensorLike],
    xs: TensorLike | Sequence[TensorLike],
    grad_ys: TensorLike | Sequence[TensorLike | None] | None = None,
    name: str = "gradients",
    stop_gradients: TensorLike | Sequence[TensorLike] | None = None,
) -> list[Tensor | None]:
    """The derivatives of the sum of ``ys`` by each of ``xs``, in the shapes of ``xs``.

    Args:
        ys: tensors of floats.
        xs: tensors or variables; of a variable, all reads count.
        grad_ys: weights of the shapes of ``ys``; None stands for ones.
        name: a name scope for what is built.
        stop_gradients: tensors to be taken for constants, apart from being among ``xs``.

    Returns:
        For each of ``xs`` its gradient, or None if ``ys`` do not depend on it through floats.

    Raises:
        DTypeError: one of ``ys`` or ``xs`` is no float.
        GraphError: an op on the way has no gradient.
    """
    targets = [convert(y) for y in _listed(ys)]
    sources = [_sources(x) for x in _listed(xs)]
    stops = {tensor for x in _listed(stop_gradients) for tensor in _sources(x)}
    with name_scope(name):
        sweep = _Sweep(targets, [x for parts in sources for x in parts], stops)
        for y, grad in zip(targets, _weights(targets, grad_ys), strict=True):
            sweep.add(y, grad)
        sweep.run()
        return [
            _whole(x, [sweep.total(part) for part in parts])
            for x, parts in zip(_listed(xs), sources, strict=True)
        ]


class _Sweep:
    """One walk backwards over the graph, from ``ys`` to ``xs``."""

    def __init__(self, ys: Sequence[Tensor], xs: Sequence[Tensor], stops: set[Tensor]) -> None:
        for tensor in (*ys, *xs):
            if not tensor.dtype.is_float:
                message = f"{tensor!r} cannot be differentiated: it is no float"
                raise DTypeError(located(message, user_source()))
        self._graph: Graph | None = ys[0].graph if ys else None
        self._stops = stops
        self._active = self._find_active(xs)
        self._parts: dict[Tensor, list[Tensor]] = {}

    def _find_active(self, xs: Sequence[Tensor]) -> set[Tensor]:
        """The tensors that depend on ``xs`` through floats, ``xs`` included."""
        active = set(xs)
        for node in self._graph.nodes if self._graph else ():
            if any(x in active for x in node.inputs):
                active.update(y for y in node.outputs if y.dtype.is_float and y not in self._stops)
        return active

    def add(self, tensor: Tensor, grad: Tensor) -> None:
        """Count ``grad`` towards the gradient of ``tensor``, if that is wanted."""
        if tensor in self._active:
            self._parts.setdefault(tensor, []).append(grad)

    def total(self, tensor: Tensor) -> Tensor | None:
        """The sum of what was added, in that order."""
        parts = self._parts.get(tensor)
        if parts is None:
            return None
        if len(parts) > 1:
            with differentiating(tensor.node):
                total = parts[0]
                for part in parts[1:]:
                    total = emit("add", total, part)
            self._parts[tensor] = [total]
        return self._parts[tensor][0]

    def run(self) -> None:
        """Carry gradients from outputs to inputs, last node first."""
        for node in list(reversed(self._graph.nodes)) if self._graph else ():
            if not any(y in self._parts and y not in self._stops for y in node.outputs):
                continue
            if any(x in self._active for x in node.inputs):
                self._visit(node)

    def _visit(self, node: Node) -> None:
        if type(node.op).gradient is Op.gradient:
            raise GraphError(node.error("has no gradient"))
        with differentiating(node), name_scope(f"{node.name}_grad"):
            totals = [None if y in self._stops else self.total(y) for y in node.outputs]
            grads = node.op.gradient(node, totals)
            for tensor, grad in zip(node.inputs, grads, strict=True):
                if grad is not None and tensor in self._active:
                    self.add(tensor, _fitted(node, tensor, grad))


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a function of tensors that returns ``(results, gradient)``.

    ``results`` is a tensor or a list of them; ``gradient`` takes the gradient of each and returns
    one for each argument, or None where nothing depends on it. The function returns ``results``
    alone. What it reads besides its arguments counts as constant: a variable has to be one of
    them.

    Raises:
        GraphError: the results depend on a variable that is no argument, or the function returns
            something else.
    """

    @wraps(function)
    def wrapped(*args: TensorLike) -> Any:
        operands = [convert(value) for value in args]
        results, gradient = _pair(function(*operands))
        single = not isinstance(results, list | tuple)
        values = [convert(value) for value in ([results] if single else results)]
        found = custom_values(values, operands, gradient)
        return found[0] if single else type(results)(found)

    return wrapped


def _pair(returned: Any) -> tuple[Any, Callable[..., Any]]:
    """What a function with a custom gradient returned, if it is results and a function."""
    if isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1]):
        return returned
    message = "a function with a custom gradient returns its results and its gradient function"
    raise GraphError(located(f"{message}, not {returned!r}", user_source()))


def _fitted(node: Node, tensor: Tensor, grad: Tensor) -> Tensor:
    """``grad`` in the shape of ``tensor``; sizes that cannot be proved equal are checked in runs.

    Raises:
        GraphError: the op's gradient is wrong.
    """
    if not _may_fit(grad, tensor):
        message = f"the gradient for {tensor.name} has type {grad.type}, not {tensor.type}"
        raise GraphError(node.error(message))
    return reshaped(grad, tensor.shape)


def _may_fit(grad: Tensor, tensor: Tensor) -> bool:
    """Whether ``grad`` has the dtype of ``tensor`` and sizes that may be the same in a run."""
    same = grad.dtype is tensor.dtype and len(grad.shape) == len(tensor.shape)
    return same and not any(map(provably_unequal, grad.shape, tensor.shape))


def _weights(ys: Sequence[Tensor], grad_ys: Any) -> list[Tensor]:
    """What each of ``ys`` counts."""
    given = [None] * len(ys) if grad_ys is None else _listed(grad_ys)
    if len(given) != len(ys):
        message = f"gradients of {len(ys)} tensors take as many grad_ys, not {len(given)}"
        raise GraphError(located(message, user_source()))
    return [_weight(y, grad) for y, grad in zip(ys, given, strict=True)]


def _weight(y: Tensor, grad: TensorLike | None) -> Tensor:
    if grad is None:
        with differentiating(y.node):
            return ones(y.shape, y.dtype)
    found = convert(grad, like=y)
    if not _may_fit(found, y):
        message = f"grad_ys for {y!r} must have its type, not {found.type}"
        raise ShapeError(located(message, user_source()))
    return reshaped(found, y.shape)


def _sources(x: TensorLike) -> list[Tensor]:
    """The tensors to differentiate by: of a variable its handles, which all reads lead to."""
    if isinstance(x, Assignable):
        return [variable.handle for variable in flattened(x)]
    if isinstance(x, Tensor) and x.type.resource:
        return [x]
    return [convert(x)]


def _whole(x: TensorLike, grads: list[Tensor | None]) -> Tensor | None:
    return x.joined(grads) if isinstance(x, PartitionedVariable) else grads[0]


def _listed(values: Any) -> list[Any]:
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple) else [values]


__all__ = ["GradientFunction", "custom_gradient", "gradients"]
