"""Random numbers: known answers, the same bits twice, distributions, and the counter of steps."""

import numpy as np
import pytest
import scipy.stats

import graphc as gx
from graphc.backends.reference import run
from graphc.ir.compute.expr import Const, const, postorder
from graphc.ir.compute.scalar import evaluate
from graphc.ir.dtypes import uint32
from graphc.ops.philox import philox, philox_numpy

# kat_vectors of Random123 1.14, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text):
    return [int(word, 16) for word in text.split()]


def values_of(exprs):
    """The values of expressions without loads, by the table of scalar operations."""
    found = {}
    for e in postorder(exprs):
        found[id(e)] = (
            e.dtype.numpy.type(e.value)
            if isinstance(e, Const)
            else evaluate(e.op, tuple(found[id(o)] for o in e.operands), e.dtype)
        )
    return [int(found[id(e)]) for e in exprs]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_known_answers_twice(counter, key, result):
    assert philox_numpy(words(counter), tuple(words(key))).tolist() == words(result)
    counters = [const(word, uint32) for word in words(counter)]
    assert values_of(philox(counters, tuple(words(key)))) == words(result)


@pytest.mark.parametrize("dtype", [gx.float32, gx.float64])
def test_uniform_is_uniform_and_below_one(dtype):
    x = gx.random_uniform([200, 500], dtype=dtype)
    (found,) = run(x.graph, {}, [x])
    assert found.min() >= 0
    assert found.max() < 1
    assert scipy.stats.kstest(found.ravel(), "uniform").pvalue > 1e-3
    # Neighbours along both axes do not know of each other.
    for a, b in [(found[1:], found[:-1]), (found[:, 1:], found[:, :-1])]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", [gx.float32, gx.float64])
def test_normal_is_normal(dtype):
    x = gx.random_normal([100_000], mean=3.0, stddev=2.0, dtype=dtype)
    (found,) = run(x.graph, {}, [x])
    assert found.dtype == dtype.numpy
    assert scipy.stats.kstest((found - 3) / 2, "norm").pvalue > 1e-3


def test_limits_may_be_tensors():
    low = gx.placeholder(gx.float32, [3])
    x = gx.random_uniform([1000, 3], low, low + 2.0)
    (found,) = run(x.graph, {low: np.float32([-1, 0, 10])}, [x])
    assert (found.min(axis=0) >= [-1, 0, 10]).all()
    assert (found.max(axis=0) <= [1, 2, 12]).all()
    assert (np.ptp(found, axis=0) > 1.9).all()


def test_every_step_has_new_numbers_and_counts_once():
    a, b = gx.random_uniform([4]), gx.random_normal([4])
    c = gx.random_uniform([4])
    variables = {}
    first = run(a.graph, {}, [a, b, c], variables)
    assert variables == {"random/counter": 1}
    second = run(a.graph, {}, [a, a, c], variables)
    assert variables == {"random/counter": 2}
    assert len({tuple(x) for x in (*first, second[0], second[2])}) == 5
    np.testing.assert_array_equal(second[0], second[1])
    run(a.graph, {}, [gx.constant(1)], variables)
    assert variables == {"random/counter": 2}
    # A checkpoint keeps the counter, and with it what comes next.
    np.testing.assert_array_equal(run(a.graph, {}, [a], {"random/counter": np.array(1)}),
                                  [second[0]])  # fmt: skip


def numbers(seed=None, op_seed=None, before=0):
    with gx.Graph().as_default() as graph:
        if seed is not None:
            gx.set_random_seed(seed)
        for _ in range(before):
            gx.random_uniform([])
        return run(graph, {}, [gx.random_uniform([8], seed=op_seed)])[0].tolist()


def test_seeds_decide_the_numbers():
    assert numbers(op_seed=np.int64(3)) == numbers(op_seed=3)
    assert numbers() == numbers(seed=0)
    assert numbers(seed=1) == numbers(seed=1)
    different = [numbers(), numbers(seed=1), numbers(op_seed=1234), numbers(before=1)]
    assert len(set(map(tuple, different))) == 4
    assert numbers(op_seed=7, before=3) == numbers(op_seed=7)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a"])
def test_a_wrong_seed_is_refused(seed):
    with pytest.raises(gx.GraphError, match=r"(?s)no seed.*test_random\.py"):
        gx.set_random_seed(seed)
    with pytest.raises(gx.GraphError, match="no seed"):
        gx.random_uniform([2], seed=seed)


def test_an_element_depends_on_its_place_alone():
    with gx.Graph().as_default():
        long = run(gx.get_default_graph(), {}, [gx.random_uniform([4, 7], seed=3)])[0]
    with gx.Graph().as_default():
        short = run(gx.get_default_graph(), {}, [gx.random_uniform([2, 7], seed=3)])[0]
    np.testing.assert_array_equal(long[:2], short)


def test_sizes_may_be_known_only_in_the_run():
    x = gx.placeholder(gx.float32, [None, 3])
    noise = gx.random_normal(x.shape)
    (found,) = run(x.graph, {x: np.zeros((5, 3), np.float32)}, [noise])
    assert found.shape == (5, 3)


def test_the_counter_is_hidden_and_found_by_name():
    gx.random_uniform([2])
    assert gx.global_variables() == []
    graph = gx.get_default_graph()
    graph.collections.clear()  # as a graph that was read from a text
    gx.random_uniform([2])
    assert [n.name for n in graph.nodes if n.op.name == "assign_add"] == ["random/advance"]
    assert [n.attrs["op_seed"] for n in graph.nodes if n.op.name == "random_uniform"] == [0, 1]


def test_only_floats_are_made():
    with pytest.raises(gx.DTypeError, match="random numbers are floats, not int32"):
        gx.random_uniform([2], dtype=gx.int32)


@pytest.mark.parametrize("op", ["random_uniform", "random_normal"])
def test_a_part_has_the_numbers_of_the_whole(op):
    graph = gx.Graph()
    step = graph.add("placeholder", (), {"dtype": gx.int64, "shape": ()}).outputs[0]
    attrs = {"seed": 3, "op_seed": 1, "dtype": gx.float64}
    whole = graph.add(op, [step], attrs | {"shape": (4, 5)}).outputs[0]
    place = {"shape": (2, 3), "whole": (4, 5), "start": (1, 2)}
    part = graph.add(op, [step], attrs | place).outputs[0]
    found, wanted = run(graph, {step: np.int64(9)}, [part, whole])
    np.testing.assert_array_equal(found, wanted[1:3, 2:5])


def test_a_part_has_a_place_along_each_axis():
    graph = gx.Graph()
    step = graph.add("placeholder", (), {"dtype": gx.int64, "shape": ()}).outputs[0]
    attrs = {"seed": 3, "op_seed": 1, "dtype": gx.float64, "shape": (2, 3), "whole": (4, 5)}
    with pytest.raises(gx.ShapeError, match="whole and start must have a size for each axis"):
        graph.add("random_uniform", [step], attrs)
