"""What is wrong with a shared batch is one clear error everywhere, and mostly nothing is lost."""

import random

import numpy as np
import pytest

import graphc as gx
from graphc.distribute import DataParallel
from graphc.runtime.drivers.network import Network
from tests.runtime.cluster import SimulatedCluster
from tests.runtime.shared_batches import assert_alike, even, workers

PATIENCE = 5.0


class Model:
    """Softmax regression; ``scale`` is fed to every worker alike, if it is."""

    def __init__(self):
        self.x = gx.placeholder(gx.float32, [None, 3], name="x")
        self.y = gx.placeholder(gx.int32, [None], name="y")
        self.scale = gx.placeholder(gx.float32, [], name="scale")
        self.w = gx.get_variable("w", [3, 4], initializer=gx.zeros_initializer())
        logits = gx.matmul(self.x, self.w)
        losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=self.y, logits=logits)
        self.loss = gx.reduce_mean(losses)
        self.step = gx.train.GradientDescentOptimizer(0.5).minimize(self.loss)
        self.scaled = gx.reduce_sum(self.x) * self.scale

    def feeds(self, rows=2, labels=1):
        return {self.x: np.ones((rows, 3), np.float32), self.y: np.full(rows, labels, np.int32)}


def tried(session, log, fetches, targets=(), feeds=None):
    """A step; its error, if there is one, is noted."""
    try:
        log.append((yield from session.run(fetches, targets, feeds)))
    except gx.errors.GraphcError as error:
        log.append(error)


def everywhere(cluster, steps, strategy=None):
    """What each worker's ``steps(member, session, log)`` noted; all have a session."""
    strategy, members = strategy or DataParallel(), range(cluster.spec.size)
    logs = [[] for _ in members]

    def script(member):
        def run(session):
            yield from steps(member, session, logs[member])
            yield from session.close()

        return run

    cluster.run(*[cluster.sharing(member, script(member), strategy) for member in members])
    return logs


def at_one(cluster, steps, strategy=None):
    """What the one client's ``steps(session, log)`` noted; the other workers have joined."""
    cluster.join(*range(1, cluster.spec.size))
    log = []

    def script(session):
        yield from steps(session, log)

    cluster.run(cluster.sharing(0, script, strategy or DataParallel()))
    return log


def assert_trained(cluster, values):
    """The last step went well: all have the same new weights."""
    assert all(np.all(value[-1][0] == values[0][-1][0]) for value in values)
    assert_alike(cluster)
    assert np.any(cluster.value("w", 0) != 0)


def assert_told(logs, kind, *words):
    """Each worker's first note is an error of this kind with these words."""
    texts = [str(log[0]) for log in logs]
    for log, told in zip(logs, texts, strict=True):
        assert type(log[0]) is kind, log[0]
        assert all(word in told for word in words), told
    return texts


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_bad_label_on_one_worker(count, seed):
    """Whoever waits for a reduction is stopped, and the next step is right."""
    model, network = Model(), Network(synchronous=seed % 2 == 0)

    def steps(member, session, log):
        bad = model.feeds(labels=9 if member == count - 1 else 1)
        yield from tried(session, log, (model.loss,), (model.step,), bad)
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(count, seed, network)
    logs = everywhere(cluster, steps)
    assert_told(logs, gx.DataError, "sparse_softmax", "test_shared_errors.py", f"task:{count - 1}")
    assert_trained(cluster, logs)

    def alone(session, log):
        feeds = model.feeds(6)
        feeds[model.y][-1] = 9
        yield from tried(session, log, (model.loss,), (model.step,), feeds)
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds(6))

    cluster = workers(count, seed, network)
    log = at_one(cluster, alone)
    assert_told([log], gx.DataError, "sparse_softmax", "test_shared_errors.py", f"task:{count - 1}")
    assert_trained(cluster, [log])


