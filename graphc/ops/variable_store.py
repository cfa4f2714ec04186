"""``get_variable`` and the scopes in which it shares variables by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.ir.dims import Shape
from graphc.ir.dtypes import as_dtype, float32
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Tensor
from graphc.ir.scope import (
    Reuse,
    VariableScope,
    check_name,
    current,
    name_scope,
    variables_scope,
)
from graphc.ir.source import located, user_source
from graphc.ops.coercion import to_shape
from graphc.ops.initializers import glorot_uniform_initializer, zeros_initializer
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
    name_or_scope: str | VariableScope, reuse: bool | Reuse | None = None
) -> Iterator[VariableScope]:
    """Put a name before those of ``get_variable``, and of nodes; decide on sharing.

    ``reuse`` True: only existing variables; AUTO_REUSE: existing ones or else new; None: as the
    scope outside. A scope object is entered again as it was.
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
    inner = replace(inner, reuse=_REUSE[reuse] or inner.reuse)
    with name_scope(own or None), variables_scope(inner):
        yield inner


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Callable[..., Tensor] | Any = None,
    trainable: bool = True,
) -> Variable:
    """The variable called ``name`` in the variable scope in force, new or shared.

    Args:
        name: without regard to name scopes.
        shape: may be left out where it follows from ``initializer``.
        dtype: float32 if left out, or that of ``initializer``.
        initializer: a function of shape and dtype, or the initial value itself; left out, it is
            Glorot's uniform distribution for floats and 0 for others.
        trainable: see ``Variable``.

    Raises:
        GraphError: the variable exists and must not be shared, or the other way round.
        ShapeError, DTypeError: the variable exists in another shape or dtype.
    """
    scope = current().variables
    check_name(name)
    full = f"{scope.name}/{name}" if scope.name else name
    store = current().graph.collections.setdefault(_STORE, {})
    if full not in store:
        if scope.reuse is Reuse.ALWAYS:
            raise GraphError(_located(f"there is no variable {full!r} to reuse"))
        value, dtype = _initial_value(full, shape, dtype, initializer)
        with name_scope(None):
            store[full] = Variable(value, trainable, full, dtype)
    elif scope.reuse is Reuse.NEVER:
        message = f"variable {full!r} exists: share it with variable_scope(..., reuse=AUTO_REUSE)"
        raise GraphError(_located(message))
    else:
        _check_shared(store[full], shape, dtype)
    return store[full]  # type: ignore[no-any-return]


def _initial_value(name: str, shape: Any, dtype: Any, initializer: Any) -> tuple[Any, Any]:
    if initializer is not None and not callable(initializer):
        return _checked_value(name, shape, initializer), dtype
    if shape is None:
        raise ShapeError(_located(f"variable {name!r} needs a shape"))
    sizes, found = to_shape(shape), as_dtype(dtype or float32)
    default = glorot_uniform_initializer() if found.is_float else zeros_initializer()
    make = initializer or default
    if isinstance(make, type):  # TensorFlow 1 users write zeros_initializer as well
        make = make()
    return lambda: _checked_value(name, sizes, make(sizes, found)), found


def _checked_value(name: str, shape: Any, value: Any) -> Any:
    own = value.shape if isinstance(value, Tensor | Variable) else np.shape(value)
    if shape is not None and to_shape(shape) != own:
        sizes = list(to_shape(shape))
        message = f"variable {name!r} of shape {sizes} has an initial value of {list(own)}"
        raise ShapeError(_located(message))
    return value


def _check_shared(variable: Variable, shape: Any, dtype: Any) -> None:
    own: Shape = variable.shape
    if shape is not None and to_shape(shape) != own:
        message = f"variable {variable.name!r} has shape {list(own)}, not {list(to_shape(shape))}"
        raise ShapeError(_located(message))
    if dtype is not None and as_dtype(dtype) is not variable.dtype:
        message = f"variable {variable.name!r} has dtype {variable.dtype.name}, not {dtype}"
        raise DTypeError(_located(message))


def _located(message: str) -> str:
    return located(message, user_source())
