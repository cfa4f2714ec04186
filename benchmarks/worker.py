"""A process that holds one framework and one case, and times it when told to.

Reads a number of seconds per line, answers with one line of JSON: the times of its iterations.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time


def prepare(threads: int) -> None:
    """One core and one thread, or all; keep freed memory, as a long-running program would."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[-1:] if threads == 1 else cores[:threads]))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0)  # M_MMAP_MAX
    libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def timed(step: object, seconds: float) -> list[float]:
    """Times of single iterations for about so long, at least five."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 20_000):
        start = time.perf_counter()
        step()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    name, case, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    prepare(threads)
    from cases import CASES
    from contestants import CONTESTANTS, result_of

    step = CONTESTANTS[name](CASES[case], threads)
    check = result_of(step)
    timed(step, 0.2)
    answer = {"sum": float(abs(check).sum()), "flops": getattr(step, "flops", None)}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(step, float(line))), flush=True)


if __name__ == "__main__":
    main()
