"""What variables start with: functions of a shape and a dtype, and how to set variables anew.

An initializer that takes ``partition_info`` is told which part of a variable it makes: weights
are scaled by the inputs and outputs of the whole, and parts do not repeat each other's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphc.ir.dims import Shape
from graphc.ir.dtypes import float32
from graphc.ir.errors import ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.scope import control_dependencies, create, device, name_scope
from graphc.ir.source import located, user_source
from graphc.ops.control import group
from graphc.ops.indexing import slice
from graphc.ops.partitioned import PartitionInfo, flattened
from graphc.ops.random import random_normal, random_uniform
from graphc.ops.source import constant, fill, ones, zeros
from graphc.ops.variables import Assignable, Variable, global_variables

__all__ = [
    "constant_initializer",
    "global_variables_initializer",
    "glorot_uniform_initializer",
    "he_normal_initializer",
    "ones_initializer",
    "random_normal_initializer",
    "random_uniform_initializer",
    "variables_initializer",
    "zeros_initializer",
]

Initializer = Callable[[Shape, Any], Tensor]
"""Takes a shape and a dtype; any function will do."""


@dataclass(frozen=True)
class zeros_initializer:  # noqa: N801, TensorFlow's names are those of functions
    """0 everywhere."""

    def __call__(self, shape: Any, dtype: Any = float32) -> Tensor:
        return zeros(shape, dtype)


@dataclass(frozen=True)
class ones_initializer:  # noqa: N801
    """1 everywhere."""

    def __call__(self, shape: Any, dtype: Any = float32) -> Tensor:
        return ones(shape, dtype)


@dataclass(frozen=True)
class constant_initializer:  # noqa: N801
    """One number everywhere, or a list or array of as many values as the shape has."""

    value: Any = 0

    def __call__(
        self, shape: Any, dtype: Any = float32, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        if isinstance(self.value, int | float):
            return fill(shape, constant(self.value, dtype))
        if partition_info is None:
            return constant(self.value, dtype, shape)
        whole = constant(self.value, dtype, partition_info.full_shape)
        return slice(whole, partition_info.var_offset, shape)


@dataclass(frozen=True)
class random_normal_initializer:  # noqa: N801
    """Normally distributed."""

    mean: float = 0.0
    stddev: float = 1.0
    seed: int | None = None

    def __call__(
        self, shape: Any, dtype: Any = float32, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        return random_normal(shape, self.mean, self.stddev, dtype, _seed(self.seed, partition_info))


@dataclass(frozen=True)
class random_uniform_initializer:  # noqa: N801
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(
        self, shape: Any, dtype: Any = float32, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        return random_uniform(
            shape, self.minval, self.maxval, dtype, _seed(self.seed, partition_info)
        )


@dataclass(frozen=True)
class glorot_uniform_initializer:  # noqa: N801
    """Uniform within sqrt(6 / (inputs + outputs)): Glorot and Bengio, AISTATS 2010."""

    seed: int | None = None

    def __call__(
        self, shape: Any, dtype: Any = float32, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        limit = math.sqrt(6 / max(1, sum(_fans(_whole(shape, partition_info)))))
        return random_uniform(shape, -limit, limit, dtype, _seed(self.seed, partition_info))


@dataclass(frozen=True)
class he_normal_initializer:  # noqa: N801
    """Normal with variance 2 / inputs: He, Zhang, Ren and Sun, ICCV 2015."""

    seed: int | None = None

    def __call__(
        self, shape: Any, dtype: Any = float32, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        deviation = math.sqrt(2 / max(1, _fans(_whole(shape, partition_info))[0]))
        return random_normal(shape, 0.0, deviation, dtype, _seed(self.seed, partition_info))


def variables_initializer(variables: Iterable[Assignable], name: str = "init") -> Node:
    """An operation that gives ``variables`` their initial values anew.

    An initial value that depends on others of ``variables`` is computed from their initial
    values, not from what they hold.
    """
    variables = flattened(variables)
    order = {node: n for n, node in enumerate(variables[0].graph.nodes)} if variables else {}
    starts: dict[Tensor, Tensor] = {}
    assigns: list[Node] = []
    with control_dependencies(None), device(None), name_scope(None):
        for variable in sorted(variables, key=lambda v: order[v.node]):
            assign = _assign_anew(variable, starts, order)
            starts[variable.handle] = assign.inputs[1]
            assigns.append(assign)
    return group(*assigns, name=name)


def global_variables_initializer() -> Node:
    """An operation that gives all variables of the default graph their initial values anew."""
    return variables_initializer(global_variables())


def _assign_anew(
    variable: Variable, starts: Mapping[Tensor, Tensor], order: Mapping[Node, int]
) -> Node:
    """The variable's initializer or, if it reads variables out of ``starts``, one that does not.

    ``starts`` maps handles to the tensors that their variables start with.
    """
    found = _with_starts(variable.initial_value, starts, order)
    if found is variable.initial_value:
        return variable.initializer
    with device(variable.device or None):
        name = f"{variable.initializer.name}_anew"
        return create("assign", [variable.handle, found], {"initializer": False}, name)


def _with_starts(
    value: Tensor, starts: Mapping[Tensor, Tensor], order: Mapping[Node, int]
) -> Tensor:
    """``value`` computed from ``starts`` in place of reads of their variables."""
    graph, new = value.graph, dict[Tensor, Tensor]()
    for node in sorted(_ancestors(value), key=lambda node: order[node]):
        if node.op.name == "read_variable" and node.inputs[0] in starts:
            new[node.outputs[0]] = starts[node.inputs[0]]
        elif any(x in new for x in node.inputs):
            copy = graph.copy_node(node, [new.get(x, x) for x in node.inputs], node.controls)
            new.update(zip(node.outputs, copy.outputs, strict=True))
    return new.get(value, value)


def _ancestors(value: Tensor) -> set[Node]:
    """The nodes that ``value`` is computed by."""
    found, stack = {value.node}, [value.node]
    while stack:
        for tensor in stack.pop().inputs:
            if tensor.node not in found:
                found.add(tensor.node)
                stack.append(tensor.node)
    return found


def _whole(shape: Any, info: PartitionInfo | None) -> Any:
    """The shape of the variable that ``shape`` is, or is a part of."""
    return shape if info is None else info.full_shape


def _seed(seed: int | None, info: PartitionInfo | None) -> int | None:
    """A seed of its own for each part of a variable."""
    if seed is None or info is None:
        return seed
    return (seed + sum(info.var_offset)) % 2**32


def _fans(shape: Any) -> tuple[int, int]:
    """Inputs and outputs of one unit of a weight tensor ``[..., inputs, outputs]``."""
    if not shape:
        return 1, 1
    if not all(isinstance(size, int) for size in shape):
        message = f"weights need sizes that are known, not {list(shape)}"
        raise ShapeError(located(message, user_source()))
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]
