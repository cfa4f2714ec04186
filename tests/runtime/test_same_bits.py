"""`reproducible`: the same bits from any number of workers; each computes its own rows alone."""

import random

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.collectives import formulas
from graphc.distribute import DataParallel
from graphc.runtime.engine import Loaded
from graphc.runtime.rows import blocks
from tests.runtime.shared_batches import (
    Call,
    assert_same_bits,
    each_feeds,
    even,
    one_feeds,
    workers,
)

WIDTH = 6


class Model:
    """Dropout, batch statistics and Adam over a batch of vectors with labels."""

    def __init__(self):
        self.x = gx.placeholder(gx.float32, [None, WIDTH], name="x")
        self.y = gx.placeholder(gx.int32, [None], name="y")
        w1 = gx.get_variable("w1", [WIDTH, 16])
        h = gx.relu(gx.matmul(self.x, w1) + gx.get_variable("b1", [16]))
        away = h - gx.reduce_mean(h, axis=0)
        h = away * gx.rsqrt(gx.reduce_mean(gx.square(away), axis=0) + 0.1)
        h = gx.nn.dropout(h, 0.3, seed=3)
        self.logits = gx.matmul(h, gx.get_variable("w2", [16, 5]))
        losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=self.y, logits=self.logits)
        self.loss = gx.reduce_mean(losses)
        self.step = gx.train.AdamOptimizer(0.01).minimize(self.loss)
        self.weights = tuple(v.value() for v in gx.trainable_variables())

    def calls(self, sizes):
        """A step on each size of batch, and the weights at the end."""
        rng, calls = np.random.default_rng(5), []
        for rows in sizes:
            x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
            feeds = {self.x: x, self.y: rng.integers(0, 5, rows).astype(np.int32)}
            calls.append(Call((self.loss, self.logits), (self.step,), feeds))
        return [*calls, Call(self.weights)]


SIZES = (12, 30, 5, 0, 12)
"""Some are no multiple of the number of shards, and some less."""


def assert_equal(found, wanted):
    for values, others in zip(found, wanted, strict=True):
        for a, b in zip(values, others, strict=True):
            assert_same_bits(np.asarray(a), np.asarray(b))


def test_bits_are_those_of_one_worker_whatever_their_number():
    model = Model()
    calls, strategy = model.calls(SIZES), DataParallel(reproducible=12)
    wanted = one_feeds(workers(1), strategy, calls)
    assert np.isfinite(wanted[-1][0]).all()
    for count in (2, 4, 5, 12):
        assert_equal(one_feeds(workers(count, count), strategy, calls), wanted)
    for count in (1, 3, 7):
        assert_equal(each_feeds(workers(count, count), strategy, calls), wanted)


@pytest.mark.random_cases(quick=2, soak=100)
def test_bits_for_any_number_of_shards(case_seed):
    rng = random.Random(case_seed)
    shards = rng.randint(1, 16)
    sizes = [rng.randint(0, 3 * shards) for _ in range(3)]
    calls, strategy = Model().calls(sizes), DataParallel(reproducible=shards)
    wanted = one_feeds(workers(1), strategy, calls)
    take = rng.choice([one_feeds, each_feeds])
    count = rng.randint(1, min(shards, 8))
    assert_equal(take(workers(count, case_seed), strategy, calls), wanted)


def test_bits_are_those_of_a_session_without_a_server():
    model = Model()
    calls, strategy = model.calls((12, 5)), DataParallel(reproducible=12)
    with gx.Session(strategy=strategy) as session:
        wanted = [session.run([list(c.fetches), list(c.targets)], c.feeds)[0] for c in calls]
    assert_equal(each_feeds(workers(2), strategy, calls), wanted)


def test_numbers_of_shards_give_different_bits():
    """Else the tests above would show nothing."""
    calls = Model().calls((30,))
    found = [
        one_feeds(workers(1), DataParallel(reproducible=shards), calls)[-1][0] for shards in (1, 12)
    ]
    assert found[0].tobytes() != found[1].tobytes()


def test_dropout_drops_what_it_drops_without_a_strategy():
    x = gx.placeholder(gx.float32, [None, 7])
    dropped = gx.nn.dropout(x, 0.5, seed=1)
    calls = [Call((dropped,), feeds={x: np.ones((rows, 7), np.float32)}) for rows in (5, 11, 3)]
    with gx.Session() as session:
        wanted = [[session.run(dropped, call.feeds)] for call in calls]
    for strategy in (DataParallel(), DataParallel(reproducible=4)):
        for take in (one_feeds, each_feeds):
            assert_equal(take(workers(3), strategy, calls), wanted)


@pytest.mark.parametrize("take", [one_feeds, each_feeds])
@pytest.mark.parametrize("shards", [None, 12])
def test_each_worker_computes_its_own_rows(take, shards, monkeypatch):
    bound, bind = [], Loaded.bind

    def counted(self, sizes):
        if self.part.sharding is not None:
            bound.append(
                (self.part.sharding.member, dict(zip(self.part.symbols, sizes, strict=True)))
            )
        return bind(self, sizes)

    monkeypatch.setattr(Loaded, "bind", counted)
    strategy, count, rows = DataParallel(reproducible=shards), 3, 31
    take(workers(count), strategy, Model().calls((rows,))[:1])
    for member, counts in enumerate(even(rows, count, shards)):
        mine = [sizes for who, sizes in bound if who == member and sizes["_all_rows"] == rows]
        assert mine
        for sizes in mine:
            own = [size for name, size in sizes.items() if name.startswith("_rows_shard")]
            assert sum(own) == counts
            assert len(own) == len(blocks(shards or count, count)[member])


ALGORITHMS = {
    "ring": formulas.ring_sent,
    "direct": lambda _, count, n: formulas.direct_sent(count, n),
    "scattered": formulas.scattered_sent,
    "tree": lambda member, _, n: formulas.tree_sent(member, BOUNDS, n),
}
BOUNDS = [*(block.start for block in blocks(12, 4)), 12]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bytes_on_the_wire_are_those_of_the_formulas(algorithm):
    """Of one gradient of 35 floats, the rows that are fed, and those that are fetched."""
    x = gx.placeholder(gx.float32, [None, 7])
    w = gx.get_variable("w", [7, 5])
    y = gx.matmul(x, w)
    step = w.assign_sub(gx.gradients(gx.reduce_sum(gx.square(y)), w)[0]).node
    strategy = DataParallel(
        reproducible=12 if algorithm == "tree" else None,
        algorithm="" if algorithm == "tree" else algorithm,
    )
    cluster, count, rows = workers(4), 4, 9
    feeds = {x: np.ones((rows, 7), np.float32)}
    one_feeds(cluster, strategy, [Call((y,), (step,), feeds)] * 2)
    reduced = sum(ALGORITHMS[algorithm](m, count, 35) for m in range(count))
    (mine, *_) = even(rows, count, strategy.reproducible)
    copies, step_bytes = (count - 1) * 35, reduced + (rows - mine) * (7 + 5)
    assert cluster.simulation.bytes_sent == 4 * (copies + 2 * step_bytes)
