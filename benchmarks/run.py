"""Measure graphc against its peers and the machine's limit.

    python benchmarks/run.py gemm mlp --threads 1,2 --passes 7

Every framework runs in a process of its own that stays alive; the passes go round all of them, so
that each ratio compares neighbours in time. A ratio is the median over the passes, with a 95%
bootstrap interval; above 1 means that graphc is faster. A framework that is not installed is left
out. GRAPHC_BENCH_JAX and the like name another Python to run a framework with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from cases import CASES, FAMILIES, Elementwise

HERE = Path(__file__).parent
PEERS = ("jax", "torch")


class Worker:
    """A framework with one case, in a process of its own."""

    def __init__(self, name: str, case: str, threads: int) -> None:
        self.name = name
        python = os.environ.get(f"GRAPHC_BENCH_{name.upper()}", sys.executable)
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), name, case, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        self.facts = json.loads(line) if line else None

    def median(self, seconds: float) -> float:
        """The median time of an iteration over about so long."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(np.median(json.loads(self.process.stdout.readline())))

    def close(self) -> str:
        """End the process; what it wrote to standard error."""
        _, errors = self.process.communicate()
        return errors.strip().splitlines()[-1] if errors.strip() else ""


def interval(ratios: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))


def measure(case: str, threads: int, passes: int, seconds: float, names: list[str]) -> dict:
    """Times of every framework on one case, pass by pass."""
    workers = []
    for name in names:
        worker = Worker(name, case, threads)
        if worker.facts is None:
            print(f"  {name}: left out ({worker.close()})", file=sys.stderr)
        else:
            workers.append(worker)
    times = {w.name: np.zeros(passes) for w in workers}
    for number in range(passes):
        for worker in workers if number % 2 == 0 else reversed(workers):
            times[worker.name][number] = worker.median(seconds)
    facts = {w.name: w.facts for w in workers}
    for worker in workers:
        worker.close()
    return {"case": case, "threads": threads, "times": times, "facts": facts}


def report(result: dict) -> dict:
    """Print one case and give its figures as a record."""
    case, times = CASES[result["case"]], result["times"]
    record = {"case": result["case"], "threads": result["threads"]}
    for name, values in times.items():
        record[name] = float(np.median(values))
    line = f"{result['case']:20} {result['threads']} thread(s)"
    for name in (n for n in times if n != "peak"):
        line += f"  {name} {record[name] * 1e6:9.1f} us"
    if "peak" in times and hasattr(case, "flops"):
        limit = result["facts"]["peak"]["flops"] / times["peak"]
        share = case.flops / times["graphc"] / limit
        record["share_of_peak"] = float(np.median(share))
        line += f"  {100 * record['share_of_peak']:5.1f}% of {np.median(limit) / 1e9:.0f} GFLOP/s"
    for name in (n for n in PEERS if n in times):
        ratios = times[name] / times["graphc"]
        low, high = interval(ratios)
        record[f"over_{name}"] = [float(np.median(ratios)), low, high]
        line += f"  {np.median(ratios):.2f}x {name} [{low:.2f}, {high:.2f}]"
    if isinstance(case, Elementwise):
        line += f"  {case.bytes / record['graphc'] / 1e9:.1f} GB/s"
    print(line, flush=True)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help="or single cases")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="per framework and pass")
    parser.add_argument("--frameworks", default="graphc,peak,jax,torch")
    parser.add_argument("--json", type=Path, help="append the figures as lines of JSON")
    args = parser.parse_args()
    cases = [c for family in args.families for c in FAMILIES.get(family, [family])]
    for threads in map(int, args.threads.split(",")):
        for case in cases:
            names = args.frameworks.split(",")
            record = report(measure(case, threads, args.passes, args.seconds, names))
            if args.json:
                with args.json.open("a") as file:
                    file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
