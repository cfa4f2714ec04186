"""The processes that a process started for the other tasks of its cluster, watched by a thread.

They cannot outlive it: each has a lifeline (``graphc.runtime.rank``), which closes when it is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.lines import write
from graphc.runtime.ranks import Rank, Ranks

_TICK = 0.1


class Crew:
    """The other tasks of ``cluster``; each is told ``greeting`` when it starts.

    From its making on, they may connect to ``name``.
    """

    def __init__(self, cluster: ClusterSpec, greeting: bytes) -> None:
        self._ranks = Ranks(cluster, True, greeting, self._exited, self._died)
        self.name = self._ranks.name
        self.failed: Callable[[str], None] = lambda _: None
        """Called once, in the thread, with the reason when a task ends that should not."""
        self.lost = ""
        """The reason, if that happened."""
        self._leaving = False
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="graphc-crew", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """From now on tasks may end."""
        self._leaving = True

    def await_exits(self, count: int, seconds: float) -> bool:
        """Whether so many tasks have told within ``seconds`` that they are at their end."""

        def all_told() -> bool:
            return sum(rank.exit == 0 for rank in self._ranks.known) == count

        with self._changed:
            return self._changed.wait_for(all_told, seconds)

    def await_deaths(self, seconds: float) -> None:
        """Wait until no task runs any more, but not longer than ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: not any(r.alive for r in self._ranks.known), seconds)

    def end(self) -> None:
        """Pass on the last output, and kill those that still run."""
        self._leaving = self._ended = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended:
            self._turn()
        for rank in self._ranks.known:
            if rank.alive:
                rank.kill()
        deadline = time.monotonic() + 1
        while any(r.alive for r in self._ranks.known) and time.monotonic() < deadline:
            self._turn()
        self._ranks.drain()
        self._ranks.close()

    def _turn(self) -> None:
        with suppress(BrokenPipeError):  # nobody reads the output: the work goes on
            self._ranks.turn(_TICK)

    def _exited(self, rank: Rank) -> None:
        with self._changed:
            self._changed.notify_all()

    def _died(self, rank: Rank) -> None:
        with self._changed:
            self._changed.notify_all()
        if self._leaving or rank.exit == 0:
            return
        how = "died or was killed" if rank.exit is None else f"ended with exit code {rank.exit}"
        self._leaving, self.lost = True, f"{rank.task.device} {how}: the cluster has ended"
        with suppress(OSError):  # at once: some MPIs kill this process as well
            write(2, f"graphc: {self.lost}\n".encode())
        self.failed(self.lost)
        for other in self._ranks.known:
            if other.alive:
                other.kill()
