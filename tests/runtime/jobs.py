"""Jobs started as a user starts them, by the command line, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = "import os, signal, sys, time\nfrom mpi4py import MPI\nrank = MPI.COMM_WORLD.rank\n"


@dataclass
class Ended:
    code: int
    out: str
    err: str
    seconds: float


class Job:
    """A script on a cluster; `mpiexec` is a path, or None for the default."""

    def __init__(self, folder, jobs, script, *arguments, options=(), mpiexec=None, preamble=True):
        spec, self.script = folder / "cluster.json", folder / "script.py"
        spec.write_text(json.dumps(jobs))
        self.script.write_text((PREAMBLE if preamble else "") + script)
        chosen = ["--mpiexec", str(mpiexec)] if mpiexec else []
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "graphc", "launch", *chosen, *options, str(spec),
             str(self.script), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip

    def end(self, limit=60):
        """Wait for the launcher; nothing of the job may be left."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise
        seconds = time.monotonic() - self.start
        self.expect_nothing_left()
        return Ended(self.process.returncode, out, err, seconds)

    def await_ranks(self, count, limit=60):
        """The processes of ranks that have reached `MARK` (a file for each), by rank."""
        deadline = time.monotonic() + limit
        while len(list(self.script.parent.glob("mark-*"))) < count:
            assert time.monotonic() < deadline, "the ranks did not start"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        self.start = time.monotonic()
        marks = self.script.parent.glob("mark-*")
        return {int(p.name[5:]): int(p.read_text()) for p in marks}

    def expect_nothing_left(self, limit=5):
        deadline = time.monotonic() + limit
        while left := self.processes():
            if time.monotonic() > deadline:
                self.kill_all()
                raise AssertionError(f"the job left processes: {left}")
            time.sleep(0.05)

    def processes(self):
        """What runs the script: ranks, mpiexec, the launcher."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.script).encode() in command:
                found[int(folder.name)] = b" ".join(command).decode()
        return found

    def kill_all(self):
        for process in self.processes():
            os.kill(process, signal.SIGKILL)


MARK = """
import pathlib
mark = pathlib.Path(__file__).with_name(f"new-{rank}")
mark.write_text(str(os.getpid()))
mark.rename(mark.with_name(f"mark-{rank}"))
"""
