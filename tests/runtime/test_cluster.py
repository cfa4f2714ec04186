"""Programs on a simulated cluster: what one process computes, whatever the order of messages."""

import numpy as np
import pytest

import graphc as gx
from graphc.runtime.drivers.network import Network
from tests.runtime.cluster import SimulatedCluster
from tests.runtime.replicated import batch, in_numpy, replicated

SPEC = {"ps": ["a"], "worker": ["b", "c"]}
CHIEF = 1


@pytest.mark.random_cases(quick=10, soak=500)
def test_replicas_train_as_one(case_seed, rng):
    x, y, w, loss, step = replicated()
    images, labels = batch(rng)

    def script(session):
        losses = []
        for _ in range(5):
            (value,) = yield from session.run([loss], [step], {x: images, y: labels})
            losses.append(value)
        (weights,) = yield from session.run([w])
        return losses, weights

    network = Network(synchronous=bool(case_seed % 2))
    cluster = SimulatedCluster(SPEC, case_seed, network)
    ((losses, weights),) = cluster.run(cluster.client(CHIEF, script))
    wanted, wanted_weights = in_numpy(images, labels, 5)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    np.testing.assert_allclose(weights, wanted_weights, rtol=1e-4, atol=1e-6)


@pytest.mark.random_cases(quick=10, soak=500)
def test_an_error_anywhere_changes_nothing(case_seed, rng):
    x, y, w, loss, step = replicated()
    images, labels = batch(rng)
    wrong = labels.copy()
    wrong[case_seed % 8] = 7

    def script(session):
        yield from session.run([loss], [step], {x: images, y: labels})
        (before,) = yield from session.run([w])
        with pytest.raises(gx.DataError, match=r"(?s)label out of range.*replicated.*/task:"):
            yield from session.run([loss], [step], {x: images, y: wrong})
        (after,) = yield from session.run([w])
        yield from session.run([loss], [step], {x: images, y: labels})
        return before, after

    cluster = SimulatedCluster(SPEC, case_seed)
    ((before, after),) = cluster.run(cluster.client(CHIEF, script))
    np.testing.assert_array_equal(before, after)


@pytest.mark.random_cases(quick=10, soak=500)
def test_every_update_of_every_client_is_applied_once(case_seed):
    with gx.device("/job:ps/task:0"):
        counter = gx.Variable(np.zeros(3, np.float32))
    with gx.device("/job:worker/task:0"):
        amount = gx.ones([3]) + gx.random_normal([3]) * 0.0
    add = counter.assign_add(amount)

    def script(session):
        for _ in range(6):
            yield from session.run([], [add.node])

    cluster = SimulatedCluster(SPEC, case_seed)
    cluster.run(cluster.client(1, script), cluster.client(2, script))
    (array,) = cluster.engines[0].store.arrays.values()
    np.testing.assert_array_equal(array, np.full(3, 12, np.float32))


@pytest.mark.random_cases(quick=10, soak=500)
def test_sessions_of_one_task_do_not_mix_their_tensors(case_seed):
    with gx.device("/job:worker/task:1"):
        x = gx.placeholder(gx.float32, [None])
        y = x * 2.0 + 1.0

    def script_of(start):
        def script(session):
            for number in range(start, start + 6):
                fed = np.full(3, number, np.float32)
                (found,) = yield from session.run([y], feeds={x: fed})
                np.testing.assert_array_equal(found, fed * 2 + 1)

        return script

    cluster = SimulatedCluster(SPEC, case_seed)
    cluster.run(*(cluster.client(1, script_of(100 * box), box) for box in (1, 2, 3)))


@pytest.mark.random_cases(quick=20, soak=500)
def test_what_an_update_gives_is_what_the_variable_held(case_seed):
    """Fetching an update reads, changes and sends in one go: no two clients see one number."""
    with gx.device("/job:ps/task:0"):
        ticket = gx.Variable(np.float32(0))
        take = ticket.assign_add(1.0)

    def script(session):
        taken = []
        for _ in range(6):
            (number,) = yield from session.run([take])
            taken.append(float(number))
        return taken

    network = Network(synchronous=bool(case_seed % 2))
    cluster = SimulatedCluster(SPEC, case_seed, network)
    first, second = cluster.run(cluster.client(1, script), cluster.client(2, script))
    assert sorted(first + second) == list(range(1, 13))
    assert first == sorted(first)