@pytest.mark.random_cases(quick=24, soak=400)
def test_whatever_was_under_way_ends(case_seed):
    """Many reductions are stopped at any moment: nothing is left, and the next are right."""
    rng = random.Random(case_seed)
    count, victim = rng.randint(2, 6), rng.randrange(2)
    x, y = gx.placeholder(gx.float32, [None, 8]), gx.placeholder(gx.int32, [None])
    ends = [gx.reduce_sum(gx.tanh(x + float(n)), axis=0) for n in range(8)]
    after_one = gx.cast(gx.reduce_sum(ends[0]) * 0.0, gx.int32)
    table = gx.constant(np.ones((4, 8), np.float32))
    picked = gx.reduce_sum(gx.gather(table, y + after_one), axis=0)
    strategy = DataParallel(bucket_bytes=1, algorithm=rng.choice(["ring", "direct", "scattered"]))

    def steps(member, session, log):
        for bad in (member == victim, False, False):
            labels = np.full(3, 9 if bad else 1, np.int32)
            feeds = {x: np.ones((3, 8), np.float32), y: labels}
            yield from tried(session, log, (picked, *ends), (), feeds)

    network = Network(synchronous=rng.random() < 0.5, jitter=rng.choice([1e-4, 1e-2]))
    cluster = workers(count, case_seed, network)
    logs = everywhere(cluster, steps, strategy)
    assert_told(logs, gx.DataError, "gather", f"task:{victim}")
    cluster.wait(0, 100.0)
    assert_alike(cluster)
    for log in logs:
        np.testing.assert_array_equal(log[1], log[2])


def test_a_bad_feed_on_one_worker():
    model = Model()
    wrong = [
        {model.x: np.ones((2, 5))},
        {model.y: np.array([0.5, 1.5])},
        {model.y: np.zeros(3, np.int32)},
    ]

    def steps(member, session, log):
        for bad in wrong:
            feeds = model.feeds() | (bad if member == 1 else {})
            yield from tried(session, log, (model.loss,), (model.step,), feeds)
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(3)
    logs = everywhere(cluster, steps)
    for n, words in enumerate((["x:0", "does not fit"], ["y:0"], ["3 rows", "but x:0 has 2"])):
        assert_told([log[n:] for log in logs], gx.FeedError, *words)
    assert_trained(cluster, logs)


def test_feeds_that_disagree_in_rows():
    model = Model()

    def steps(session, log):
        feeds = model.feeds(4) | {model.y: np.zeros(3, np.int32)}
        yield from tried(session, log, (model.loss,), (model.step,), feeds)
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds(4))

    cluster = workers(2)
    log = at_one(cluster, steps)
    assert_told([log], gx.FeedError, "must have the same sizes", "test_shared_errors.py")
    assert_trained(cluster, [log])


def test_workers_that_do_different_things():
    model = Model()

    def steps(member, session, log):
        if member == 1:
            yield from tried(session, log, (model.w.value(),), (), None)
        else:
            yield from tried(session, log, (model.loss,), (model.step,), model.feeds())
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(3)
    logs = everywhere(cluster, steps)
    assert_told(logs, gx.ClusterError, "they differ", "task:1: run w/read:0", "fed x:0, y:0")
    assert_trained(cluster, logs)


def test_graphs_are_equal_whatever_their_lines():
    """The same model, written down twice: workers may run one each."""
    models = []
    models.append(Model())
    gx.reset_default_graph()
    models.append(Model())

    def steps(member, session, log):
        model = models[member]
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(2)
    assert_trained(cluster, everywhere(cluster, steps))


def test_what_is_not_divided_is_fed_alike():
    model = Model()

    def steps(member, session, log):
        x = model.feeds()[model.x]
        for scale in (1.0 + (member == 2), 3.0):
            yield from tried(session, log, (model.scaled,), (), {model.x: x, model.scale: scale})

    logs = everywhere(workers(3), steps)
    assert_told(logs, gx.ClusterError, "different values of scale:0")
    assert [log[1] for log in logs] == [[54.0]] * 3


def test_other_sizes_are_alike():
    wide = gx.placeholder(gx.float32, [None, None], name="wide")
    total = gx.reduce_sum(wide, axis=0)

    def steps(member, session, log):
        for width in (4 + (member == 1), 4):
            yield from tried(session, log, (total,), (), {wide: np.ones((2, width))})

    logs = everywhere(workers(2), steps)
    assert_told(logs, gx.ClusterError, "task:0: [4]", "task:1: [5]")
    for log in logs:
        np.testing.assert_array_equal(log[1][0], np.full(4, 4.0))


