"""The sizes of a step: found in the feeds, then held against what the graph demands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Dim, Symbol
from graphc.ir.errors import FeedError, ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.types import user_shape_text

Array = np.ndarray[Any, Any]


def bind(feeds: Mapping[Tensor, Array]) -> dict[str, int]:
    """The size of each symbol that a feed's shape tells.

    Raises:
        FeedError: a feed whose shape does not fit, or feeds that disagree.
    """
    sizes: dict[str, int] = {}
    for tensor, array in feeds.items():
        if array.ndim != tensor.type.rank:
            raise _misfit(tensor, array)
        for dim, size in zip(tensor.shape, array.shape, strict=True):
            name = _symbol(dim)
            if name is not None:
                sizes.setdefault(name, size)
    for tensor, array in feeds.items():
        for dim, size in zip(tensor.shape, array.shape, strict=True):
            if dims.symbols_of(dim) <= sizes.keys() and dims.evaluate(dim, sizes) != size:
                raise _misfit(tensor, array)
    return sizes


def check(node: Node, sizes: Mapping[str, int]) -> None:
    """Hold the node's constraints against ``sizes``.

    Raises:
        ShapeError: one is broken.
        FeedError: the node depends on a size that no feed tells.
    """
    try:
        for constraint in node.constraints:
            if not constraint.holds(sizes):
                message = f"{constraint.rule}; it was found that not {constraint}"
                raise ShapeError(node.error(message))
        for type_ in node.types:
            for dim in type_.shape:
                dims.evaluate(dim, sizes)
    except KeyError as error:
        raise FeedError(node.error(f"no feed tells the size {error.args[0]}")) from None


def _symbol(dim: Dim) -> str | None:
    """The name of a size that is a symbol and nothing else."""
    if isinstance(dim, int):
        return None
    (monomial, factor), *rest = dim.terms
    alone = not rest and factor == 1 and len(monomial) == 1
    return monomial[0].name if alone and isinstance(monomial[0], Symbol) else None


def _misfit(tensor: Tensor, array: Array) -> FeedError:
    shape = user_shape_text(tensor.shape)
    return FeedError(f"{tensor.name!r} of shape {shape} cannot be fed {list(array.shape)}")
