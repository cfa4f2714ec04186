"""A cluster in the simulator: workers for all tasks, and a master for a client's script."""

import graphc as gx
from graphc.compiler import CompileOptions
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.compiled import target_here
from graphc.runtime.drivers.simulation import Simulation
from graphc.runtime.engine import Engine
from graphc.runtime.master import Master, Tags
from graphc.runtime.state import VariableStore
from graphc.runtime.worker import Worker

PATIENCE = 60.0


class SimulatedCluster:
    """The tasks of ``spec``, each with an engine and a worker."""

    def __init__(self, spec, seed=0, network=None, recorders=None):
        self.spec = ClusterSpec(spec)
        self.simulation = Simulation(seed, network, recorders)
        target = target_here("host")
        apart = recorders is not None
        self.engines = [Engine(target, VariableStore(), apart=apart) for _ in range(self.spec.size)]
        self.tags = [Tags(rank, self.spec.size) for rank in range(self.spec.size)]
        for rank, engine in enumerate(self.engines):
            others = set(range(self.spec.size)) - {rank}
            self.simulation.spawn(rank, Worker(rank, engine, PATIENCE).serve(others))

    def client(self, rank, script, box=1):
        """Begin ``script(session)``, a generator, in task ``rank``."""
        engine, tags = self.engines[rank], self.tags[rank]
        master = Master(self.spec, rank, box, engine, CompileOptions(), PATIENCE, tags)
        return self.simulation.spawn(rank, script(SimulatedSession(master)))

    def run(self, *clients):
        """What the scripts return; their first error is raised."""
        self.simulation.run(*clients)
        for client in clients:
            if client.error is not None:
                raise client.error
        return [client.result for client in clients]


class SimulatedSession:
    """``value = yield from session.run(fetches, feeds)``."""

    def __init__(self, master):
        self.master = master

    def run(self, fetches, targets=(), feeds=None):
        feeds = feeds or {}
        tensors = tuple(f.value() if isinstance(f, gx.Variable) else f for f in fetches)
        prepared = yield from self.master.prepare((tensors, tuple(targets), tuple(feeds)))
        return (yield from self.master.run(prepared, list(feeds.values())))
