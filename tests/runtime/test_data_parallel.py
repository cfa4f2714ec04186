"""Training steps on simulated workers that share batches: what the undivided step gives."""

import random
import weakref

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.executable import Binding
from graphc.distribute import DataParallel
from graphc.runtime.drivers.network import Network
from graphc.runtime.step import Step
from tests.passes.batch_programs import BatchMaker
from tests.passes.running import outcome
from tests.passes.shards import extracted
from tests.runtime.shared_batches import Call, each_feeds, one_feeds, workers


def program(seed):
    """A random step over a batch: its call, the axes along which feeds are divided, variables."""
    maker = BatchMaker(seed, random.Random(seed).choice([0, 1, 2, 5, 13]), safe=True)
    made = maker.made()
    axes = dict(zip(made.feeds, maker.axes, strict=True))
    call = Call(tuple(made.fetches), tuple(made.targets), made.feeds)
    handles = {n.attrs["shared_name"]: n.outputs[0] for n in made.graph.nodes
               if n.op.name == "variable"}  # fmt: skip
    return call, axes, {handles[name]: v for name, v in made.variables.items() if name in handles}


def undivided(call, variables):
    """What the step gives in NumPy: what is fetched, and variables."""
    graph = extracted(call.fetches, call.targets, list(call.feeds))
    named = {handle.node.attrs["shared_name"]: value for handle, value in variables.items()}
    return outcome(graph, list(call.feeds.values()), named)


def strategies(rng, axes, members):
    """A way to divide it, at random."""
    more = rng.choice([
        {}, {"algorithm": "ring"}, {"algorithm": "direct"}, {"algorithm": "scattered"},
        {"bucket_bytes": rng.choice([1, 100])}, {"reproducible": rng.randint(members, 9)},
    ])  # fmt: skip
    return DataParallel(batch=axes, **more)


@pytest.mark.random_cases(quick=14, soak=600)
def test_a_step_is_that_of_the_undivided_batch(case_seed):
    rng, members = random.Random(case_seed), 1 + case_seed % 7
    call, axes, variables = program(case_seed)
    wanted, state = undivided(call, variables)
    strategy = strategies(rng, axes, members)
    network = Network(synchronous=rng.random() < 0.5)
    cluster = workers(members, case_seed, network, variables)
    if rng.random() < 0.5:
        (found,) = one_feeds(cluster, strategy, [call])
    else:
        counts = None if strategy.reproducible else cut(case_seed, members)
        (found,) = each_feeds(cluster, strategy, [call], counts)
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    for name in cluster.engines[0].store.initialized:
        np.testing.assert_allclose(cluster.value(name, 0), state[name], rtol=1e-7, atol=1e-9)


def cut(seed, members):
    """Rows for each member at random, some of which may have none."""

    def counts(rows):
        ends = np.sort(np.random.default_rng(seed).integers(0, rows + 1, members - 1))
        return np.diff([0, *ends, rows]).tolist()

    return counts


def regression(dtype=gx.float32):
    """Features, targets, their weights, the gradient and a step along it."""
    x = gx.placeholder(dtype, [None, 3], name="x")
    y = gx.placeholder(dtype, [None, 1], name="y")
    w = gx.get_variable("w", [3], dtype, initializer=gx.zeros_initializer())
    grad = gx.gradients(gx.reduce_sum(gx.square(x * w - y)), w)[0]
    return x, y, w, grad, w.assign_sub(gx.cast(0.25, dtype) * grad)


def batch(rows, dtype=np.float32):
    """Small integers, whose sums have no rounding."""
    rng = np.random.default_rng(rows)
    return [rng.integers(-2, 3, (rows, width)).astype(dtype) for width in (3, 1)]


WAYS = pytest.mark.parametrize("take", [one_feeds, each_feeds])


