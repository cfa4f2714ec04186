"""Every registered op over operands with a batch axis: it is refused, or the shards agree."""

import itertools

import numpy as np
import pytest

from graphc.ir.dims import symbol
from graphc.ir.dtypes import as_dtype
from graphc.ir.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.scope import create, graph_scope
from graphc.passes.sharding import Replicated
from tests.ops.cases import CASES, all_cases
from tests.passes.running import outcome
from tests.passes.shards import failing, ragged, refusal, run_shards, sharded

ALL = all_cases()
ROWS = symbol("n")
SIZES = {"shape", "sizes"}
"""Attributes that hold sizes."""
NEVER = {"constant", "extent"}
"""Ops without operands: nothing is split."""


def variants(case):
    """Which operands are split and where, with as many rows each, and the place among the sizes
    in the attributes of the one that is meant to be this number, or a multiple of it."""
    axes = [[None, *range(min(x.ndim, 3))] for x in case.inputs]
    places = [None, *range(max((len(case.attrs.get(key, ())) for key in SIZES), default=0))]
    for split in itertools.islice(itertools.product(*axes), 40):
        counts = {x.shape[a] for x, a in zip(case.inputs, split, strict=True) if a is not None}
        if len(counts) == 1:
            yield from itertools.product([split], counts, places)


def batch_attrs(case, rows, place):
    """The attributes with a symbol in place of the size there."""
    attrs = dict(case.attrs)
    for key in SIZES & attrs.keys():
        sizes = list(attrs[key])
        if place is not None and rows and place < len(sizes) and sizes[place] % rows == 0:
            sizes[place] = sizes[place] // rows * ROWS
        attrs[key] = tuple(sizes)
    return attrs


def graph_of(case, split, rows, place):
    """The op alone over placeholders, or None if it does not take such shapes."""
    with graph_scope(Graph()):
        tensors = []
        for x, axis in zip(case.inputs, split, strict=True):
            shape = tuple(ROWS if n == axis else size for n, size in enumerate(x.shape))
            attrs = {"dtype": as_dtype(x.dtype), "shape": shape}
            tensors.append(create("placeholder", (), attrs).outputs[0])
        try:
            node = create(case.op, tensors, batch_attrs(case, rows, place))
        except GraphcError:
            return None
    graph = node.graph
    graph.inputs, graph.outputs = tuple(tensors), node.outputs
    sizes = {"n": rows}
    return graph if all(c.holds(sizes) for c in node.constraints) else None


def close(found, wanted):
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    tolerance = 1e-5 if wanted.dtype == np.float32 else 1e-12
    scale = np.max(np.abs(wanted), initial=1, where=np.isfinite(wanted))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * min(scale, 1e30))


def compared(case, split, rows, place, rng):
    """Compare; whether the op was split at all (None: it does not take such shapes)."""
    graph = graph_of(case, split, rows, place)
    if graph is None:
        return None
    refused = refusal(graph, split)
    if refused:
        assert refused.startswith(f"{case.op} ")
        return False
    found = sharded(graph, split)
    wanted, fails = failing(lambda: outcome(graph, case.inputs, {}))
    for counts in ([rows], ragged(rng, rows), ragged(rng, rows)):
        outputs, also_fails = failing(
            lambda counts=counts: run_shards(found, case.inputs, counts, {})
        )
        assert fails == also_fails, (case.name, split, counts)
        if not fails:
            for value, want in zip(outputs[0], wanted[0], strict=True):
                assert value.shape == want.shape, (case.name, split)
                close(np.asarray(value), want)
    return any(not isinstance(s, Replicated) for s in found.inputs)


@pytest.mark.parametrize("name", [name for name in CASES if name not in NEVER])
def test_refused_or_equal(name, rng):
    split = 0
    for case in [case for case in ALL if case.op == name][:60]:
        if max((x.size for x in case.inputs), default=0) > 400:
            continue
        for variant in variants(case):
            split += bool(compared(case, *variant, rng))
    if not name.startswith("random"):
        assert split > 0, "nothing was ever split"
