"""Recognises a matrix product in a group of stages, whatever its axes are and wherever they lie.

A sum of products is a matrix product if one factor (``a``) varies along some axes of the result
and the other (``b``) along some others: rows and columns. Axes along which both vary, or neither,
are a batch. Neighbouring axes that memory does not tell apart become one; transposes, broadcasts
and the overlapping windows of a convolution are nothing but strides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.loops import affine
from graphc.backends.loops.lower import View
from graphc.backends.loops.merge import Work, merge_axes
from graphc.ir import dims
from graphc.ir.compute.expr import Apply, Axis, Const, Expr, Guard, Index, Load, postorder
from graphc.ir.compute.kernel import Map, Reduce
from graphc.ir.dims import Dim
from graphc.ir.dtypes import DType, float32, float64, int32, int64

DTYPES = frozenset({float32, float64, int32, int64})


@dataclass(frozen=True)
class Factor:
    """One side of the products: ``value``, and the buffer it is read from if it is a mere load."""

    value: Expr
    view: View | None

    def stride(self, axis: Axis | None) -> Dim | None:
        """The distance between neighbours along ``axis``, in elements.

        None: it varies, or the value has to be computed.
        """
        if self.view is None:
            return None
        assert isinstance(self.value, Load)
        return 0 if axis is None else affine.stride(self.value.index, self.view.strides, axis)

    def in_place(self, axes: Iterable[Axis | None]) -> bool:
        """Whether elements can be read where they are, stepping along ``axes``."""
        return all(self.stride(axis) is not None for axis in axes)

    def varies(self, axis: Axis) -> bool:
        return axis in axes_of(self.value)


@dataclass(frozen=True)
class Contraction:
    """``product[batch, rows, cols] = sum of a[batch, rows, over] * b[batch, over, cols]``.

    The sum runs over the axes ``over``, the last one fastest; ``rows`` is None if there is one row.
    ``outputs`` are computed from the product element by element, in order.
    """

    product: Work
    outputs: tuple[Work, ...]
    a: Factor
    b: Factor
    batch: tuple[Axis, ...]
    rows: Axis | None
    cols: Axis
    over: tuple[Axis, ...]

    @property
    def dtype(self) -> DType:
        return self.product.stage.dtype

    @property
    def row_count(self) -> Dim:
        return 1 if self.rows is None else self.rows.extent

    @property
    def depth(self) -> Dim:
        """How many products a sum has."""
        return count(self.over)


def match(works: Sequence[Work], views: Mapping[str, View]) -> Contraction | None:
    """The matrix product that ``works``, stages over common axes, are; None if there is none."""
    if not works or not _is_sum_of_products(works[0]) or not _are_pointwise(works):
        return None
    return _with_factors(works, views, 0) or _with_factors(works, views, 1)


def count(axes: Iterable[Axis]) -> Dim:
    """How many iterations ``axes`` have together."""
    return dims.product(tuple(axis.extent for axis in axes))


def axes_of(expr: Expr) -> frozenset[Axis]:
    """The axes along which a value may change."""
    return frozenset(e.axis for e in postorder([expr]) if isinstance(e, Index))


def _is_sum_of_products(work: Work) -> bool:
    stage, value = work.stage, work.stage.value
    return (
        isinstance(stage, Reduce)
        and stage.combiner == "sum"
        and stage.dtype in DTYPES
        and isinstance(value, Apply)
        and value.op == "mul"
        and value.dtype is stage.dtype
        and not any(isinstance(e, Guard) for e in postorder([value]))
    )


def _are_pointwise(works: Sequence[Work]) -> bool:
    """Whether each stage after the first reads those before it at its own position only."""
    earlier: set[str] = set()
    for work in works:
        stage = work.stage
        if stage.axes != works[0].stage.axes or (earlier and not isinstance(stage, Map)):
            return False
        own = [e for e in postorder([stage.value]) if isinstance(e, Load) and e.buffer in earlier]
        if not all(_is_identity(load, stage.axes) for load in own):
            return False
        earlier.add(stage.name)
    return True


def _is_identity(load: Load, axes: Sequence[Axis]) -> bool:
    return load.where is None and all(
        (isinstance(i, Index) and i.axis is axis)
        or (axis.extent == 1 and isinstance(i, Const) and i.value == 0)
        for i, axis in zip(load.index, axes, strict=True)
    )


def _with_factors(
    works: Sequence[Work], views: Mapping[str, View], first: int
) -> Contraction | None:
    """The contraction with argument ``first`` of the product as ``a``, if that is possible.

    Vectors run along columns, so these have to hold the axis along which results are contiguous.
    """
    product = works[0].stage
    assert isinstance(product, Reduce)
    in_a, in_b = (axes_of(factor) for factor in _factors(works[0], first))
    rows = [x for x in product.axes if x in in_a and x not in in_b]
    cols = [x for x in product.axes if x in in_b and x not in in_a]
    inner = next((x for x in reversed(product.axes) if x.extent != 1), None)
    if not cols or (inner is not None and cols[-1] is not inner):
        return None
    merged_rows, works = merge_axes(rows, works, views)
    merged_cols, works = merge_axes(cols, works, views)
    over, works = merge_axes(product.over, works, views)
    batch = [x for x in product.axes if x not in (*rows, *cols)]
    a, b = (_factor(value, views) for value in _factors(works[0], first))
    found = Contraction(
        product=works[0],
        outputs=tuple(works[1:]),
        a=a,
        b=b,
        batch=(*batch, *merged_rows[:-1], *merged_cols[:-1]),
        rows=merged_rows[-1] if merged_rows else None,
        cols=merged_cols[-1],
        over=over,
    )
    return None if found.row_count == 1 and b.stride(found.cols) != 1 else found


def _factors(product: Work, first: int) -> tuple[Expr, Expr]:
    assert isinstance(product.stage.value, Apply)
    args = product.stage.value.args
    return args[first], args[1 - first]


def _factor(value: Expr, views: Mapping[str, View]) -> Factor:
    readable = isinstance(value, Load) and value.where is None and value.buffer in views
    return Factor(value, views[value.buffer] if readable else None)  # type: ignore[attr-defined]
