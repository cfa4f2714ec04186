"""What makes two applications of an op the same computation."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from graphc.ir.graph import Graph

_SMALL = 256
"""Arrays up to so many bytes are compared as they are, larger ones by a digest."""


def attribute_key(value: Any) -> Any:
    """A hashable value that is equal for attributes with the same meaning, and for no others.

    Floats are told apart by their bits (0.0 and -0.0 differ), numbers by their Python types.
    """
    return _KEYS.get(type(value), _plain)(value)


def _plain(value: Any) -> Any:
    return value


def _typed(value: Any) -> Any:
    return (type(value), repr(value))


def _tuple(value: tuple[Any, ...]) -> Any:
    return tuple(map(attribute_key, value))


def _array(value: np.ndarray[Any, Any]) -> Any:
    data: Any = value.tobytes() if value.nbytes <= _SMALL else _digest(value)
    return (value.dtype.str, value.shape, data)


def _digest(value: np.ndarray[Any, Any]) -> str:
    contiguous = np.ascontiguousarray(value).reshape(-1)
    return hashlib.blake2b(contiguous.view(np.uint8).data, digest_size=32).hexdigest()


def _identity(value: Graph) -> Any:
    return id(value)


_KEYS: dict[type, Any] = {
    bool: _typed, float: _typed, tuple: _tuple, np.ndarray: _array, Graph: _identity,
}  # fmt: skip
