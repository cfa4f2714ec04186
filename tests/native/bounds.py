"""How far native code may be from an op's reference, given the very operands it was given.

Copies, integers, bools and what IEEE 754 rounds exactly: not a bit, signs of zeros included.
Elementwise functions: the ulp that ``backends/loops/math`` states. Sums of n terms, in any order
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, sections 3.1 and 4.2):
n * eps * sum |terms|, and eps is twice the unit roundoff, so that the reference may err as much.
Each rule below derives its bound from these.

Beyond what a float of the dtype holds, an order of additions or factors may overflow where another
does not: there nothing is asked (the bound is infinite).
"""

import numpy as np

from graphc.backends.loops.math import ULP
from graphc.ir.dtypes import as_dtype
from graphc.ir.types import TensorType
from graphc.ops.normalization import log_softmax_numpy

WIDEST_REDUCED_RADIUS = {"float32": 6.8, "float64": 9.6}
"""The largest normal deviate: sqrt(-2 log(2**-33)), and of 2**-65."""


def misfit(node, inputs, outputs, fused=True):
    """Why ``outputs`` are not what ``node`` makes of ``inputs``, or None.

    ``inputs`` and ``outputs`` are arrays; of a variable, the value that the node sees. ``fused``
    says whether the target multiplies and adds with one rounding.
    """
    types = [TensorType(t.dtype, x.shape) for t, x in zip(node.types, outputs, strict=True)]
    wanted = node.op.reference(node, inputs, types)
    if node.op.name in ULPS:
        return _ulp_misfit(node, inputs, outputs[0], fused)
    bounds = allowed(node, inputs, wanted)
    for n, (found, want, bound) in enumerate(zip(outputs, wanted, bounds, strict=True)):
        problem = difference(found, np.asarray(want), bound)
        if problem:
            return f"output {n}: {problem}"
    return None


def allowed(node, inputs, wanted):
    """For each output the largest error of its elements: 0 means equal bits."""
    rule = _RULES.get(node.op.name)
    if rule is None or as_dtype(wanted[0].dtype).kind != "float":
        assert rule is not None or node.op.exact or node.op.stateful, node.op.name
        return [0] * len(wanted)
    with np.errstate(all="ignore"):
        found = rule(node, [np.asarray(x) for x in inputs], wanted)
    if node.op.name not in SUMS:
        return found
    # The order decides the sign of a zero, too.
    return [b + float(np.finfo(x.dtype).smallest_subnormal)
            for b, x in zip(found, wanted, strict=True)]  # fmt: skip


