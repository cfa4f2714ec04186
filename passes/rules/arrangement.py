"""Rules of ops that move elements, of reductions over next to nothing, and of matrix products."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir.dims import Shape
from graphc.ir.types import TensorType
from graphc.passes.rules.application import (
    Application,
    Operand,
    Rule,
    Without,
    attrs_of,
    broadcast,
    frame,
    inputs_of,
    made_by,
    number,
    shaped,
)

_CHECKED = frozenset({"floordiv", "mod"})
"""Elementwise ops that fail on some data: not run where there may be no element to fail on."""


def narrow(x: Application) -> Operand | None:
    """An elementwise op repeats its operands itself; repeated elements are computed once."""
    if not any(made_by(operand, "broadcast_to") for operand in x.inputs):
        return None
    inputs = list(x.inputs)
    for position, operand in enumerate(inputs):
        if made_by(operand, "broadcast_to"):
            trial = [*inputs[:position], inputs_of(operand)[0], *inputs[position + 1 :]]
            if _common_shape(trial) == x.shape:
                inputs = trial
    if any(a is not b for a, b in zip(inputs, x.inputs, strict=True)):
        return x.with_inputs(*inputs)
    return None if x.op in _CHECKED else _repeated_result(x)


def _common_shape(operands: list[Operand]) -> Shape | None:
    return broadcast(tuple(operand.type.shape for operand in operands))


def _repeated_result(x: Application) -> Operand | None:
    """The op on what its operands repeat, then the repetition."""
    inner = [inputs_of(i)[0] if made_by(i, "broadcast_to") else i for i in x.inputs]
    shape = _common_shape(inner)
    if shape is None or shape == x.shape:
        return None
    small = Application(x.op, tuple(inner), x.attrs, TensorType(x.type.dtype, shape))
    return shaped("broadcast_to", small, x.shape)


def _unchanged(x: Application) -> Operand | None:
    """A reshape or broadcast to the shape that the operand has."""
    return x.inputs[0] if x.inputs[0].type == x.type else None


def _chained(x: Application) -> Operand | None:
    """Of two reshapes, or two broadcasts, the last alone decides."""
    (inner,) = x.inputs
    if not made_by(inner, x.op):
        return None
    return shaped(x.op, inputs_of(inner)[0], x.shape)


def _of_one_element(x: Application) -> Operand | None:
    """Rearranging repetitions of one element gives as many as there are in the result."""
    (inner,) = x.inputs
    if not made_by(inner, "broadcast_to"):
        return None
    (element,) = inputs_of(inner)
    if frame(element.type.shape):
        return None
    if element.type.shape:
        element = shaped("reshape", element, ())
    return shaped("broadcast_to", element, x.shape)


def _only_new_axes(x: Application) -> Operand | None:
    """A broadcast that adds axes of size 1 is a reshape, which costs nothing."""
    (inner,) = x.inputs
    if frame(inner.type.shape) != frame(x.shape):
        return None
    return shaped("reshape", inner, x.shape)


def _transposed_twice(x: Application) -> Operand | None:
    (inner,) = x.inputs
    if not made_by(inner, "transpose"):
        return None
    first = attrs_of(inner)["perm"]
    perm = tuple(first[axis] for axis in x.attrs["perm"])
    return shaped("transpose", inputs_of(inner)[0], x.shape, perm=perm)


def _same_order(x: Application) -> Operand | None:
    """A transpose that only moves axes of size 1 moves no element."""
    (inner,), perm = x.inputs, x.attrs["perm"]
    moved = [axis for axis in perm if inner.type.shape[axis] != 1]
    if moved != sorted(moved):
        return None
    return inner if inner.type == x.type else shaped("reshape", inner, x.shape)


def _whole(x: Application) -> Operand | None:
    """A slice of all there is, or its gradient."""
    (inner,) = x.inputs
    forward = not any(x.attrs["starts"]) and all(step == 1 for step in x.attrs["strides"])
    return inner if forward and inner.type == x.type else None


def _no_margin(x: Application) -> Operand | None:
    return None if any(x.attrs["low"]) or any(x.attrs["high"]) else x.inputs[0]


def _joined(x: Application) -> Operand | Without | None:
    """Parts without elements add nothing; one part alone is the result."""
    axis = x.attrs["axis"]
    if len(x.inputs) == 1:
        return x.inputs[0]
    for position, part in enumerate(x.inputs):
        if part.type.shape[axis] == 0:
            rest = (*x.inputs[:position], *x.inputs[position + 1 :])
            return Without(x.with_inputs(*rest), part)
    return None


def _one_piece(x: Application) -> Operand | None:
    return x.inputs[0] if x.inputs[0].type == x.type else None


def _of_single_elements(x: Application) -> Operand | None:
    """A reduction of one element is that element; a sum of -0.0 is 0.0, as it starts from 0.0."""
    (inner,) = x.inputs
    if any(inner.type.shape[axis] != 1 for axis in x.attrs["axes"]):
        return None
    same = inner.type == x.type
    element = inner if same else shaped("reshape", inner, x.shape)
    if x.op == "reduce_sum" and x.type.dtype.is_float:
        return Application("add", (element, number(0.0, x)), {}, x.type)
    return element


def _untransposed(x: Application) -> Operand | None:
    """A matrix product reads its operands either way round."""
    attrs, inputs = dict(x.attrs), list(x.inputs)
    for position, key in enumerate(("transpose_a", "transpose_b")):
        operand = inputs[position]
        if made_by(operand, "transpose") and _swaps_matrix(attrs_of(operand)["perm"]):
            inputs[position] = inputs_of(operand)[0]
            attrs[key] = not attrs[key]
    if attrs == x.attrs:
        return None
    return Application(x.op, tuple(inputs), attrs, x.type)


def _swaps_matrix(perm: tuple[int, ...]) -> bool:
    rank = len(perm)
    return rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)


_ALMOST_NOTHING = (_of_single_elements,)
RULES: Mapping[str, tuple[Rule, ...]] = {
    "reshape": (_unchanged, _chained, _of_one_element),
    "broadcast_to": (_unchanged, _chained, _only_new_axes),
    "transpose": (_same_order, _transposed_twice, _of_one_element),
    "strided_slice": (_whole, _of_one_element),
    "strided_slice_grad": (_whole,),
    "pad": (_no_margin,),
    "concat": (_joined,),
    "split": (_one_piece,),
    "reduce_sum": _ALMOST_NOTHING,
    "reduce_prod": _ALMOST_NOTHING,
    "reduce_max": _ALMOST_NOTHING,
    "reduce_min": _ALMOST_NOTHING,
    "reduce_any": _ALMOST_NOTHING,
    "reduce_all": _ALMOST_NOTHING,
    "matmul": (_untransposed,),
}  # fmt: skip