@pytest.mark.random_cases(quick=10, soak=500)
def test_what_follows_from_an_update_may_come_back_to_its_task(case_seed):
    """One variable's new value goes to a worker, whose result another variable there takes."""
    with gx.device("/job:ps/task:0"):
        first, second = gx.Variable(np.float32(0)), gx.Variable(np.float32(0))
        moved = first.assign_add(1.0)
    with gx.device("/job:worker/task:1"):
        doubled = moved * 2.0
    with gx.device("/job:ps/task:0"):
        update = second.assign(doubled)

    def script(session):
        for _ in range(3):
            yield from session.run([], [update.node])
        return (yield from session.run([first, second]))

    cluster = SimulatedCluster(SPEC, case_seed)
    (values,) = cluster.run(cluster.client(CHIEF, script))
    assert values == [3.0, 6.0]


@pytest.mark.random_cases(quick=20, soak=500)
def test_updates_are_whole_where_tasks_have_to_agree(case_seed):
    """An index on the worker may fail that the update does not depend on: all agree first."""
    with gx.device("/job:ps/task:0"):
        counter = gx.Variable(np.float32(0))
        add = counter.assign_add(1.0)
    index = gx.placeholder(gx.int32, [])
    with gx.device("/job:worker/task:0"):
        looked_up = gx.gather(gx.constant([5.0, 6.0]), index)

    def script(session):
        failed = 0
        for number in range(8):
            try:
                yield from session.run([looked_up, add], feeds={index: 3 if number % 4 == 3 else 1})
            except gx.DataError:
                failed += 1
        return failed

    cluster = SimulatedCluster(SPEC, case_seed)
    failed = cluster.run(cluster.client(1, script), cluster.client(2, script))
    assert failed == [2, 2]
    (value,) = cluster.engines[0].store.arrays.values()
    assert value == 12.0


@pytest.mark.random_cases(quick=10, soak=200)
def test_a_task_that_dies_is_named(case_seed, rng):
    x, y, _, loss, step = replicated()
    images, labels = batch(rng)

    def script(session):
        while True:
            yield from session.run([loss], [step], {x: images, y: labels})

    cluster = SimulatedCluster(SPEC, case_seed)
    client = cluster.client(CHIEF, script)
    dying = (0, 2)[case_seed % 2]
    cluster.simulation.kill(dying, at=0.005 * (1 + case_seed % 7))
    name = cluster.spec.name_of(dying)
    with pytest.raises(gx.errors.ClusterError, match=name):
        cluster.run(client)


def test_a_device_that_no_task_has_is_refused():
    with gx.device("/job:worker/task:9"):
        y = gx.ones([2])

    def script(session):
        yield from session.run([y])

    cluster = SimulatedCluster(SPEC)
    with pytest.raises(gx.DeviceError, match="task:9"):
        cluster.run(cluster.client(CHIEF, script))


@pytest.mark.parametrize("rows", [2**29, 3])
def test_a_tensor_that_no_message_holds_is_refused(rows):
    with gx.device("/job:worker/task:1"):
        n = gx.placeholder(gx.int32, [None], name="n")
        big = gx.broadcast_to(gx.cast(n, gx.float32), [rows, n.shape[0]], name="big")
    with gx.device("/job:worker/task:0"):
        total = gx.reduce_sum(big)

    def script(session):
        try:
            yield from session.run([total], feeds={n: np.array([1, 2], np.int32)})
        except gx.GraphcError as error:
            return str(error)
        return "ran"

    cluster = SimulatedCluster(SPEC)
    (told,) = cluster.run(cluster.client(CHIEF, script))
    assert ("4,294,967,296 bytes" in told and "big" in told) if rows > 3 else told == "ran"