@WAYS
def test_what_is_fetched_may_also_be_assigned(take, monkeypatch):
    """The commit reads what other workers do not fetch: it has to be there."""
    made, begin, write = [], Binding.begin, Step.write

    def begun(binding, feeds):
        found = begin(binding, feeds)
        made.extend(map(weakref.ref, found))
        return found

    def written(step):
        assert all(array() is not None for array in made)
        yield from write(step)
        made.clear()

    monkeypatch.setattr(Binding, "begin", begun)
    monkeypatch.setattr(Step, "write", written)
    x, y, _, grad, step = regression()
    feeds = dict(zip((x, y), batch(8), strict=True))
    cluster = workers(3)
    ((found, after),) = take(cluster, DataParallel(), [Call((grad, step), (), feeds)])
    np.testing.assert_array_equal(after, -0.25 * found)
    for rank in range(3):
        np.testing.assert_array_equal(cluster.value("w", rank), after)


@WAYS
def test_gradients_of_wide_floats(take):
    x, y, _, grad, step = regression(gx.float64)
    feeds = dict(zip((x, y), batch(8, np.float64), strict=True))
    with gx.Session() as session:
        wanted = session.run([grad, step], feeds)
    for strategy in (DataParallel(), DataParallel(reproducible=5)):
        (found,) = take(workers(3), strategy, [Call((grad, step), (), feeds)])
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


@WAYS
def test_fetches_of_every_state(take):
    """Split along the first axis, along another, combined by sum, max, and logically; whole."""
    x = gx.placeholder(gx.int32, [None, 3], name="x")
    turned = gx.placeholder(gx.bool, [2, None], name="turned")
    scale = gx.placeholder(gx.int32, [], name="scale")
    fetches = (
        x * scale, gx.transpose(x), gx.reshape(x, [-1]), gx.logical_not(turned),
        gx.reduce_sum(x, axis=0), gx.reduce_max(x), gx.reduce_any(turned, axis=1),
        gx.reduce_all(turned), scale + 1, gx.shape(x), gx.reduce_sum(x) * scale,
    )  # fmt: skip
    strategy = DataParallel(batch={turned: 1})
    rng = np.random.default_rng(2)
    calls = [
        Call(fetches, (), {
            x: rng.integers(-9, 9, (rows, 3)).astype(np.int32),
            turned: rng.random((2, rows)) < 0.5,
            scale: np.int32(3),
        })
        for rows in (7, 2, 0, 9)
    ]  # fmt: skip
    found = take(workers(4), strategy, calls)
    with gx.Session() as session:
        for call, values in zip(calls, found, strict=True):
            for a, b in zip(values, session.run(list(fetches), call.feeds), strict=True):
                assert (a.dtype, a.shape) == (np.asarray(b).dtype, np.shape(b))
                np.testing.assert_array_equal(a, b)


def test_sessions_take_up_what_others_left():
    """One feeds for all, then another one does, then each its own rows."""
    x, y, w, _, step = regression()
    feeds = dict(zip((x, y), batch(6), strict=True))
    calls = [Call((), (step.node,), feeds)] * 2
    with gx.Session() as session:
        wanted = []
        for _ in range(3):
            for _ in range(2):
                session.run(step, feeds)
            wanted.append(session.run(w))
    cluster = workers(3)
    cluster.join(1, 2)

    def script(session):
        for call in calls:
            yield from session.run((), call.targets, call.feeds)
        (value,) = yield from session.run((w,))
        yield from session.close()
        return value

    for number in range(3):
        (value,) = cluster.run(cluster.sharing(0, script, DataParallel(), number))
        np.testing.assert_allclose(value, wanted[number], rtol=1e-5)


def test_sessions_of_all_take_up_what_others_left():
    x, y, _, _, step = regression()
    feeds = dict(zip((x, y), batch(6), strict=True))
    cluster, strategy, found = workers(2), DataParallel(), []

    def script(session):
        mine = {tensor: array[:3] for tensor, array in feeds.items()}
        (value,) = yield from session.run((step,), (), mine)
        yield from session.close()
        return value

    for number in range(2):
        clients = [cluster.sharing(rank, script, strategy, number) for rank in range(2)]
        found.append(cluster.run(*clients)[0])
    with gx.Session() as session:
        mine = {tensor: np.concatenate([array[:3]] * 2) for tensor, array in feeds.items()}
        wanted = [session.run(step, mine) for _ in range(2)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
