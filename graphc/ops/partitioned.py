"""Variables that are cut into parts, so that several parameter servers share one.

Each part is a variable of its own, ``W/part_0``, ``W/part_1``..., with a device and with slots of
its own. Where a tensor is wanted, the reads of all parts are joined on the device of the reader.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, SupportsIndex

from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Graph, Tensor, TensorLike
from graphc.ir.scope import (
    Partitioner,
    control_dependencies,
    current,
    device,
    device_for,
    name_scope,
)
from graphc.ir.source import located, user_source
from graphc.ops.coercion import convert
from graphc.ops.joining import concat, split
from graphc.ops.source import zeros
from graphc.ops.variables import Assignable, Variable

__all__ = ["PartitionedVariable"]


@dataclass(frozen=True)
class PartitionInfo:
    """Which part of a variable an initializer makes: where it begins in the full shape."""

    full_shape: tuple[int, ...]
    var_offset: tuple[int, ...]


@dataclass(frozen=True)
class Cuts:
    """A shape cut along ``axis`` into ``count`` parts as even as can be, larger ones first."""

    shape: tuple[int, ...]
    axis: int
    count: int

    @staticmethod
    def asked(partitioner: Partitioner, shape: Shape, dtype: DType) -> Cuts:
        """What a partitioner says of a variable.

        Raises:
            GraphError: its answer is not a positive number for each axis, cuts along two axes, or
                makes more parts than there are slices.
            ShapeError: a size is not known while the graph is built.
        """
        sizes = tuple(size for size in shape if isinstance(size, int))
        if len(sizes) < len(shape):
            message = f"a variable that is cut needs sizes that are known, not {list(shape)}"
            raise ShapeError(located(message, user_source()))
        counts = partitioner(shape=sizes, dtype=dtype)
        _check_counts(counts, sizes)
        axis = next((axis for axis, count in enumerate(counts) if count > 1), 0)
        return Cuts(sizes, axis, counts[axis])

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many slices each part has."""
        size, larger = divmod(self.shape[self.axis], self.count)
        return tuple(size + (n < larger) for n in range(self.count))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the parts."""
        before, after = self.shape[: self.axis], self.shape[self.axis + 1 :]
        return [(*before, size, *after) for size in self.sizes]

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """Where each part begins."""
        starts = accumulate(self.sizes[:-1], initial=0)
        return [tuple(s if n == self.axis else 0 for n in range(len(self.shape))) for s in starts]

    @property
    def keys(self) -> list[tuple[slice, ...]]:
        """What each part is as an index into the whole."""
        return [
            tuple(slice(b, b + size) for b, size in zip(begin, shape, strict=True))
            for begin, shape in zip(self.offsets, self.shapes, strict=True)
        ]

    def __str__(self) -> str:
        return f"{self.count} parts along axis {self.axis} of {list(self.shape)}"


class PartitionedVariable(Assignable):
    """A variable in parts: iterated over and indexed, a list of variables; else their value.

    ``w[0]`` is the first part; rows of the whole value are ``w.as_tensor()[0]``.
    """

    __slots__ = ("_read", "_reads", "cuts", "name", "parts", "trainable")

    def __init__(self, name: str, cuts: Cuts, parts: Sequence[Variable]) -> None:
        self.name = name
        self.cuts = cuts
        self.parts = tuple(parts)
        self.trainable = parts[0].trainable
        with control_dependencies(None), device(None):
            self._read = self._joined([part.value() for part in parts])
        self._reads = {"": self._read}

    @staticmethod
    def made(
        name: str, cuts: Cuts, initializer: Any, dtype: DType, trainable: bool
    ) -> PartitionedVariable:
        """New parts, each where the device scopes in force put it."""
        values = _starts(cuts, initializer, dtype)
        parts = [
            Variable(value, trainable, f"{name}/part_{n}", dtype, shape)
            for n, (value, shape) in enumerate(zip(values, cuts.shapes, strict=True))
        ]
        return PartitionedVariable(name, cuts, parts)

    @property
    def graph(self) -> Graph:
        return self.parts[0].graph

    @property
    def dtype(self) -> DType:
        return self.parts[0].dtype

    @property
    def shape(self) -> Shape:
        """The shape of the whole."""
        return self.cuts.shape

    def as_tensor(self) -> Tensor:
        """The whole value, joined on the device that the scopes in force give it."""
        scope = current()
        if scope.graph is not self.graph:
            return self._read
        if scope.controls or scope.forward:
            return self._joined([part.value() for part in self.parts])
        place = device_for("concat", self._join_name)
        if place not in self._reads:
            self._reads[place] = self._joined([part.value() for part in self.parts])
        return self._reads[place]

    def value(self) -> Tensor:
        """The value at the start of the step or, under control dependencies, after them."""
        return self.as_tensor()

    def assign(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Give each part its piece of ``value``; the new value of the whole.

        ``value`` is the whole, or a tensor for each part in a list, or a variable cut alike.

        Raises:
            ShapeError: the pieces do not have the shapes of the parts.
        """
        return self._each(Variable.assign, value, name)

    def assign_add(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Add to each part its piece of ``value``, as in ``assign``; the new value."""
        return self._each(Variable.assign_add, value, name)

    def assign_sub(self, value: TensorLike, name: str | None = None) -> Tensor:
        """Subtract from each part its piece of ``value``, as in ``assign``; the new value."""
        return self._each(Variable.assign_sub, value, name)

    def _each(self, update: Callable[..., Tensor], value: TensorLike, name: str | None) -> Tensor:
        pieces = self._pieces(value)
        return self._joined(
            [update(part, piece, name) for part, piece in zip(self.parts, pieces, strict=True)]
        )

    def _pieces(self, value: TensorLike) -> Sequence[TensorLike]:
        if isinstance(value, PartitionedVariable) and value.cuts == self.cuts:
            return [part.value() for part in value.parts]
        if isinstance(value, list | tuple) and any(hasattr(v, "op") for v in value):
            if len(value) == len(self.parts):
                return value
            raise _error(f"{self!r} takes {len(self.parts)} tensors, not {len(value)}")
        whole = convert(value, like=self._read)
        if whole.shape != self.shape:
            raise _error(f"{self!r} takes values of its own shape, not {whole!r}")
        return split(whole, self.cuts.sizes, self.cuts.axis)

    def joined(self, values: Sequence[Tensor | None]) -> Tensor | None:
        """Values for the parts as one for the whole: zeros for what is None, unless all are."""
        if all(value is None for value in values):
            return None
        return self._joined(
            [zeros(p.shape, p.dtype) if v is None else v for p, v in zip(self, values, strict=True)]
        )

    @property
    def _join_name(self) -> str:
        return f"{self.name}/concat"

    def _joined(self, values: Sequence[Tensor]) -> Tensor:
        with name_scope(None):
            return concat(values, self.cuts.axis, self._join_name)

    def __graphc_tensor__(self) -> Tensor:
        """What the variable is where a tensor is wanted."""
        return self.as_tensor()

    def __iter__(self) -> Iterator[Variable]:  # type: ignore[override]
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return self.parts[index]

    def __repr__(self) -> str:
        kind = f"&{self._read.type}"
        return f"<variable {self.name!r} {kind} in {len(self.parts)} parts>"


def flattened(variables: Any) -> list[Variable]:
    """Variables, those that are cut replaced by their parts."""
    listed: list[Any] = [variables] if isinstance(variables, Assignable) else list(variables)
    apart = ([*v] if isinstance(v, PartitionedVariable) else [v] for v in listed)
    return [variable for parts in apart for variable in parts]


def _starts(cuts: Cuts, initializer: Any, dtype: DType) -> list[Callable[[], Any]]:
    """What makes the initial value of each part."""
    if not callable(initializer):
        return [_sliced(initializer, key) for key in cuts.keys]
    knows = _takes_partition_info(initializer)
    return [
        _called(initializer, shape, dtype, PartitionInfo(cuts.shape, offset) if knows else None)
        for shape, offset in zip(cuts.shapes, cuts.offsets, strict=True)
    ]


def _sliced(value: Any, key: tuple[slice, ...]) -> Callable[[], Any]:
    return lambda: (convert(value) if hasattr(value, "__graphc_tensor__") else value)[key]


def _called(
    initializer: Callable[..., Any], shape: Shape, dtype: DType, info: PartitionInfo | None
) -> Callable[[], Any]:
    extra = {} if info is None else {"partition_info": info}
    return lambda: initializer(shape, dtype, **extra)


def _takes_partition_info(initializer: Callable[..., Any]) -> bool:
    try:
        return "partition_info" in inspect.signature(initializer).parameters
    except (TypeError, ValueError):  # a function in C that does not say
        return False


def _check_counts(counts: Any, sizes: tuple[int, ...]) -> None:
    """Refuse what is no number of parts for each axis."""
    whole = isinstance(counts, list | tuple) and len(counts) == len(sizes)
    if not whole or not all(isinstance(n, int) and n > 0 for n in counts):
        raise GraphError(located(
            f"a partitioner gives a number of parts for each axis of {list(sizes)}, "
            f"not {counts!r}", user_source()))  # fmt: skip
    if sum(n > 1 for n in counts) > 1:
        message = f"a variable can be cut along one axis only, not as {list(counts)}"
        raise GraphError(located(message, user_source()))
    if any(n > max(1, size) for n, size in zip(counts, sizes, strict=True)):
        message = f"{list(sizes)} cannot be cut into {list(counts)} parts: some would be empty"
        raise GraphError(located(message, user_source()))


def _error(message: str) -> ShapeError:
    return ShapeError(located(message, user_source()))
