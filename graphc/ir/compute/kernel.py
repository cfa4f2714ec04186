"""Kernels: stages that each define a whole tensor, element by element.

A kernel owns no names of the graph, so that two nodes that mean the same share one compiled
kernel; sizes may be symbolic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphc.ir.compute.expr import Axis, Expr
from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType
from graphc.ir.types import TensorType

COMBINERS = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")
"""How reductions combine. Each starts from its identity (max of nothing: -inf or the smallest
integer); ``argmax`` and ``argmin`` give the first index of the extreme value, NaN being the most
extreme; sums of floats may be associated in any order that shapes alone decide."""


@dataclass(frozen=True, eq=False, slots=True)
class Param:
    """An input buffer, dense and row-major."""

    name: str
    type: TensorType


@dataclass(frozen=True, eq=False, slots=True)
class Map:
    """``name[axes] = value``."""

    name: str
    dtype: DType
    axes: tuple[Axis, ...]
    value: Expr

    @property
    def shape(self) -> Shape:
        return tuple(axis.extent for axis in self.axes)


@dataclass(frozen=True, eq=False, slots=True)
class Reduce:
    """``name[axes] = combiner over ``over`` of value``, accumulated in ``dtype``.

    For ``argmax`` and ``argmin`` the dtype is int64 and there is one axis in ``over``.
    """

    name: str
    dtype: DType
    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    combiner: str
    value: Expr

    @property
    def shape(self) -> Shape:
        return tuple(axis.extent for axis in self.axes)


@dataclass(frozen=True, eq=False, slots=True)
class Scatter:
    """For all ``axes`` in order: ``name[index] = combine(name[index], value)``.

    The result has ``shape`` and starts from the combiner's identity; ``index`` may depend on data
    and is within bounds (guarded by who made it). Contributions to one element are combined in
    the order of ``axes``, so that bits do not depend on threads.
    """

    name: str
    dtype: DType
    shape: Shape
    axes: tuple[Axis, ...]
    index: tuple[Expr, ...]
    combiner: str
    value: Expr


Stage: TypeAlias = Map | Reduce | Scatter


@dataclass(frozen=True, eq=False, slots=True)
class Kernel:
    """Stages in order over ``params``; ``results`` names the stages that leave the kernel.

    ``guards`` holds, for each error code, the rule that was broken (``index out of range``).
    """

    params: tuple[Param, ...]
    stages: tuple[Stage, ...]
    results: tuple[str, ...]
    guards: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage:
        """The stage called ``name`` (KeyError if there is none)."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
