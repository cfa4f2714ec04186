"""Steps that write variables on several tasks: what each client counts has to be one number."""

from functools import cache

import numpy as np

import graphc as gx
from tests.runtime.cluster import Prepared, SimulatedCluster

SPEC = {"ps": ["a"] * 3, "worker": ["b"] * 4}
PS = (0, 1, 2)
CLIENTS = (3, 4, 5)
HELPER = 6
"""A worker that is no client."""
WRITERS = (*PS, CLIENTS[0], HELPER)
"""The tasks with variables; the first client is one of them."""
EVERYONE = (*PS, *CLIENTS, HELPER)
STEPS = 5


class Counting:
    """Every step of client k adds 1 to ``count-k`` and to ``all`` on three servers and two workers.

    The 1 comes from sums that other workers compute, so a step needs all tasks of its own.
    """

    def __init__(self):
        self.prepared = Prepared()
        with gx.Graph().as_default():
            self.x = gx.placeholder(gx.float32, [None])
            self.everyone = [self._variable("all", rank) for rank in WRITERS]
            self.steps = {rank: self._step(rank) for rank in CLIENTS}

    def _variable(self, name, rank):
        with gx.device(device(rank)):
            return gx.Variable(np.zeros(2, np.float32), name=f"{name}-{rank}")

    def _step(self, client):
        """What a step fetches, and what it runs."""
        own = [self._variable(f"count-{client}", rank) for rank in WRITERS]
        parts = []
        for rank in (HELPER, client):
            with gx.device(device(rank)):
                parts.append(gx.reduce_sum(self.x))
        one = (parts[0] + parts[1]) / 4.0
        adds = [v.assign_add(gx.fill([2], one)) for v in (*own, *self.everyone)]
        return [one, adds[0]], [add.node for add in adds[1:]]

    def script(self, client, done, pause=None):
        """Counts in ``done`` what ended well, and checks what comes back."""
        fetches, targets = self.steps[client]

        def run(session):
            for number in range(1, STEPS + 1):
                feeds = {self.x: np.ones(2, np.float32)}
                one, count = yield from session.run(fetches, targets, feeds)
                assert (one, count.tolist()) == (1.0, [number, number])
                done[client] = number
                if pause is not None:
                    yield from pause(session, number)

        return run

    def cluster(self, seed, network, patience):
        return SimulatedCluster(SPEC, seed, network, patience, self.prepared)

    def check(self, cluster, done, ranks, tried=1):
        """What the tasks ``ranks`` hold is one state of each client's steps.

        At most ``tried`` steps of a client were written that it did not see end well.
        """
        holders = [rank for rank in WRITERS if rank in ranks]
        counts = {}
        for client in CLIENTS:
            found = {count(cluster, f"count-{client}-{rank}", rank) for rank in holders}
            assert len(found) <= 1, f"client {client}: {found}"
            counts[client] = found.pop() if found else 0
            assert done[client] <= counts[client] <= done[client] + tried
        for rank in holders:
            assert count(cluster, f"all-{rank}", rank) == sum(counts.values())


def count(cluster, name, rank):
    value = cluster.value(name, rank)
    if value is None:
        return 0
    assert value[0] == value[1]
    return int(value[0])


def device(rank):
    return f"/job:ps/task:{rank}" if rank in PS else f"/job:worker/task:{rank - len(PS)}"


@cache
def counting():
    """Made once: plans and programs serve all seeds."""
    return Counting()
