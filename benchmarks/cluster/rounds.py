"""What the programs of this folder share: measurements in turns, and their table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Measurement = Callable[[int], None]
"""Does what is measured so many times."""


def in_turns(measurements: Mapping[str, Measurement], count: int, passes: int) -> dict:
    """Seconds for one time of each, in each pass; all take turns, so that neighbours compare."""
    seconds: dict[str, list[float]] = {name: [] for name in measurements}
    for measure in measurements.values():
        measure(count)
    for _ in range(passes):
        for name, measure in measurements.items():
            begin = time.perf_counter()
            measure(count)
            seconds[name].append((time.perf_counter() - begin) / count)
    return seconds


def microseconds(seconds: Mapping[str, list[float]]) -> None:
    """Print the median and the best pass of each."""
    print(f"{'':44}{'median':>10}{'best':>10}   us")
    for name, passes in seconds.items():
        print(f"{name:44}{statistics.median(passes) * 1e6:10.1f}{min(passes) * 1e6:10.1f}")
