"""``get_variable`` and the scopes in which it shares variables by name and cuts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType, as_dtype, float32
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Tensor
from graphc.ir.scope import (
    Partitioner,
    Reuse,
    VariableScope,
    check_name,
    current,
    name_scope,
    variables_scope,
)
from graphc.ir.source import located, user_source
from graphc.ops.coercion import to_array, to_shape
from graphc.ops.initializers import glorot_uniform_initializer, zeros_initializer
from graphc.ops.partitioned import Cuts, PartitionedVariable
from graphc.ops.variables import Variable

__all__ = ["AUTO_REUSE", "get_variable", "get_variable_scope", "variable_scope"]

AUTO_REUSE = Reuse.AUTO
_STORE = "variable_store"
_REUSE: dict[bool | Reuse | None, Reuse | None] = {
    None: None, False: None, True: Reuse.ALWAYS,
    Reuse.NEVER: None, Reuse.ALWAYS: Reuse.ALWAYS, Reuse.AUTO: Reuse.AUTO,
}  # fmt: skip
"""What ``reuse`` means; None: as the scope outside does."""


def get_variable_scope() -> VariableScope:
    """The variable scope in force."""
    return current().variables


@contextmanager
def variable_scope(
    name_or_scope: str | VariableScope,
    reuse: bool | Reuse | None = None,
    partitioner: Partitioner | None = None,
) -> Iterator[VariableScope]:
    """Put a name before those of ``get_variable``, and of nodes; decide on sharing and cutting.

    ``reuse`` True: only existing variables; AUTO_REUSE: existing ones or else new; None: as the
    scope outside. ``partitioner`` cuts the variables that say nothing of it themselves; None: as
    the scope outside. A scope object is entered again as it was.
    """
    outer = current().variables
    if not (reuse is None or isinstance(reuse, bool | Reuse)):
        raise GraphError(_located(f"reuse is True, False, None or AUTO_REUSE, not {reuse!r}"))
    if isinstance(name_or_scope, VariableScope):
        inner, own = name_or_scope, name_or_scope.name.rpartition("/")[2]
    else:
        check_name(name_or_scope)
        own = name_or_scope
        inner = replace(outer, name=f"{outer.name}/{own}" if outer.name else own)
    inner = replace(
        inner,
        reuse=_REUSE[reuse] or inner.reuse,
        partitioner=partitioner or inner.partitioner,
    )
    with name_scope(own or None), variables_scope(inner):
        yield inner


@overload
def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Callable[..., Tensor] | Any = None,
    trainable: bool = True,
    partitioner: None = None,
) -> Variable: ...


@overload
def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Callable[..., Tensor] | Any = None,
    trainable: bool = True,
    *,
    partitioner: Partitioner,
) -> PartitionedVariable: ...


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Callable[..., Tensor] | Any = None,
    trainable: bool = True,
    partitioner: Partitioner | None = None,
) -> Variable | PartitionedVariable:
    """The variable called ``name`` in the variable scope in force, new or shared.

    Args:
        name: without regard to name scopes.
        shape: may be left out where it follows from ``initializer``.
        dtype: float32 if left out, or that of ``initializer``.
        initializer: a function of shape and dtype, or the initial value itself; left out, it is
            Glorot's uniform distribution for floats and 0 for others.
        trainable: see ``Variable``.
        partitioner: says how to cut the variable, by default as the variable scope does; one that
            is cut is a ``PartitionedVariable``. Scalars are never cut.

    Raises:
        GraphError: the variable exists and must not be shared, or the other way round; it exists
            cut in another way; or the partitioner's answer is none.
        ShapeError, DTypeError: the variable exists in another shape or dtype.
    """
    scope = current().variables
    check_name(name)
    full = f"{scope.name}/{name}" if scope.name else name
    store = current().graph.collections.setdefault(_STORE, {})
    partitioner = partitioner or scope.partitioner
    if full not in store:
        if scope.reuse is Reuse.ALWAYS:
            raise GraphError(_located(f"there is no variable {full!r} to reuse"))
        made = _start(full, shape, dtype, initializer).variable(full, trainable, partitioner)
        store.update({full: made, **{part.node.name: part for part in _parts_of(made)}})
        return made
    _check_shared(store[full], scope.reuse, shape, dtype)
    _check_cut(store[full], partitioner)
    return store[full]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Start:
    """What a new variable starts with: an initializer, or the value itself."""

    initializer: Any
    shape: Shape
    dtype: DType

    def variable(
        self, name: str, trainable: bool, partitioner: Partitioner | None
    ) -> Variable | PartitionedVariable:
        with name_scope(None):
            if partitioner is not None and self.shape:
                cuts = Cuts.asked(partitioner, self.shape, self.dtype)
                return PartitionedVariable.made(name, cuts, self.initializer, self.dtype, trainable)
            return Variable(self._value, trainable, name, self.dtype, self.shape)

    @property
    def _value(self) -> Any:
        make = self.initializer
        return (lambda: make(self.shape, self.dtype)) if callable(make) else make


def _start(name: str, shape: Any, dtype: Any, initializer: Any) -> _Start:
    if initializer is not None and not callable(initializer):
        return _given(name, shape, dtype, initializer)
    if shape is None:
        raise ShapeError(_located(f"variable {name!r} needs a shape"))
    found = as_dtype(dtype or float32)
    default = glorot_uniform_initializer() if found.is_float else zeros_initializer()
    make = initializer or default
    if isinstance(make, type):  # TensorFlow 1 users write zeros_initializer as well
        make = make()
    return _Start(make, to_shape(shape), found)


def _given(name: str, shape: Any, dtype: Any, value: Any) -> _Start:
    """An initial value, which says its own shape and dtype."""
    own = value.shape if hasattr(value, "shape") else np.shape(value)
    if shape is not None and to_shape(shape) != own:
        sizes = list(to_shape(shape))
        message = f"variable {name!r} of shape {sizes} has an initial value of {list(own)}"
        raise ShapeError(_located(message))
    if not isinstance(value, Tensor) and not hasattr(value, "__graphc_tensor__"):
        value = to_array(value, dtype)
    return _Start(value, value.shape, as_dtype(dtype or value.dtype))


def _parts_of(variable: Variable | PartitionedVariable) -> list[Variable]:
    return list(variable) if isinstance(variable, PartitionedVariable) else []


def _check_cut(variable: Variable | PartitionedVariable, partitioner: Partitioner | None) -> None:
    """Who shares a variable takes it as it is cut, or asks for the same cuts."""
    if partitioner is None or not variable.shape:
        return
    cuts = Cuts.asked(partitioner, variable.shape, variable.dtype)
    if not isinstance(variable, PartitionedVariable):
        raise GraphError(_located(f"variable {variable.node.name!r} exists and is not cut"))
    if cuts != variable.cuts:
        message = f"variable {variable.name!r} is cut into {variable.cuts}, not {cuts}"
        raise GraphError(_located(message))


def _check_shared(
    variable: Variable | PartitionedVariable, reuse: Reuse, shape: Any, dtype: Any
) -> None:
    own, name = variable.shape, variable.name.removesuffix(":0")
    if reuse is Reuse.NEVER:
        message = f"variable {name!r} exists: share it with variable_scope(..., reuse=AUTO_REUSE)"
        raise GraphError(_located(message))
    if shape is not None and to_shape(shape) != own:
        message = f"variable {name!r} has shape {list(own)}, not {list(to_shape(shape))}"
        raise ShapeError(_located(message))
    if dtype is not None and as_dtype(dtype) is not variable.dtype:
        message = f"variable {name!r} has dtype {variable.dtype.name}, not {dtype}"
        raise DTypeError(_located(message))


def _located(message: str) -> str:
    return located(message, user_source())
