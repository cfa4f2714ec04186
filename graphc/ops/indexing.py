"""Slices, and Python's indexing of tensors."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.compute.expr import Expr, all_of, apply, size
from graphc.ir.dims import Dim, Expression
from graphc.ir.errors import GraphError, ShapeError
from graphc.ir.graph import Node, Tensor
from graphc.ir.op import Typing, register
from graphc.ir.operators import TensorLike
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType, user_shape_text
from graphc.ops.arrangement import Arrangement
from graphc.ops.coercion import convert, to_axes, to_axis, to_ints, to_shape
from graphc.ops.emit import emit, reshaped
from graphc.ops.pointwise import static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["reverse", "slice", "strided_slice"]


@register
class StridedSlice(Arrangement):
    """``sizes[i]`` elements of axis ``i``, each ``strides[i]`` behind the last, from ``starts[i]``.

    A negative start counts from the end of the axis, whatever its size is in a run. Nothing is
    clamped: all elements lie within the axis.
    """

    name = "strided_slice"
    attributes = {"starts": (tuple,), "sizes": (tuple,), "strides": (tuple,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,), sizes = typing.inputs, typing.attrs["sizes"]
        starts, strides = typing.attrs["starts"], typing.attrs["strides"]
        if not len(starts) == len(sizes) == len(strides) == x.rank or 0 in strides:
            raise ShapeError(f"needs {x.rank} starts and sizes, and strides that are not 0")
        for axis, found in enumerate(zip(starts, sizes, strides, x.shape, strict=True)):
            rule = (
                f"elements must lie within axis {axis} of size {user_shape_text(found[3:])[1:-1]}"
            )
            _check_axis(typing, *found, rule)
        return [TensorType(x.dtype, sizes)]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        attrs = {key: node.attrs[key] for key in ("starts", "strides")}
        return emit("strided_slice_grad", grad, shape=node.inputs[0].shape, **attrs)

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        (x,) = inputs
        grid = _positions(node, x.shape, static_shape(types[0]))
        return [np.asarray(x[grid])]

    def compute(self, build: KernelBuilder) -> None:
        (x,) = build.inputs
        per_axis = list(zip(build.attrs["starts"], build.attrs["strides"], x.shape, strict=True))

        def body(*index: Expr) -> Expr:
            return x[
                [
                    i if (start, stride) == (0, 1) else size(_first(start, extent)) + i * stride
                    for i, (start, stride, extent) in zip(index, per_axis, strict=True)
                ]
            ]

        build.result(build.map(build.outputs[0].shape, body))


@register
class StridedSliceGrad(Arrangement):
    """Zeros of ``shape``, but ``x`` where ``strided_slice`` takes its elements from."""

    name = "strided_slice_grad"
    attributes = {"shape": (tuple,), "starts": (tuple,), "strides": (tuple,)}

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (x,), attrs = typing.inputs, typing.attrs
        if not x.rank == len(attrs["shape"]) == len(attrs["starts"]) == len(attrs["strides"]):
            raise ShapeError("shape, starts and strides must be as many as axes")
        return [TensorType(x.dtype, attrs["shape"])]

    def derive(self, node: Node, grad: Tensor) -> Tensor:
        attrs = {key: node.attrs[key] for key in ("starts", "strides")}
        return emit("strided_slice", grad, sizes=node.inputs[0].shape, **attrs)

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        (x,), shape = inputs, static_shape(types[0])
        found = np.zeros(shape, x.dtype)
        found[_positions(node, shape, x.shape)] = x
        return [found]

    def compute(self, build: KernelBuilder) -> None:
        (x,), shape = build.inputs, build.attrs["shape"]
        per_axis = list(
            zip(build.attrs["starts"], build.attrs["strides"], shape, x.shape, strict=True)
        )

        def body(*index: Expr) -> Expr:
            at, tests = [], []
            for i, (start, stride, extent, count) in zip(index, per_axis, strict=True):
                position, inside = _inverse(i, _first(start, extent), stride, extent, count)
                at.append(position)
                tests += inside
            return x.load(at, all_of(tests) if tests else None)

        build.result(build.map(shape, body))


def getitem(x: TensorLike, key: Any) -> Tensor:
    """``x[key]`` of integers, slices, None and one ellipsis, as NumPy reads them.

    Along an axis whose size is known only in a run nothing is clamped: bounds beyond it fail.

    Raises:
        ShapeError: an index out of range, or more of them than axes.
        GraphError: a key of another kind.
    """
    x = convert(x)
    keys = _expanded(x, key if isinstance(key, tuple) else (key,))
    starts: list[int] = []
    sizes: list[Dim] = []
    strides: list[int] = []
    shape: list[Dim] = []
    for item in keys:
        if item is None:
            shape.append(1)
            continue
        start, count, stride = _axis_slice(item, x.shape[len(starts)])
        starts.append(start)
        sizes.append(count)
        strides.append(stride)
        if isinstance(item, builtins.slice):
            shape.append(count)
    whole = not any(starts) and tuple(sizes) == x.shape and all(s == 1 for s in strides)
    if not whole:
        x = emit(
            "strided_slice", x, starts=tuple(starts), sizes=tuple(sizes), strides=tuple(strides)
        )
    return reshaped(x, tuple(shape))


def slice(x: TensorLike, begin: Sequence[int], size: Any, name: str | None = None) -> Tensor:
    """``size[i]`` elements of axis ``i`` from ``begin[i]``; a size of -1 takes all the rest."""
    x = convert(x)
    starts, wanted = to_ints(begin, "begin"), to_shape(size, lowest=-1)
    known = len(starts) == len(wanted) == len(x.shape)
    sizes = wanted if not known else tuple(
        extent - start if count == -1 else count
        for start, count, extent in zip(starts, wanted, x.shape, strict=True)
    )  # fmt: skip
    strides = (1,) * len(starts)
    return emit("strided_slice", x, starts=starts, sizes=sizes, strides=strides, name=name)


def strided_slice(
    x: TensorLike, begin: Sequence[int], end: Sequence[Any], strides: Sequence[int] | None = None
) -> Tensor:
    """``x[begin[0]:end[0]:strides[0], ...]``."""
    starts = to_ints(begin, "begin")
    steps = (1,) * len(starts) if strides is None else to_ints(strides, "stride")
    if not isinstance(end, list | tuple | np.ndarray) or not len(starts) == len(end) == len(steps):
        message = f"begin {begin!r}, end {end!r} and strides {steps!r} must be lists of one length"
        raise ShapeError(located(message, user_source()))
    bounds = zip(starts, end, steps, strict=True)
    return getitem(x, tuple(builtins.slice(*bound) for bound in bounds))


def reverse(x: TensorLike, axis: int | Sequence[int], name: str | None = None) -> Tensor:
    """``x`` with the order along ``axis`` (or several) turned round."""
    x = convert(x)
    rank = len(x.shape)
    turned = {to_axis(a, rank, x) for a in to_axes(axis, x)}
    starts = tuple(-1 if a in turned else 0 for a in range(rank))
    strides = tuple(-1 if a in turned else 1 for a in range(rank))
    return emit("strided_slice", x, starts=starts, sizes=x.shape, strides=strides, name=name)


def _first(start: int, extent: Dim) -> Dim:
    """The position of the first element: negative starts count from the end."""
    return start if start >= 0 else extent + start


def _check_axis(
    typing: Typing, start: int, count: Dim, stride: int, extent: Dim, rule: str
) -> None:
    """Demand that the first and the last of ``count`` elements lie within the axis."""
    typing.at_least(count, 0, rule)
    if count == 0:
        return
    first = _first(start, extent)
    last = first + (count - 1) * stride
    low, high = (first, last) if stride > 0 else (last, first)
    typing.at_least(low, 0, rule)
    typing.at_least(extent - 1, high, rule)


def _positions(node: Node, shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """For NumPy: which elements of ``shape`` a slice of ``sizes`` takes."""
    starts, strides = node.attrs["starts"], node.attrs["strides"]
    return np.ix_(*(
        (start % extent if extent else 0) + stride * np.arange(count)
        for start, stride, extent, count in zip(starts, strides, shape, sizes, strict=True)
    ))  # fmt: skip


def _inverse(i: Expr, first: Dim, stride: int, extent: Dim, count: Dim) -> tuple[Expr, list[Expr]]:
    """Which element of the slice lies at ``i``, and the tests for there being one."""
    if first == 0 and stride == 1:
        return i, [] if count == extent else [i < size(count)]
    offset = i - size(first) if stride > 0 else size(first) - i
    step = abs(stride)
    at = offset // step if step > 1 else offset
    tests = [offset >= 0, at < size(count)]
    return at, tests if step == 1 else [*tests, apply("eq", offset % step, 0)]


def _expanded(x: Tensor, key: tuple[Any, ...]) -> list[Any]:
    """``key`` with a full slice for every axis that it leaves out."""
    ellipses = sum(item is Ellipsis for item in key)
    named = sum(item is not None and item is not Ellipsis for item in key)
    if ellipses > 1 or named > len(x.shape):
        message = f"{len(key)} indices are too many for {x!r}, or hold two ellipses"
        raise ShapeError(located(message, user_source()))
    rest = [builtins.slice(None)] * (len(x.shape) - named)
    items = list(key) if ellipses else [*key, Ellipsis]
    at = next(n for n, item in enumerate(items) if item is Ellipsis)
    return [*items[:at], *rest, *items[at + 1 :]]


def _axis_slice(item: Any, extent: Dim) -> tuple[int, Dim, int]:
    """Start, number and stride of what an integer or slice takes of an axis."""
    if not isinstance(item, builtins.slice):
        return _within_int64(item), 1, 1
    step = 1 if item.step is None else _integer(item.step)
    if step == 0:
        raise ShapeError(located("the step of a slice cannot be 0", user_source()))
    if isinstance(extent, int) and not isinstance(item.stop, Expression):
        low, high = (None if b is None else _integer(b) for b in (item.start, item.stop))
        start, stop, _ = builtins.slice(low, high, step).indices(extent)
        count = len(range(start, stop, step))
        return (start if count else 0), count, step if count > 1 else 1
    step = _within_int64(step)
    start = (0 if step > 0 else -1) if item.start is None else _within_int64(item.start)
    first = _first(start, extent)
    end = _stop(item.stop, step, extent)
    length = end - first if step > 0 else first - end
    found = (length + (abs(step) - 1)) // abs(step)
    return start, max(found, 0) if isinstance(found, int) else found, step


def _stop(stop: Any, step: int, extent: Dim) -> Dim:
    if stop is None:
        return extent if step > 0 else -1
    return stop if isinstance(stop, Expression) else _first(_within_int64(stop), extent)


def _integer(item: Any) -> int:
    if isinstance(item, bool | np.bool_) or not hasattr(item, "__index__"):
        _refuse(item)
    try:
        return operator.index(item)
    except TypeError:
        return _refuse(item)


def _within_int64(item: Any) -> int:
    """An index along an axis that no constant can be compared with yet."""
    found = _integer(item)
    if not -(2**63) < found < 2**63:
        raise ShapeError(located(f"no axis has an element {found}", user_source()))
    return found


def _refuse(item: Any) -> int:
    message = f"{item!r} is no index: integers, slices, None and ... are; for a tensor use gather"
    raise GraphError(located(message, user_source()))
