"""Sessions that reduce in one call, in the simulator, which refuses whatever is out of order."""

import random

import numpy as np
import pytest

import graphc as gx
from graphc.compiler import CompileOptions
from graphc.distribute import DataParallel
from graphc.ir.errors import ClusterError, DataError
from graphc.runtime.drivers.network import Network
from graphc.runtime.effects import WORKER_BOX, Tell
from graphc.runtime.groups import GROUPS, Groups
from graphc.runtime.messages import Leave
from graphc.runtime.sessions import Parts
from tests.runtime.cluster import SimulatedCluster, SimulatedSession

TABLE = np.arange(5.0)
BAD = 100
"""No row of the table."""


class Workers(SimulatedCluster):
    """Workers that each have communicators for reductions."""

    def __init__(self, count, seed=0, network=None, patience=60.0):
        super().__init__({"worker": ["a"] * count}, seed, network, patience)
        self.members = tuple(range(count))
        self.groups = [Groups(GROUPS, share_memory=True) for _ in self.members]

    def session(self, rank, number, strategy):
        parts = Parts(
            self.spec, rank, self.engines[rank], CompileOptions(), self.patience, strategy,
            self.members, number, groups=self.groups[rank],
        )  # fmt: skip
        meeting = parts.meeting(self.workers[rank], 1 + number, self.tags[rank])
        return SimulatedSession(meeting)

    def everywhere(self, script):
        """Run ``script(rank)`` in all tasks; what each returns."""
        return self.run(*[self.simulation.spawn(rank, script(rank)) for rank in self.members])

    @property
    def left(self):
        return self.simulation._gathering.left


class Sums:
    """A step of four reductions, one of which can begin only if another one went well."""

    def __init__(self):
        self.x = gx.placeholder(gx.int32, [None])
        total = gx.reduce_sum(self.x)
        rows = gx.gather(gx.constant(TABLE), gx.minimum(self.x, total))
        count = gx.Variable(np.zeros(()), name="count")
        self.fetches = [
            total, gx.reduce_sum(rows), gx.reduce_sum(gx.cast(self.x, gx.float32)),
            gx.reduce_max(self.x), count.assign_add(1.0),
        ]  # fmt: skip

    def run(self, session, rows):
        feeds = {self.x: np.array(rows, np.int32)}
        return (yield from session.run(self.fetches, (), feeds))


def wanted(rows, count):
    return [rows.sum(), TABLE[rows].sum(), rows.sum(), rows.max(), count]


@pytest.fixture(params=["mpi", "shared"])
def strategy(request):
    return DataParallel(algorithm=request.param, bucket_bytes=1)


def batches(seed, members):
    """Rows of all members for some steps, some of which one member has a bad row in."""
    rng = random.Random(seed)
    for _ in range(6):
        rows = [[rng.randrange(5) for _ in range(rng.randint(1, 4))] for _ in range(members)]
        if rng.random() < 0.5:
            rows[rng.randrange(members)][0] = BAD
        yield rows


def steps(sums, session, rank, given):
    """Take all steps; how many went well."""
    done = 0
    for rows in given:
        whole = np.concatenate(rows)
        try:
            found = yield from sums.run(session, rows[rank])
        except DataError:
            assert BAD in whole
        else:
            done += 1
            assert [float(value) for value in found] == wanted(whole, done)
    yield from session.master.close()
    return done


@pytest.mark.random_cases(quick=20, soak=1500)
def test_steps_that_fail_leave_no_reduction(strategy, case_seed):
    rng, members = random.Random(case_seed), 2 + case_seed % 3
    slow = {rng.randrange(members): 20.0}
    compute, synchronous = rng.choice([0.0, 1e-4]), rng.random() < 0.5
    network = Network(compute=compute, slowness=slow, synchronous=synchronous)
    cluster, sums = Workers(members, case_seed, network), Sums()
    given = list(batches(case_seed, members))
    well = sum(BAD not in np.concatenate(rows) for rows in given)

    def script(rank):
        return steps(sums, cluster.session(rank, 0, strategy), rank, given)

    assert cluster.everywhere(script) == [well] * members
    assert cluster.left == []
    assert [groups.claim(GROUPS) for groups in cluster.groups] == [True] * members


