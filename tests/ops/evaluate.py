"""Graphs run by the ops' references alone, and differentiated by their gradients alone.

Short on purpose and independent of autodiff and of every backend, so that both can be held
against it.
"""

import numpy as np

from graphc.ir.op import op_named
from graphc.ops.emit import zeros_of


def evaluate(tensors, feeds, sizes=None):
    """The values of `tensors`, given those of placeholders and the sizes of symbols."""
    values = dict(feeds)
    for node in tensors[0].graph.nodes:
        if all(t in values for t in node.inputs) and not all(t in values for t in node.outputs):
            types = [t.substitute(sizes or {}) for t in node.types]
            inputs = [values[t] for t in node.inputs]
            found = node.op.reference(node, inputs, types) if node.op.name != "placeholder" else []
            values |= dict(zip(node.outputs, found, strict=False))
    return [values[t] for t in tensors]


def differentiate(ys, seeds, xs):
    """Gradients of the sum of `ys * seeds` for `xs`, by walking the graph backwards."""
    graph = ys[0].graph
    grads = dict(zip(ys, seeds, strict=True))
    for node in reversed(list(graph.nodes)):
        found = [grads.get(t) for t in node.outputs]
        if all(g is None for g in found):
            continue
        for x, g in zip(node.inputs, op_named(node.op.name).gradient(node, found), strict=True):
            if g is not None:
                assert (g.dtype, g.shape) == (x.dtype, x.shape), (node, g, x)
                grads[x] = grads[x] + g if x in grads else g
    return [grads.get(x, zeros_of(x.type)) for x in xs]


def close(found, expected, bound):
    """Whether two arrays are equal but for `bound`, NaN and infinities included."""
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if found.dtype.kind in "biu":
        return np.array_equal(found, expected)
    with np.errstate(all="ignore"):
        near = np.abs(found - expected) <= bound
    return bool(np.all(near | (found == expected) | (np.isnan(found) & np.isnan(expected))))
