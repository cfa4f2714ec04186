"""The programs of examples/cluster, launched on real ranks over MPI; a part of demo.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "cluster"
SERVED: Mapping[str, int] = {"ps": 1, "worker": 2}
LOGICAL_SHARDS = "12"
SECONDS = 120
"""For so long a job may take."""


@dataclass(frozen=True)
class Account:
    """What the chief of a job printed, and what all its tasks sent each other."""

    lines: Sequence[str]
    sent: int
    """In bytes."""
    reduced: int = 0
    """How many sums over the tasks were made in one call, which does not say what was sent."""

    def __str__(self) -> str:
        left = f", {self.reduced} sums in one call" if self.reduced else ""
        return f"{self.lines[0]}; {self.sent / 1e6:.1f} MB were sent{left}"

    @property
    def weights(self) -> str:
        """The digest of the trained weights, where the program prints it."""
        return self.lines[1].removeprefix("weights ")


def launched(output: Path) -> Iterator[tuple[str, str]]:
    """Run the programs one after the other: a name and an account of each.

    Raises:
        SystemExit: one has failed, or bits differ that should not.
    """
    yield "in-graph", str(_launch(output, "in_graph", SERVED))
    yield "between-graph", str(_launch(output, "between_graph", SERVED))
    yield "allreduce", str(_launch(output, "allreduce", {"worker": 3}))
    exact = "--reproducible", LOGICAL_SHARDS
    on_one, on_three = (_launch(output, "allreduce", {"worker": n}, *exact) for n in (1, 3))
    yield "reproducible", str(on_three)
    if on_one.weights != on_three.weights:
        raise SystemExit("weights of 1 and 3 ranks differ: this is a bug of graphc")
    yield "", "the weights have the same bits on 1 rank and on 3"


def _launch(output: Path, name: str, jobs: Mapping[str, int], *arguments: str) -> Account:
    """Run a program on a cluster; its timeline stays in ``output``."""
    ranks = sum(jobs.values())
    spec = output / "-".join([name, *arguments[1:], f"{ranks}.json"]).replace("_", "-")
    timeline = spec.with_suffix(".timeline.json")
    spec.write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "graphc", "launch", "--no-prefix"]
    command += ["--timeout", str(SECONDS), "--timeline", str(timeline)]
    command += [str(spec), str(PROGRAMS / f"{name}.py"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed on {ranks} ranks:\n{done.stdout}{done.stderr}")
    events = json.loads(timeline.read_text())["traceEvents"]
    sent = sum(event["args"]["bytes"] for event in events if event.get("cat") == "send")
    reduced = sum(event.get("cat") == "reduce" for event in events) // ranks
    return Account(done.stdout.splitlines(), sent, reduced)
