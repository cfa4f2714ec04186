"""Variables: the values that outlive a step.

A variable initialises itself, once, at first use; ``global_variables_initializer`` sets all
variables anew. Its nodes run on its own device, whatever scope makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphc.ir.device import Device
from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType, as_dtype
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Graph, Node, Tensor, TensorLike
from graphc.ir.operators import Operators
from graphc.ir.scope import (
    control_dependencies,
    create,
    current,
    device,
    device_for,
    get_default_graph,
    name_scope,
)
from graphc.ir.source import located, user_source
from graphc.ops.coercion import convert, to_array, to_shape

__all__ = [
    "Variable",
    "assign",
    "assign_add",
    "assign_sub",
    "global_variables",
    "trainable_variables",
]

TRAINABLE = "trainable_variables"
GLOBAL = "global_variables"


class Assignable(Operators):
    """What can be given new values: a variable, or one that was cut into several."""

    __slots__ = ()

    def assign(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Give the variable ``value``, which is also what the tensor returned holds."""
        raise NotImplementedError

    def assign_add(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Add ``value`` to the variable; the new value."""
        raise NotImplementedError

    def assign_sub(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Subtract ``value`` from the variable; the new value."""
        raise NotImplementedError


class Variable(Assignable):
    """A value that outlives a step, of a fixed dtype and shape; it stands for its value.

    Args:
        initial_value: a number, list, NumPy array or tensor; or a function without arguments
            that gives one. It may depend on other variables.
        trainable: whether optimizers change the variable unless told which ones to change.
        name: of its node, under the name scopes in force; made unique.
        dtype: demanded of ``initial_value``.
        shape: demanded of ``initial_value``. If that is a function, device functions learn shape
            and dtype from here: they are asked before it.

    Raises:
        ShapeError: a size of the initial value is not known while the graph is built, or it is
            not of ``shape``.
        DTypeError: the initial value is not of ``dtype``.
    """

    __slots__ = ("_read", "handle", "initializer", "trainable")

    def __init__(
        self,
        initial_value: Any,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
        shape: Any = None,
    ) -> None:
        scope = current()
        own_name = scope.graph.unique_name(scope.name + (name or "Variable"))
        sizes = None if shape is None else to_shape(shape)
        initial_value, known = _known(initial_value, dtype, sizes)
        place = device_for("variable", own_name, *known)
        self.trainable = trainable
        with control_dependencies(None), exactly_on(place), name_scope(own_name + "/"):
            value = convert(initial_value() if callable(initial_value) else initial_value, dtype)
            self.handle = _handle(own_name, value, sizes)
            self.initializer = create(
                "assign", [self.handle, value], {"initializer": True}, "initializer"
            )
            self._read = create("read_variable", [self.handle], name="read").outputs[0]
        for key in (GLOBAL, TRAINABLE) if trainable else (GLOBAL,):
            scope.graph.collections.setdefault(key, []).append(self)

    @property
    def node(self) -> Node:
        """The ``variable`` node."""
        return self.handle.node

    @property
    def op(self) -> Node:
        """The ``variable`` node, as TensorFlow calls it."""
        return self.handle.node

    @property
    def graph(self) -> Graph:
        return self.handle.graph

    @property
    def name(self) -> str:
        return self.handle.name

    @property
    def dtype(self) -> DType:
        return self.handle.dtype

    @property
    def shape(self) -> Shape:
        return self.handle.shape

    @property
    def device(self) -> str:
        return self.handle.device

    @property
    def initial_value(self) -> Tensor:
        """The tensor that the variable starts with, whatever it may hold now."""
        return self.initializer.inputs[1]

    def value(self) -> Tensor:
        """The value at the start of the step or, under control dependencies, after them."""
        return self.read_value() if current().controls else self._read

    @property
    def at_start(self) -> Tensor:
        """The value at the start of the step, whatever scopes are in force."""
        return self._read

    def read_value(self) -> Tensor:
        """A read of its own, under the control dependencies in force."""
        with exactly_on(self.device), name_scope(self.node.name + "/"):
            return create("read_variable", [self.handle], name="read").outputs[0]

    def initialized_value(self) -> Tensor:
        """The value: a variable is never seen uninitialised."""
        return self.value()

    def assign(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Give the variable ``value``, which is also what the tensor returned holds."""
        return self._update("assign", value, name, initializer=False)

    def assign_add(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Add ``value`` to the variable; the new value."""
        return self._update("assign_add", value, name)

    def assign_sub(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Subtract ``value`` from the variable; the new value."""
        return self._update("assign_sub", value, name)

    def _update(self, op: str, value: TensorLike, name: str | None, **attrs: Any) -> Tensor:
        with exactly_on(self.device):
            operand = convert(value, like=self._read)
            return create(op, [self.handle, operand], attrs, name).outputs[0]

    def __graphc_tensor__(self) -> Tensor:
        """What the variable is where a tensor is wanted."""
        return self.value()

    def __repr__(self) -> str:
        return f"<variable {self.name!r} {self.handle.type}>"


def assign(variable: Assignable, value: TensorLike, name: str | None = None) -> Tensor:
    """Give ``variable`` ``value``; the new value."""
    return _checked(variable).assign(value, name)


def assign_add(variable: Assignable, value: TensorLike, name: str | None = None) -> Tensor:
    """Add ``value`` to ``variable``; the new value."""
    return _checked(variable).assign_add(value, name)


def assign_sub(variable: Assignable, value: TensorLike, name: str | None = None) -> Tensor:
    """Subtract ``value`` from ``variable``; the new value."""
    return _checked(variable).assign_sub(value, name)


def global_variables() -> list[Variable]:
    """The variables of the default graph, in the order in which they were made."""
    return list(get_default_graph().collections.get(GLOBAL, ()))


def trainable_variables() -> list[Variable]:
    """The variables of the default graph that optimizers change, in order."""
    return list(get_default_graph().collections.get(TRAINABLE, ()))


@contextmanager
def exactly_on(place: str) -> Iterator[None]:
    """Exactly the device ``place``: the device scopes in force do not count."""
    Device.parse(place)
    with device(None), device(place):
        yield


def _known(
    value: Any, dtype: Any, shape: Shape | None
) -> tuple[Any, tuple[DType | None, Shape | None]]:
    """An initial value, literals as arrays; and its dtype and shape, as far as they are known."""
    if callable(value):
        return value, (None if dtype is None else as_dtype(dtype), shape)
    if not hasattr(value, "__graphc_tensor__") and not isinstance(value, Tensor):
        value = to_array(value, dtype)
    return value, (as_dtype(value.dtype), value.shape)


def _handle(name: str, value: Tensor, shape: Shape | None) -> Tensor:
    """A ``variable`` node of exactly this name for values like ``value``."""
    if shape is not None and shape != value.shape:
        own = f"variable {name!r} of shape {list(shape)}"
        message = f"{own} has an initial value of {list(value.shape)}"
        raise ShapeError(located(message, user_source()))
    if not value.type.is_static:
        message = f"variable {name!r} needs an initial value of known sizes, not {value.type}"
        raise ShapeError(located(message, user_source()))
    attrs = {"shared_name": name, "dtype": value.dtype, "shape": value.shape}
    with name_scope(None):
        return create("variable", (), attrs, name).outputs[0]


def _checked(variable: Any) -> Assignable:
    if not isinstance(variable, Assignable):
        message = f"{variable!r} is no variable: only variables can be assigned to"
        raise GraphError(located(message, user_source()))
    return variable
