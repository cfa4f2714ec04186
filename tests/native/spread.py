"""How far a tensor may move when kernels are cut differently: forward error analysis.

Which nodes share a kernel decides how its sums are ordered, and nothing else: until a sum lies on
the path, two ways to compile a graph give equal bits. From there on, errors are carried through
each op by a bound of its slope over the interval (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.2), to first order and then widened by ``SECOND_ORDER``; each op adds
what it rounds. ``None`` stands for equal bits.

Steps (comparisons, rounding, casts to integers) have no slope: over values that may move they are
refused here, and random graphs have none.
"""

import numpy as np

from graphc.ir.types import TensorType
from tests.native.bounds import REGROUPED, ULPS, allowed, ulps_of

SECOND_ORDER = 1.05


class NoSlopeError(Exception):
    """An op makes a step, or something steep, of values that may move."""


def spread(node, inputs, outputs, errors):
    """The errors of ``outputs``, given those of ``inputs``; arrays or None."""
    moved = any(error is not None for error in errors) and node.op.name not in _MEASURES
    if not moved and not _may_regroup(node):
        return [None] * len(outputs)
    rule = _RULES.get(node.op.name)
    if moved and (rule is None or not all(t.dtype.is_float for t in node.types)):
        raise NoSlopeError(node.op.name)
    with np.errstate(all="ignore"):
        own = _own(node, inputs, outputs, moved)
        if not moved:
            return [error if error.any() else None for error in own]
        pairs = zip(inputs, errors, strict=True)
        wide = [np.zeros(np.shape(x)) if e is None else e for x, e in pairs]
        through = rule(node, [np.asarray(x) for x in inputs], outputs, wide)
        return [SECOND_ORDER * (a + b) for a, b in zip(through, own, strict=True)]


def _may_regroup(node):
    """Sums; and powers, some of which become products where that pass is on."""
    floats = any(t.dtype.is_float for t in node.types)
    return floats and (node.op.name in REGROUPED or node.op.name == "pow")


def _own(node, inputs, outputs, moved):
    """What two evaluations of the op itself may differ by."""
    if node.op.name in REGROUPED:
        return [2 * np.broadcast_to(b, o.shape) for b, o in
                zip(allowed(node, inputs, outputs), outputs, strict=True)]  # fmt: skip
    if node.op.name in ULPS:
        return [2 * (ulps_of(node, fused=False) + 1) * _unit(y) for y in outputs]
    rounds = moved and node.op.name not in _COPIES
    return [_unit(y) if rounds else np.zeros(np.shape(y)) for y in outputs]


def _unit(y):
    limits = np.finfo(y.dtype)
    return np.abs(y.astype(np.float64)) * float(limits.eps) + float(limits.smallest_subnormal)


def _copied(node, inputs, outputs, errors):
    """The op over the errors: each lands where its element does."""
    types = [TensorType(t.dtype, y.shape) for t, y in zip(node.types, outputs, strict=True)]
    moved = [e if x.dtype.kind == "f" else x for x, e in zip(inputs, errors, strict=True)]
    return [np.abs(e) for e in node.op.reference(node, moved, types)]


def _padded(node, inputs, outputs, errors):
    margins = np.array([node.attrs["low"], node.attrs["high"]], int).T
    return [np.pad(errors[0], margins) if margins.size else errors[0]]


def _cast(node, inputs, outputs, errors):
    return errors


def _elementwise(slope):
    """A rule out of ``slope(inputs, errors)``, broadcast."""

    def rule(node, inputs, outputs, errors):
        wide = [x.astype(np.float64) for x in inputs]
        return [np.broadcast_to(slope(wide, errors, outputs[0]), outputs[0].shape)]

    return rule


def _over_axes(combine):
    def rule(node, inputs, outputs, errors):
        return [combine(errors[0], axis=node.attrs["axes"], keepdims=node.attrs["keepdims"])]

    return rule


def _largest(errors, axis, keepdims):
    return np.max(errors, axis=axis, keepdims=keepdims, initial=0)


def _matmul(node, inputs, outputs, errors):
    a, b, ea, eb = (
        np.swapaxes(np.abs(x.astype(np.float64)), -1, -2) if node.attrs[f"transpose_{side}"]
        else np.abs(x.astype(np.float64))
        for x, side in zip((*inputs, *errors), "abab", strict=True)
    )  # fmt: skip
    return [a @ eb + ea @ (b + eb)]


