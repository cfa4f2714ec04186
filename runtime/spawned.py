"""What ``Server.spawn`` starts for each other task: ``python -m graphc.runtime.spawned NAME RANK``.

NAME is the socket of who spawned it, RANK the rank of that process in the cluster. Graphs come as
text, so that nothing of the user's program has to be importable here. The protocol is that of
``graphc.runtime.rank``; ``go`` is the cluster, in JSON, and the environment that goes with it. A
task that is done tells of its exit before it disconnects, so that nobody waits for one that died.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.runtime.rank import connect, tell


def main(arguments: Sequence[str]) -> int:
    """Serve as one task of a cluster, until who spawned it closes it."""
    from graphc.runtime.cluster_spec import world_rank

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is at the keyboard means the other
    name, spawner, rank = arguments[0], int(arguments[1]), world_rank()
    assert rank is not None, "MPI tells each process its rank"
    number = rank + (rank >= spawner)
    connected = connect(name, number)
    if connected is None:
        return 1  # who spawned this is gone
    launcher, greeting = connected
    settings = json.loads(greeting)
    os.environ.update(settings["environment"])
    try:
        _serve(settings, number, launcher)
    except BaseException:  # noqa: BLE001, whatever it is, it is told
        traceback.print_exc()
        sys.stderr.flush()
        tell(launcher, "exit 1")
        os._exit(1)  # the end of MPI would wait for the others
    return 0


def _serve(settings: Mapping[str, Any], number: int, launcher: socket.socket) -> None:
    from mpi4py import MPI

    from graphc.runtime.cluster_spec import ClusterSpec
    from graphc.runtime.server import Server

    spawner = MPI.Comm.Get_parent()
    merged = spawner.Merge(high=True)
    ordered = merged.Split(0, number)
    merged.Free()
    cluster = ClusterSpec(settings["cluster"])
    with Server(cluster, timeout=settings["timeout"], communicator=ordered) as server:
        server.join()
    ordered.Free()
    tell(launcher, "exit 0")
    spawner.Disconnect()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
