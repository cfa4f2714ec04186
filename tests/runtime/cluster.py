"""A cluster in the simulator: workers for all tasks, and a master for a client's script."""

from contextlib import suppress

import graphc as gx
from graphc.compiler import CompileOptions
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.compiled import target_here
from graphc.runtime.drivers.simulation import Simulation
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Tell
from graphc.runtime.engine import Engine
from graphc.runtime.groups import GROUPS, Groups
from graphc.runtime.master import Master
from graphc.runtime.messages import Leave
from graphc.runtime.planning import make_plan
from graphc.runtime.sessions import Parts
from graphc.runtime.sharded_planning import members_of
from graphc.runtime.state import VariableStore
from graphc.runtime.tags import tags_of_task
from graphc.runtime.worker import Worker

PATIENCE = 60.0
NOBODY = -1
"""A box to which nothing is told."""


class Prepared:
    """Plans and compiled parts of many clusters that run the same graph."""

    def __init__(self):
        self.compiled = {}
        self._plans = {}

    def plan(self, signature, cluster, client, target, options, *, once=False):
        key = signature, client, once
        if key not in self._plans:
            self._plans[key] = make_plan(signature, cluster, client, target, options, once=once)
        return self._plans[key]


class SimulatedCluster:
    """The tasks of ``spec``, each with an engine and a worker.

    ``share_memory``: the workers are on one host, so that they can combine what each other has.
    """

    def __init__(
        self, spec, seed=0, network=None, patience=PATIENCE, prepared=None, recorders=None,
        share_memory=False,
    ):  # fmt: skip
        self.spec = ClusterSpec(spec)
        self.simulation = Simulation(seed, network, recorders)
        self.patience, self.prepared = patience, prepared or Prepared()
        target, compiled, apart = target_here("host"), self.prepared.compiled, recorders is not None
        ranks = range(self.spec.size)
        self.engines = [Engine(target, VariableStore(), compiled, apart=apart) for _ in ranks]
        self.tags = [tags_of_task(rank, self.spec.size) for rank in ranks]
        self.workers = [Worker(rank, self.engines[rank], patience) for rank in ranks]
        self.groups = [Groups(GROUPS if share_memory else 0, share_memory=share_memory)
                       for _ in ranks]  # fmt: skip
        everyone = set(ranks)
        self.serving = [
            self.simulation.spawn(rank, worker.serve(everyone - {rank}))
            for rank, worker in enumerate(self.workers)
        ]

    def client(self, rank, script, box=1):
        """Begin ``script(session)``, a generator, in task ``rank``."""
        master = Master(
            self.spec, rank, box, self.engines[rank], CompileOptions(), self.patience,
            self.tags[rank], self.prepared.plan, self.prepared.plan,
        )  # fmt: skip
        return self.simulation.spawn(rank, script(SimulatedSession(master)))

    def sharing(self, rank, script, strategy, number=0):
        """Begin ``script(session)`` in task ``rank``: its ``number``-th session with a strategy."""
        parts = Parts(
            self.spec, rank, self.engines[rank], CompileOptions(), self.patience, strategy,
            members_of(self.spec), number, groups=self.groups[rank],
        )  # fmt: skip
        meeting = parts.meeting(self.workers[rank], 1 + number, self.tags[rank])
        return self.simulation.spawn(rank, script(SimulatedSession(meeting)))

    def join(self, *ranks):
        """Let tasks tell the others that they open no session any more."""
        for rank in ranks:
            self.simulation.spawn(rank, _leaving(set(range(self.spec.size)) - {rank}))

    def run(self, *clients):
        """What the scripts return; their first error is raised."""
        self.simulation.run(*clients)
        for client in clients:
            if client.error is not None:
                raise client.error
        return [client.result for client in clients]

    def wait(self, rank, seconds):
        """Let time pass, in which task ``rank`` lives."""
        self.simulation.run(self.simulation.spawn(rank, _silence(seconds)))

    def value(self, name, rank):
        """What the variable called ``name`` holds in task ``rank``; None: no value yet."""
        store = self.engines[rank].store
        return store.arrays[name].copy() if name in store.initialized else None


def _leaving(others):
    for rank in sorted(others):
        yield Tell(rank, WORKER_BOX, Leave())


def _silence(seconds):
    with suppress(Overdue):
        yield Hear(NOBODY, seconds)


class SimulatedSession:
    """``value = yield from session.run(fetches, feeds)``."""

    def __init__(self, master):
        self.master = master
        self.split = ()
        """Along which axis each of what was fetched last is divided, if workers share a batch."""
        self._found = {}

    def run(self, fetches, targets=(), feeds=None):
        feeds = feeds or {}
        tensors = tuple(f.value() if isinstance(f, gx.Variable) else f for f in fetches)
        signature = tensors, tuple(targets), tuple(feeds)
        if signature not in self._found:
            self._found[signature] = yield from self.master.prepare(signature)
        prepared = self._found[signature]
        self.split = sharding.fetches if (sharding := prepared.own.part.sharding) else ()
        return (yield from self.master.run(prepared, list(feeds.values())))

    def close(self):
        yield from self.master.close()