def _softmax(node, inputs, outputs, errors):
    """All logits moving by e scale a chance by exp(2 e) at the most."""
    e = np.max(errors[0], axis=node.attrs["axis"], keepdims=True, initial=0)
    return [outputs[0] * np.expm1(2 * e)]


def _log_softmax(node, inputs, outputs, errors):
    e = np.max(errors[0], axis=node.attrs["axis"], keepdims=True, initial=0)
    return [np.broadcast_to(2 * e, outputs[0].shape)]


def _cross_entropy(node, inputs, outputs, errors):
    e = np.max(errors[0], axis=-1, keepdims=True, initial=0)
    weights, moved = np.abs(inputs[1].astype(np.float64)), errors[1]
    total = (weights + moved).sum(-1, keepdims=True)
    logs = np.where(weights > 0, np.abs(inputs[0] - inputs[0].max(-1, keepdims=True, initial=0)), 0)
    logs = np.max(logs, -1, keepdims=True, initial=0) + np.log(max(1, inputs[0].shape[-1]))
    loss = (2 * e * total + logs * moved.sum(-1, keepdims=True))[..., 0]
    return [loss, np.expm1(2 * e) * total + moved.sum(-1, keepdims=True) + moved]


def _sparse_cross_entropy(node, inputs, outputs, errors):
    e = np.max(errors[0], axis=-1, keepdims=True, initial=0)
    return [2 * e[..., 0], np.broadcast_to(np.expm1(2 * e), outputs[1].shape)]


_MEASURES = {"size", "shape"}
"""Ops that look at no element."""
_COPIES = {
    "identity", "stop_gradient", "reshape", "transpose", "broadcast_to", "concat", "split", "pad",
    "strided_slice", "strided_slice_grad", "gather", "where", "negative", "abs", "relu", "maximum",
    "minimum", "reduce_max", "reduce_min", "read_variable", "assign",
}  # fmt: skip
"""Ops that round nothing."""


def _same(x, e, y):
    return e[0]


def _sum(x, e, y):
    return e[0] + e[1]


def _larger(x, e, y):
    return np.maximum(e[0], e[1])


def _product(x, e, y):
    return np.abs(x[0]) * e[1] + np.abs(x[1]) * e[0] + e[0] * e[1]


def _quotient(x, e, y):
    left = np.abs(x[1]) - e[1]
    return np.where(left > 0, (e[0] + np.abs(y) * e[1]) / left, np.inf)


def _far(x, e):
    """The least size that ``x`` may have; 0 if it may be 0 or less."""
    return np.maximum(x - e, 0)


_RULES = {
    **dict.fromkeys(_COPIES - {"negative", "abs", "relu", "maximum", "minimum", "pad"}, _copied),
    "pad": _padded,
    "cast": _cast,
    "reduce_sum": _over_axes(np.sum),
    "reduce_max": _over_axes(_largest),
    "reduce_min": _over_axes(_largest),
    "scatter_add": _copied,
    "matmul": _matmul,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softmax_cross_entropy": _cross_entropy,
    "sparse_softmax_cross_entropy": _sparse_cross_entropy,
    **{
        name: _elementwise(slope)
        for name, slope in {
            **dict.fromkeys(["negative", "abs", "relu", "sin", "cos", "tanh"], _same),
            **dict.fromkeys(["add", "subtract", "assign_add", "assign_sub"], _sum),
            **dict.fromkeys(["maximum", "minimum"], _larger),
            "multiply": _product,
            "divide": _quotient,
            "reciprocal": lambda x, e, y: _quotient([1, x[0]], [0, e[0]], y),
            "square": lambda x, e, y: _product([x[0], x[0]], [e[0], e[0]], y),
            "sqrt": lambda x, e, y: e[0] / np.sqrt(_far(x[0], e[0])),
            "rsqrt": lambda x, e, y: 0.5 * e[0] * _far(x[0], e[0]) ** -1.5,
            "exp": lambda x, e, y: np.abs(y) * np.expm1(e[0]),
            "expm1": lambda x, e, y: np.exp(x[0]) * np.expm1(e[0]),
            "log": lambda x, e, y: e[0] / _far(x[0], e[0]),
            "log1p": lambda x, e, y: e[0] / _far(1 + x[0], e[0]),
            "sigmoid": lambda x, e, y: e[0] / 4,
            "erf": lambda x, e, y: 1.13 * e[0],
        }.items()
    },
}