def difference(found, wanted, bound):
    """Where two arrays differ by more than ``bound``, in words; None: nowhere."""
    if (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
        return f"{found.dtype} {found.shape} instead of {wanted.dtype} {wanted.shape}"
    same = found == wanted
    if found.dtype.kind == "f":
        nan = np.isnan(found) & np.isnan(wanted)
        exact = np.broadcast_to(np.asarray(bound) == 0, found.shape)
        signs = np.signbit(found) == np.signbit(wanted)
        with np.errstate(all="ignore"):
            error = np.abs(found.astype(np.longdouble) - wanted)
            near = (error <= bound) | np.isposinf(np.broadcast_to(bound, found.shape))
        same = nan | np.where(exact, same & signs, same | near)
    if same.all():
        return None
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    limit = np.broadcast_to(bound, found.shape)[at]
    return (
        f"{int((~same).sum())} of {same.size} elements are off, such as {list(at)}: "
        f"{found[at]!r} instead of {wanted[at]!r}, where {limit:.3g} is allowed"
    )


ULPS = {name for name, _ in ULP} - {"sinpi", "cospi"}
"""Ops that ``misfit`` measures in units in the last place."""


def ulps_of(node, fused):
    """The stated bound of an elementwise function, and half a unit for the reference's own."""
    return ULP[node.op.name, node.types[0].dtype].of(fused=fused) + 0.5


def _ulp_misfit(node, inputs, found, fused):
    """Against the function in 64 or more bits of significand, where NumPy has it."""
    dtype = found.dtype
    with np.errstate(all="ignore"):
        truth = np.asarray(node.op.in_float64(*(x.astype(np.longdouble) for x in inputs)))
        near = truth.astype(dtype)
        limits = np.finfo(dtype)
        # A result too large is taken for the next power of two: half an ulp above the largest.
        ends = [np.clip(x, -limits.max, limits.max) for x in (found, near)]
        unit = np.spacing(np.abs(ends[1]).astype(dtype)).astype(np.longdouble)
        error = np.abs(ends[0].astype(np.longdouble) - np.clip(truth, -limits.max, limits.max))
        close = error <= ulps_of(node, fused) * unit
        infinite = np.isinf(found) & (np.abs(truth) < limits.max * (1 - 4 * limits.eps))
        same = (np.isnan(found) & np.isnan(near)) | (close & ~infinite)
        zeros = (truth == 0) & (np.signbit(found) != np.signbit(near))
        bad = ~same | zeros
    if not bad.any():
        return None
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    operands = [np.broadcast_to(x, found.shape)[at] for x in inputs]
    return (
        f"{node.op.name} of {operands} is {found[at]!r} instead of {near[at]!r}: "
        f"{float(error[at] / unit[at]):.3g} ulp, where {ulps_of(node, fused):.3g} are allowed"
    )


def _eps(array):
    return float(np.finfo(array.dtype).eps)


def _bounded(bound, magnitude, dtype):
    """``bound``, and none where sums of this magnitude may overflow."""
    return np.where(np.abs(magnitude) < float(np.finfo(dtype).max) / 2, bound, np.inf)


def _magnitude(node, inputs, wanted):
    """The reference over absolute values, non-finite ones taken for 0 (they decide alone)."""
    sizes = [np.where(np.isfinite(x), np.abs(x), 0) if x.dtype.kind == "f" else x for x in inputs]
    sizes = [size.astype(x.dtype) for size, x in zip(sizes, inputs, strict=True)]
    types = [TensorType(node.types[0].dtype, wanted[0].shape)]
    return node.op.reference(node, sizes, types)[0]


def _sum(node, inputs, wanted):
    (x,) = inputs
    terms = np.prod([x.shape[axis] for axis in node.attrs["axes"]])
    size = _magnitude(node, inputs, wanted)
    return [_bounded((terms + 1) * _eps(size) * size, size, size.dtype)]


def _product_of_all(node, inputs, wanted):
    """Each factor rounds once, relative to the product; nothing near the ends of the range."""
    (x,), axes = inputs, node.attrs["axes"]
    terms = np.prod([x.shape[axis] for axis in axes])
    ordinary = np.isfinite(x) & (x != 0)
    exponents = np.abs(np.log2(np.where(ordinary, np.abs(x), 1)))
    reach = exponents.sum(axis=axes, keepdims=node.attrs["keepdims"])
    bound = (terms + 1) * _eps(x) * np.abs(wanted[0])
    return [np.where(reach < np.finfo(x.dtype).maxexp - 2, bound, np.inf)]


def _matmul(node, inputs, wanted):
    terms = inputs[0].shape[-2 if node.attrs["transpose_a"] else -1]
    size = _magnitude(node, inputs, wanted)
    return [_bounded((terms + 1) * _eps(size) * size, size, size.dtype)]


def _scatter(node, inputs, wanted):
    size = _magnitude(node, inputs, wanted)
    return [_bounded((inputs[0].size + 1) * _eps(size) * size, size, size.dtype)]


def _extreme(node, inputs, wanted):
    """Of zeros with both signs, the order decides which one is the extreme."""
    return [np.where(wanted[0] == 0, float(np.finfo(wanted[0].dtype).smallest_subnormal), 0)]


def _nothing(node, inputs, wanted):
    """Integers, scaled by powers of two."""
    return [0]


def _normal(node, inputs, wanted):
    """Radius times cosine: the angle, up to 2 pi, is rounded twice on either side and the cosine
    can change as much; logarithm, root and product are a few ulp of the radius."""
    radius = WIDEST_REDUCED_RADIUS[wanted[0].dtype.name]
    return [(2 * 2 * np.pi + 8) * _eps(wanted[0]) * radius]


def _logs(inputs, axis):
    """log_softmax in float64, its size (NaN taken for 0), and how many terms a row has."""
    logs = log_softmax_numpy(inputs[0], axis)
    return logs, np.where(np.isfinite(logs), np.abs(logs), 0), logs.shape[axis]


# With d = x - max, |d| is at most |log_softmax|. exp(d) errs by eps / 2 * |d| (d is rounded) and
# 1.2 ulp, so the sum of a row by (0.2 n + 1.2) eps (t * exp(-t) < 0.4) and its own n eps / 2.


def _softmax(node, inputs, wanted):
    _, size, terms = _logs(inputs, node.attrs["axis"])
    return [_chance_bound(wanted[0], np.abs(wanted[0]), size, terms)]


def _chance_bound(like, chances, size, terms):
    tiny = float(np.finfo(like.dtype).smallest_subnormal)
    return _eps(like) * chances * (size + terms + 4) + 4 * tiny


def _log_softmax(node, inputs, wanted):
    _, size, terms = _logs(inputs, node.attrs["axis"])
    return [_eps(wanted[0]) * (3 * size + terms + 3)]


def _cross_entropy(node, inputs, wanted):
    """Over weights of the classes: -sum(w * logs), and softmax * sum(w) - w."""
    logs, size, terms = _logs(inputs, -1)
    weights = np.abs(inputs[1].astype(np.float64))
    total = weights.sum(-1, keepdims=True)
    eps = _eps(wanted[0])
    loss = eps * (weights * ((3 + terms) * size + 2 * terms + 3)).sum(-1)
    chances = np.exp(logs) * total
    back = 2 * _chance_bound(wanted[1], chances, size + terms, terms) + eps * weights
    return [loss, back]


def _sparse_cross_entropy(node, inputs, wanted):
    logs, size, terms = _logs(inputs, -1)
    eps = _eps(wanted[0])
    loss = eps * (3 * np.abs(wanted[0]) + terms + 3)
    chances = np.exp(logs)
    back = _chance_bound(wanted[1], chances, size, terms) + eps * np.abs(wanted[1])
    return [loss, back]


_RULES = {
    "reduce_max": _extreme,
    "reduce_min": _extreme,
    "reduce_sum": _sum,
    "reduce_prod": _product_of_all,
    "matmul": _matmul,
    "scatter_add": _scatter,
    "random_uniform": _nothing,
    "random_normal": _normal,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softmax_cross_entropy": _cross_entropy,
    "sparse_softmax_cross_entropy": _sparse_cross_entropy,
}
SUMS = {
    "reduce_sum", "reduce_prod", "matmul", "scatter_add", "softmax", "log_softmax",
    "softmax_cross_entropy", "sparse_softmax_cross_entropy",
}  # fmt: skip
REGROUPED = SUMS | {"reduce_max", "reduce_min"}
"""Ops whose floats may differ in bits between two kernels: a schedule decides on the order."""
