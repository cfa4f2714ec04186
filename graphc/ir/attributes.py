"""Values of attributes: what they may be, and how they are checked against an op's declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.dims import Dim, Expression, substitute
from graphc.ir.dtypes import DType
from graphc.ir.errors import GraphError
from graphc.ir.source import Source, located
from graphc.ir.types import TensorType

if TYPE_CHECKING:
    from graphc.ir.op import Op

SCALARS = (bool, int, float, str, type(None), DType, Expression, TensorType, np.ndarray)
"""The Python types of attribute values; tuples of them and graphs (bodies) are allowed as well."""


def check_attributes(op: Op, attrs: Mapping[str, Any], source: Source | None) -> dict[str, Any]:
    """``attrs`` frozen: lists as tuples, arrays read-only, all as ``op.attributes`` declares.

    Those that are left out have their defaults.

    Raises:
        GraphError: an attribute is missing, unknown, or of a wrong type.
    """
    if op.defaults:
        attrs = {**op.defaults, **attrs}
    if attrs.keys() != op.attributes.keys():
        missing = sorted(op.attributes.keys() - attrs.keys())
        unknown = sorted(attrs.keys() - op.attributes.keys())
        message = f"{op.name}: missing attributes {missing}, unknown attributes {unknown}"
        raise GraphError(located(message, source))
    frozen = {key: freeze(value) for key, value in attrs.items()}
    for key, value in frozen.items():
        allowed = op.attributes[key]
        if not isinstance(value, allowed) or (
            isinstance(value, bool) and bool not in allowed and int in allowed
        ):
            names = " or ".join(t.__name__ for t in allowed)
            message = f"{op.name}: attribute {key} must be {names}, not {value!r}"
            raise GraphError(located(message, source))
    return frozen


def substitute_sizes(value: Any, sizes: Mapping[str, Dim]) -> Any:
    """An attribute's value with symbols in its dimensions replaced; graphs stay as they are."""
    if isinstance(value, tuple):
        return tuple(substitute_sizes(item, sizes) for item in value)
    if isinstance(value, Expression):
        return substitute(value, sizes)
    return value.substitute(sizes) if isinstance(value, TensorType) else value


def freeze(value: Any) -> Any:
    """``value`` in its immutable form; NumPy scalars become Python's."""
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, np.ndarray):
        if value.flags.writeable or not value.flags.c_contiguous:
            value = value.copy(order="C")
            value.setflags(write=False)
        return value
    return value.item() if isinstance(value, np.generic) else value