def test_who_has_no_row_takes_part():
    x = gx.placeholder(gx.float32, [None, 3], name="x")
    largest = gx.reduce_max(x)

    def steps(member, session, log):
        rows = 0 if member else 2
        yield from tried(session, log, (largest,), (), {x: np.ones((rows, 3))})

    logs = everywhere(workers(2), steps)
    assert [log[0] for log in logs] == [[1.0]] * 2


def test_one_that_closes_early_is_named():
    model = Model()

    def steps(member, session, log):
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())
        if member != 1:
            for _ in range(2):
                yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(3)
    logs = everywhere(cluster, steps)
    for log in (logs[0], logs[2]):
        assert "task:1 has closed its session" in str(log[1])
        assert "make a new one" in str(log[2])
    assert cluster.simulation.now < 1.0


def test_one_that_never_comes_is_named():
    model = Model()
    cluster = SimulatedCluster({"worker": ["a"] * 3}, patience=PATIENCE)

    def script(session):
        yield from session.run((model.loss,), (model.step,), model.feeds())

    clients = [cluster.sharing(rank, script, DataParallel()) for rank in (0, 2)]
    for client in clients:
        with pytest.raises(gx.ClusterError, match=r"waited 5 s for /job:worker/task:1 to open"):
            cluster.run(client)
    assert cluster.simulation.now < 2 * PATIENCE


def test_some_have_sessions_and_some_join():
    model = Model()
    cluster = SimulatedCluster({"worker": ["a"] * 4}, patience=PATIENCE)
    cluster.join(1, 3)

    def script(session):
        yield from session.run((model.loss,), (model.step,), model.feeds())

    for client in [cluster.sharing(rank, script, DataParallel()) for rank in (0, 2)]:
        words = r"task:\d and /job:worker/task:\d have .*, but .*task:1, .*task:3 will open none"
        with pytest.raises(gx.ClusterError, match=words):
            cluster.run(client)
    assert cluster.simulation.now < 1.0


REFUSED = {
    "needs other rows": lambda m: gx.softmax(m.x, axis=0),
    "a device": lambda m: on_a_device(m.x),
}


def on_a_device(x):
    with gx.device("/job:worker/task:1"):
        return gx.tanh(x)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_divided_is_refused_everywhere(name):
    model = Model()
    bad = REFUSED[name](model)
    words = "test_shared_errors.py", "worker/task:1" if name == "a device" else "softmax"

    def steps(member, session, log):
        yield from tried(session, log, (bad,), (), {model.x: np.ones((4, 3), np.float32)})
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    cluster = workers(2)
    logs = everywhere(cluster, steps)
    assert_told(logs, gx.ShardError, *words)
    assert_trained(cluster, logs)
    cluster = workers(2)
    log = at_one(cluster, lambda session, log: steps(0, session, log))
    assert_told([log], gx.ShardError, *words)
    assert_trained(cluster, [log])


def test_fewer_shards_than_workers():
    model = Model()

    def steps(member, session, log):
        yield from tried(session, log, (model.loss,), (model.step,), model.feeds())

    strategy = DataParallel(reproducible=2)
    logs = everywhere(workers(3), steps, strategy)
    assert_told(logs, gx.ShardError, "reproducible=2", "fewer than the 3 workers")
    log = at_one(workers(3), lambda session, log: steps(0, session, log), strategy)
    assert_told([log], gx.ShardError, "reproducible=2", "fewer than the 3 workers")


def test_rows_that_reproducible_does_not_allow():
    model = Model()

    def steps(member, session, log):
        for counts in ((2, 2, 1), even(5, 3, 4)):
            feeds = model.feeds(counts[member])
            yield from tried(session, log, (model.loss,), (model.step,), feeds)

    cluster = workers(3)
    logs = everywhere(cluster, steps, DataParallel(reproducible=4))
    parts = "task:0 rows 0 to 0", "task:1 rows 1 to 1", "task:2 rows 2 to 4"
    assert_told(logs, gx.FeedError, "5 rows in 4 logical shards", *parts, "were fed 2, 2, 1 rows")
    assert_trained(cluster, logs)
