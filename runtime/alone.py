"""Sessions with a strategy in one process: a cluster of one worker, without MPI."""

from __future__ import annotations

from graphc.compiler import CompileOptions
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.compiled import target_here
from graphc.runtime.drivers.alone import AloneDriver
from graphc.runtime.effects import WORKER_BOX
from graphc.runtime.engine import Engine
from graphc.runtime.meeting import Meeting
from graphc.runtime.sessions import Parts
from graphc.runtime.state import VariableStore
from graphc.runtime.strategy import DataParallel
from graphc.runtime.tags import tags_of_task
from graphc.runtime.worker import Worker

_FOREVER = 0.0
"""Nobody is waited for."""


def alone(strategy: DataParallel, options: CompileOptions) -> tuple[AloneDriver, Meeting]:
    """What runs the roles of a session that is the only worker's, and what takes its steps.

    Raises:
        CompileError: this machine does not run code for the target of ``options``.
    """
    cluster = ClusterSpec({"worker": ["localhost"]})
    engine = Engine(target_here(options.target), VariableStore())
    worker = Worker(0, engine, _FOREVER)
    parts = Parts(cluster, 0, engine, options, _FOREVER, strategy, (0,), 0)
    return AloneDriver(), parts.meeting(worker, WORKER_BOX + 1, tags_of_task(0, 1))