@pytest.mark.random_cases(quick=8, soak=500)
def test_sessions_beside_each_other_do_not_mix(strategy, case_seed):
    """Two are used at one time in all tasks, by roles that go on in any order."""
    members, sums = 3, [Sums(), Sums()]
    cluster = Workers(members, case_seed)
    rows = [[r] * (r + 1) for r in range(members)]
    whole = np.concatenate(rows)

    def script(rank, number):
        session = cluster.session(rank, number, strategy)
        fetches = sums[number].fetches[:-1]
        for _ in range(3):
            feeds = {sums[number].x: np.array(rows[rank], np.int32)}
            found = yield from session.run(fetches, (), feeds)
            assert [float(value) for value in found] == wanted(whole, 0)[:-1]

    order = [(rank, number) for rank in range(members) for number in (0, 1)]
    random.Random(case_seed).shuffle(order)
    cluster.run(*[cluster.simulation.spawn(rank, script(rank, number)) for rank, number in order])
    assert cluster.left == []


def test_one_worker_feeds_for_all(strategy):
    cluster, sums = Workers(3, 1), Sums()
    for rank in (1, 2):
        cluster.simulation.spawn(rank, leaving(cluster, rank))

    def script(session):
        found = []
        for rows in ([1, 2, 3], [4, BAD, 1], [3, 3]):
            try:
                values = yield from sums.run(session, rows)
                found.append([float(value) for value in values])
            except DataError:
                found.append(None)
        return found

    session = cluster.session(0, 0, strategy)
    (found,) = cluster.run(cluster.simulation.spawn(0, script(session)))
    assert found == [wanted(np.array([1, 2, 3]), 1), None, wanted(np.array([3, 3]), 2)]
    assert cluster.left == []


def leaving(cluster, rank):
    for other in cluster.members:
        if other != rank:
            yield Tell(other, WORKER_BOX, Leave())


def test_so_many_sessions_at_a_time(strategy):
    """The next one waits for none: it combines in another way, or says why it cannot."""
    cluster, sums = Workers(2), Sums()

    def script(rank):
        open_ = [cluster.session(rank, n, strategy) for n in range(GROUPS)]
        for session in open_:
            yield from sums.run(session, [1])
        other = cluster.session(rank, GROUPS, DataParallel())
        found = yield from sums.run(other, [2])
        refused = cluster.session(rank, GROUPS + 1, strategy)
        with pytest.raises(ClusterError, match="4 sessions at a time can have it"):
            yield from sums.run(refused, [1])
        for session in (other, refused, open_[0]):
            yield from session.master.close()
        again = cluster.session(rank, 2 * GROUPS, strategy)
        yield from sums.run(again, [3])
        return float(found[0])

    assert cluster.everywhere(script) == [4.0, 4.0]


def test_a_session_that_was_broken_keeps_its_communicator(strategy):
    cluster = Workers(2)
    session = cluster.session(0, 1, strategy)

    def script():
        cluster.groups[0].claim(1)
        session.master.broken = "a step was interrupted"
        yield from session.master.close()

    cluster.run(cluster.simulation.spawn(0, script()))
    assert not cluster.groups[0].claim(1 + GROUPS)
    assert cluster.groups[0].claim(2)


@pytest.mark.random_cases(quick=8, soak=300)
def test_a_member_that_dies_is_named(strategy, case_seed):
    members, rng = 3, random.Random(case_seed)
    cluster, sums = Workers(members, case_seed, patience=5.0), Sums()
    dead = rng.randrange(members)
    cluster.simulation.kill(dead, at=0.01 + rng.random() * 0.05)

    def script(rank):
        session = cluster.session(rank, 0, strategy)
        while True:
            yield from sums.run(session, [1])

    running = [cluster.simulation.spawn(rank, script(rank)) for rank in cluster.members]
    living = [role for role in running if role.rank != dead]
    cluster.simulation.run(*living)
    assert all(isinstance(role.error, ClusterError) for role in living)
    assert any(f"task:{dead}" in str(role.error) for role in living)
