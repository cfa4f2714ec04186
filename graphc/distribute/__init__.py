"""Strategies: how a session runs a graph on several workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.runtime.strategy import DataParallel

_LAZY = {"DataParallel": "graphc.runtime.strategy"}
"""What needs the runtime, and the modules that have it."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'graphc.distribute' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


__all__ = ["DataParallel"]
