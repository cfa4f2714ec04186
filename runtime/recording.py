"""The timeline of a process that is no task of a cluster: one for all its sessions."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path

from graphc.runtime.cluster_spec import world_rank
from graphc.runtime.timeline import Recorder, wanted
from graphc.runtime.trace import merge

_NAME = "localhost:0"


def recorder_here() -> Recorder | None:
    """Where this process's own sessions record what they do, if the environment asks for it.

    Those in a rank of a job do not: the job's timeline is that of its cluster.

    Raises:
        GraphcError: the timeline cannot be written.
    """
    path = wanted() if world_rank() is None else None
    return None if path is None else _recorder(path)


@cache
def _recorder(path: Path) -> Recorder:
    recorder = Recorder(path, 0, _NAME)
    atexit.register(_finish, recorder, path)
    return recorder


def _finish(recorder: Recorder, path: Path) -> None:
    recorder.close()
    merge(path, [_NAME])
