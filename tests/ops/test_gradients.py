"""Every gradient against central differences of the references, in float64, and once more.

Only the ops' own references and gradients are used: no autodiff, no backend.
"""

import numpy as np
import pytest

from graphc.ir.dtypes import float64
from graphc.ir.graph import Graph
from graphc.ir.scope import create, graph_scope
from tests.ops.cases import all_cases
from tests.ops.evaluate import differentiate, evaluate

STEP = 1e-5
SMOOTH = [case for case in all_cases() if case.smooth]


class Derivatives:
    """A case's op, its gradient along random seeds, and the gradient of that along others."""

    def __init__(self, case, rng, symbolic):
        self.case, self.rng = case, rng
        self.sizes = case.sizes if symbolic else {}
        self.node = case.node(symbolic)
        self.ys = [y for y in self.node.outputs if y.dtype.is_float]
        self.xs = [x for x in self.node.inputs if x.dtype.is_float]
        self.values = dict(zip(self.node.inputs, case.inputs, strict=True))
        self.seeds = self.placeholders(self.ys)
        self.grads = differentiate(self.ys, self.seeds, self.xs)
        self.directions = self.placeholders(self.xs)
        self.second = differentiate(self.grads, self.directions, self.xs)

    def placeholders(self, tensors):
        """Fed with random values, one like each of `tensors`."""
        made = []
        for t in tensors:
            node = create("placeholder", (), {"dtype": float64, "shape": t.shape})
            shape = t.type.substitute(self.sizes).shape
            self.values[node.outputs[0]] = np.asarray(self.rng.standard_normal(shape))
            made.append(node.outputs[0])
        return made

    def run(self, tensors, offset=0.0):
        """The values of `tensors` with the operands moved along `directions`."""
        moved = dict(self.values)
        for x, direction in zip(self.xs, self.directions, strict=True):
            moved[x] = np.asarray(self.values[x] + offset * self.values[direction])
        return evaluate(tensors, moved, self.sizes)

    def slope(self, tensors, weights):
        """The change of the weighted sum of `tensors` along `directions`, by differences."""
        ends = [
            sum(np.sum(value * self.values[w]) for value, w in zip(found, weights, strict=True))
            for found in (self.run(tensors, STEP), self.run(tensors, -STEP))
        ]
        return (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_gradient_is_the_slope(case, symbolic, rng):
    with graph_scope(Graph()):
        d = Derivatives(case, rng, symbolic)
        found = d.run(d.grads)
        along = sum(np.sum(g * d.values[v]) for g, v in zip(found, d.directions, strict=True))
        assert along == pytest.approx(d.slope(d.ys, d.seeds), rel=1e-5, abs=1e-6)
        # The same once more: the slope of the gradient, along the same directions.
        second = d.run(d.second)
        along = sum(np.sum(g * d.values[v]) for g, v in zip(second, d.directions, strict=True))
        assert along == pytest.approx(d.slope(d.grads, d.directions), rel=1e-4, abs=1e-5)


CONSTANT = {
    "floor", "ceil", "round", "sign", "stop_gradient", "size", "constant",
}  # fmt: skip
"""Ops of floats whose gradient is nothing at all."""


def test_every_op_of_floats_has_smooth_cases():
    smooth = {case.op for case in SMOOTH}
    for case in all_cases():
        takes_floats = any(x.dtype == np.float64 for x in case.inputs)
        if case.op in smooth or case.op in CONSTANT or not takes_floats or case.fails is not None:
            continue
        with graph_scope(Graph()):
            assert not any(y.dtype.is_float for y in case.node().outputs), case.name
