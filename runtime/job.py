"""A running job: its ranks' output, and how it ends, whatever goes wrong.

The launcher does not rely on ``mpiexec`` to notice a failure or to name its task: every rank of
this host is watched (``graphc.runtime.ranks``). A job ends

- when ``mpiexec`` does;
- when a rank ends with an error, or dies: ``mpiexec`` is given a moment, then told to stop;
- at a signal to the launcher or at its time limit.

An ``mpiexec`` that does not stop is killed, and so is every rank that outlives it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import Any

from graphc.runtime.launch import Plan
from graphc.runtime.lines import write
from graphc.runtime.rank import LAUNCHER_VARIABLE
from graphc.runtime.ranks import Rank, Ranks

TIMED_OUT = 124
_TICK = 0.1
_TO_ABORT, _TO_END, _TO_STOP = 3.0, 1.0, 2.0
"""Seconds for a rank that failed to end, for ``mpiexec`` to see it, and for it to stop."""
_PR_SET_PDEATHSIG = 1
_UNREAD = 128 + signal.SIGPIPE
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NAMED_RANK = re.compile(rb"process rank (\d+)")
_NAMED_PROCESS = re.compile(rb"PID (\d+) RUNNING")
_NAMED_SIGNAL = re.compile(rb"signal (\d+)")


def run_job(plan: Plan, *, prefix: bool = True, timeout: float | None = None) -> int:
    """Run a job to its end; the exit code for the launcher.

    It is that of the first rank that failed, 128 and the signal for one that was killed or if the
    launcher was stopped, ``TIMED_OUT`` after ``timeout`` seconds. The reason goes to stderr.
    """
    return _Job(plan, prefix, timeout).run()


class _Job:
    def __init__(self, plan: Plan, prefix: bool, timeout: float | None) -> None:
        self._plan = plan
        self._timeout = timeout
        self._limit = None if timeout is None else time.monotonic() + timeout
        marked = prefix and plan.cluster.size > 1
        self._ranks = Ranks(plan.cluster, marked, b"go", self._exited, self._died)
        self._failed: Rank | None = None
        """The rank that is the reason."""
        self._stopped: tuple[int, str] | None = None
        """The exit code and the reason, if it was not a rank."""
        self._signal: int | None = None
        self._stop_at: float | None = None
        self._kill_at: float | None = None
        self._told = b""
        """What ``mpiexec`` said, shown if nothing better is known."""

    def run(self) -> int:
        with closing(self._ranks), self._catching(), self._started() as self._mpiexec:
            while self._mpiexec.poll() is None:
                self._turn()
            self._end_ranks()
            self._ranks.drain()
        return self._outcome(self._mpiexec.returncode)

    def _turn(self) -> None:
        """Wait for something to happen, deal with it, and keep the deadlines."""
        try:
            self._ranks.turn(_TICK)
        except BrokenPipeError:
            self._stop(_UNREAD, "lost its reader")
        now = time.monotonic()
        if self._signal is not None:
            self._stop(128 + self._signal, f"stopped by {signal.Signals(self._signal).name}")
        if self._limit is not None and now >= self._limit:
            here = [str(rank.task) for rank in self._ranks.known if rank.alive]
            running = f"; still running: {', '.join(here)}" if here else ""
            self._stop(TIMED_OUT, f"did not end within {self._timeout:g} s{running}")
        if self._stop_at is not None and now >= self._stop_at:
            self._stop_at, self._kill_at = None, now + _TO_STOP
            self._mpiexec.terminate()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill()

    def _kill(self) -> None:
        if self._mpiexec.poll() is None:
            os.killpg(self._mpiexec.pid, signal.SIGKILL)

    def _stop(self, code: int, reason: str) -> None:
        """Stop the job for a reason that lies in none of its ranks."""
        if self._stopped is None and self._failed is None:
            self._stopped = (code, reason)
        if self._kill_at is None:
            self._stop_within(0)
        self._signal = self._limit = None

    def _stop_within(self, seconds: float) -> None:
        if self._kill_at is None:
            at = time.monotonic() + seconds
            self._stop_at = at if self._stop_at is None else min(at, self._stop_at)

    def _exited(self, rank: Rank) -> None:
        if rank.exit != 0:
            self._fail(rank, _TO_ABORT)

    def _died(self, rank: Rank) -> None:
        if rank.exit is None:
            self._fail(rank, _TO_END)
        elif rank.exit != 0:
            self._stop_within(_TO_END)

    def _fail(self, rank: Rank, seconds: float) -> None:
        """The first rank that fails is the reason; the others follow from it."""
        if self._failed is None and self._stopped is None:
            self._failed = rank
        self._stop_within(seconds)

    def _hold(self, source: Any, target: int) -> None:
        """Keep what ``mpiexec`` says: of a rank that failed there is better to tell.

        From other hosts it has the output of ranks as well, which is passed on at once.
        """
        data = os.read(source.fileno(), 1 << 16)
        if not data:
            self._ranks.forget(source)
        self._told = (self._told + data)[-(1 << 16) :]
        if self._plan.hosts:
            write(target, data)

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        """``mpiexec``, which is told to stop should the launcher be killed."""
        told = {LAUNCHER_VARIABLE: self._ranks.name}
        environment = os.environ | self._plan.environment | told
        libc, launcher = ctypes.CDLL(None), os.getpid()

        def bind_to_launcher() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != launcher:
                os._exit(1)

        sys.stdout.flush()
        with subprocess.Popen(
            self._plan.command, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=bind_to_launcher,  # noqa: PLW1509, the launcher has one thread
        ) as mpiexec:  # fmt: skip
            self._ranks.watch(mpiexec.stdout, lambda source: self._hold(source, 1))
            self._ranks.watch(mpiexec.stderr, lambda source: self._hold(source, 2))
            try:
                yield mpiexec
            except BaseException:
                os.killpg(mpiexec.pid, signal.SIGKILL)
                raise

    @contextmanager
    def _catching(self) -> Iterator[None]:
        def catch(number: int, _: FrameType | None) -> None:
            self._signal = number

        heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, catch) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_ranks(self) -> None:
        """Kill what outlives ``mpiexec``, and hear what ended ranks had still to say."""
        if self._mpiexec.returncode < 0 and self._failed is None:
            name = _signal_text(-self._mpiexec.returncode)
            self._stop(128 - self._mpiexec.returncode, f"ended: mpiexec was killed by {name}")
        deadline = time.monotonic() + _TO_END
        while time.monotonic() < deadline and any(r.alive for r in self._ranks.known):
            self._turn()
        for rank in self._ranks.known:
            if rank.alive:
                rank.kill()
        for _ in range(2):
            self._turn()

    def _outcome(self, returned: int) -> int:
        """The exit code; why it is not 0 goes to stderr."""
        if self._stopped is not None:
            code, reason = self._stopped
            _say(f"the job {reason}" if code != _UNREAD else "")
            return code
        failed = self._first_to_fail()
        if failed is None or (returned == 0 and failed.exit is None):
            self._show()
            if returned:
                _say(f"mpiexec ended with exit code {returned}")
            return returned
        code, how = self._end_of(failed, returned)
        _say(f"{failed.task} (rank {failed.number}) {how}; the job was stopped")
        return code

    def _first_to_fail(self) -> Rank | None:
        """The reason: a rank that told of it, that which ``mpiexec`` blames, or the first to die.

        Of processes MPICH names any that died, and not the first.
        """
        if self._failed is not None and self._failed.exit is not None:
            return self._failed
        if found := _NAMED_RANK.search(self._told):
            number = int(found[1])
            known = [rank for rank in self._ranks.known if rank.number == number]
            return known[0] if known else Rank(self._plan.cluster.task_of(number), number)
        if self._failed is None and (found := _NAMED_PROCESS.search(self._told)):
            return self._ranks.of_process(int(found[1]))
        return self._failed

    def _end_of(self, rank: Rank, returned: int) -> tuple[int, str]:
        """The exit code and the words for how a rank ended."""
        found = _NAMED_SIGNAL.search(self._told)
        if rank.exit is not None:
            return rank.exit, f"ended with exit code {rank.exit}"
        if found is not None:
            return 128 + int(found[1]), f"was killed by {_signal_text(int(found[1]))}"
        self._show()
        return (returned if returned > 0 else 1), "was seen to die before the end of its script"

    def _show(self) -> None:
        """Pass on what ``mpiexec`` said, if that was not done at once."""
        told = self._told.rstrip()
        if told and not self._plan.hosts:
            with suppress(OSError):
                write(2, told + b"\n")


def _signal_text(number: int) -> str:
    """``signal 9 (SIGKILL)``."""
    known = number in signal.valid_signals() and number < signal.SIGRTMIN
    return f"signal {number}" + (f" ({signal.Signals(number).name})" if known else "")


def _say(text: str) -> None:
    if text:
        with suppress(OSError):
            write(2, f"graphc: {text}\n".encode())
