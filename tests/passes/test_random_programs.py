"""Random programs mean the same after each pass, to the last bit, and with passes left out."""

import itertools
import random
from math import prod

import pytest

from graphc.backends.loops.plan import is_contraction, plan
from graphc.compiler.extract import extract
from graphc.ir.errors import StateError
from graphc.ir.graph import Graph
from graphc.ir.verify import verify
from graphc.ops.fused import body_kernel
from graphc.passes.context import PassContext
from graphc.passes.fuse import Fuse
from graphc.passes.pipeline import default_pipeline, run_pipeline
from tests.passes.random_programs import random_program
from tests.passes.running import CPU, assert_same_bits, outcome

OPTIONAL = sorted({step.name for step in default_pipeline(CPU)} - {"resolve_state"})


def prepared(seed: int):
    """An extracted graph, its feeds and variables, and what it gives; None: it is refused."""
    program = random_program(seed)
    feeds, values = list(program.feeds), list(program.feeds.values())
    graph = extract(program.fetches, program.targets, feeds).graph
    try:
        return graph, values, program.variables, outcome(graph, values, program.variables)
    except StateError:
        return graph, values, program.variables, None


@pytest.mark.random_cases(quick=80, soak=3000)
def test_each_pass_keeps_every_bit(case_seed: int) -> None:
    graph, values, variables, wanted = prepared(case_seed)
    if wanted is None:
        with pytest.raises(StateError):
            run_pipeline(graph, PassContext(CPU))
        return
    for step in default_pipeline(CPU):
        graph = step.run(graph, PassContext(CPU))
        verify(graph)
        assert_same_bits(outcome(graph, values, variables), wanted)


@pytest.mark.random_cases(quick=20, soak=500)
def test_random_subsets_of_passes_keep_every_bit(case_seed: int) -> None:
    graph, values, variables, wanted = prepared(case_seed)
    if wanted is None:
        return
    rng = random.Random(case_seed)
    for _ in range(3):
        disabled = frozenset(name for name in OPTIONAL if rng.random() < 0.5)
        found = run_pipeline(graph, PassContext(CPU), disabled)
        assert_same_bits(outcome(found, values, variables), wanted)


@pytest.mark.parametrize("seed", [3, 5])
def test_every_subset_of_passes_keeps_every_bit(seed: int) -> None:
    graph, values, variables, wanted = prepared(seed)
    assert wanted is not None
    for count in range(len(OPTIONAL) + 1):
        for disabled in itertools.combinations(OPTIONAL, count):
            found = run_pipeline(graph, PassContext(CPU), frozenset(disabled))
            assert_same_bits(outcome(found, values, variables), wanted)


@pytest.mark.random_cases(quick=40, soak=1000)
def test_small_groups_keep_every_bit(case_seed: int) -> None:
    """Bounds cut groups at odd places."""
    graph, values, variables, wanted = prepared(case_seed)
    if wanted is None:
        return
    graph = run_pipeline(graph, PassContext(CPU), frozenset({"fuse"}))
    for limit in (2, 3, 5):
        found = Fuse(limit=limit).run(graph, PassContext(CPU))
        verify(found)
        assert max((len(computing(n)) for n in fused(found)), default=0) <= limit
        assert_same_bits(outcome(found, values, variables), wanted)


@pytest.mark.random_cases(quick=80, soak=2000)
def test_a_group_is_one_nest_of_loops(case_seed: int) -> None:
    """But for updates, for sums of products that the plan takes for matrix products, and for
    what is computed once to be read by a larger nest."""
    graph, _, _, wanted = prepared(case_seed)
    if wanted is None:
        return
    result = run_pipeline(graph, PassContext(CPU))
    updates = {t.node for n in result.nodes if n.op.name == "assign" for t in n.inputs}
    for node in fused(result):
        planned = plan(body_kernel(node.attrs["body"]))
        product = any(n.op.name == "matmul" for n in computing(node))
        like_product = any(is_contraction(stage) for stage in planned.kernel.stages)
        if node not in updates and (product or not like_product):
            sizes = [iterations(group) for group in planned.groups if loops(group)]
            assert sizes.count(max(sizes, default=0)) <= 1


def loops(group) -> bool:
    """Whether a group is more than a single number."""
    return any(stage.axes or getattr(stage, "over", ()) for stage in group.stages)


def iterations(group) -> int:
    """How often the innermost part of a group's loops runs."""
    stages = ((*stage.axes, *getattr(stage, "over", ())) for stage in group.stages)
    return max(prod(axis.extent for axis in axes) for axes in stages)


def fused(graph: Graph):
    return [node for node in graph.nodes if node.op.name == "fused"]


def computing(node):
    return [n for n in node.attrs["body"].nodes if n.op.name not in ("placeholder", "constant")]
