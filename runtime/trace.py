"""From the parts of a timeline that tasks recorded to one Chrome trace, on the clock of rank 0.

The trace is the JSON of the "Trace Event Format", which https://ui.perfetto.dev and
chrome://tracing open: a process for each task, rows for what it computes, sends, receives and
waits for, and arrows from each send to its receive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphc.runtime.timeline import RECEIVE, ROWS, SEND, draft_path, part_path

DRIFT = 1e-4
"""No clock gains more than this on another one: quartz is good to 50 ppm."""
_LANES = 1000
"""Row ``n`` of those in ``ROWS`` begins at this many times ``n``: events that overlap need more."""
_DIGITS = 3
"""Of microseconds: a trace tells nanoseconds."""
_SHORTEST = 1e-3


@dataclass(frozen=True)
class Sample:
    """At time ``at`` on a task's clock rank 0's was ``ahead``, give or take ``bound``; seconds."""

    at: float
    ahead: float
    bound: float


@dataclass(frozen=True)
class Clock:
    """How to tell rank 0's time from a task's: what it was ahead at ``at``, and the rate."""

    at: float = 0.0
    ahead: float = 0.0
    rate: float = 0.0
    """By how much rank 0's clock gains on the task's, in a second."""
    bound: float | None = None
    """How wrong the time may be, in seconds; None if nothing is known."""

    def common(self, time: float) -> float:
        """The time of rank 0's clock."""
        return time + self.ahead + self.rate * (time - self.at)


def fit(samples: Sequence[Sample], end: float) -> Clock:
    """The clock of a task that was compared at its start, and perhaps at its end.

    What a clock can have gained in between is known, so that a bad sample at the end does no harm:
    of all offsets that the first one allows, it chooses among those that the second allows as well.

    Args:
        samples: in order of time.
        end: until when the bound has to hold.
    """
    if not samples:
        return Clock()
    first, last = samples[0], samples[-1]
    span = last.at - first.at
    if span <= 0:
        bound = first.bound + DRIFT * max(0.0, end - first.at)
        return Clock(first.at, first.ahead, 0.0, bound)
    reach = first.bound + DRIFT * span
    low = max(last.ahead - last.bound, first.ahead - reach)
    high = min(last.ahead + last.bound, first.ahead + reach)
    ahead = (low + high) / 2
    bound = max(first.bound, abs(high - low) / 2)
    return Clock(first.at, first.ahead, (ahead - first.ahead) / span, bound)


@dataclass
class Part:
    """What one task recorded."""

    rank: int
    name: str
    events: list[list[Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    ended: bool = False

    @property
    def clock(self) -> Clock:
        if self.rank == 0:
            return Clock(bound=0.0)
        return fit(self.samples, max((event[4] for event in self.events), default=0.0))


def read_part(path: Path) -> Part | None:
    """What is in the file of a task; None if there is none. A line that was cut off ends it."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        part = Part(**json.loads(lines[0]))
        for line in lines[1:]:
            _take(part, json.loads(line))
    except (FileNotFoundError, IndexError):
        return None
    return part


def _take(part: Part, found: Any) -> None:
    if isinstance(found, list):
        part.events += found
    elif "clock" in found:
        part.samples.append(Sample(*found["clock"]))
    else:
        part.ended = True


def merge(path: Path, names: Sequence[str], *, whole: bool = False) -> list[str] | None:
    """Make the timeline of the parts of all tasks, which are removed.

    Args:
        path: the timeline.
        names: what people call the tasks, by rank.
        whole: do nothing unless all tasks have ended and nobody else is at it: of tasks that end
            at the same time only one does it.

    Returns:
        The names of those of which nothing is known; None if nothing was done.

    Raises:
        OSError: the timeline cannot be written.
    """
    files = [part_path(path, rank) for rank in range(len(names))]
    parts = [part for part in map(read_part, files) if part is not None]
    if not parts or (whole and sum(part.ended for part in parts) < len(names)):
        return None
    missing = sorted({*names} - {part.name for part in parts})
    draft = draft_path(path)
    try:
        with draft.open("x" if whole else "w", encoding="utf-8") as file:
            file.write(json.dumps(chrome_trace(parts, missing)))
    except FileExistsError:
        return None
    draft.replace(path)
    for part_file in files:
        part_file.unlink(missing_ok=True)
    return missing


def chrome_trace(parts: Sequence[Part], missing: Sequence[str] = ()) -> dict[str, Any]:
    """The trace, as it is written in JSON; times are microseconds from the first event on."""
    clocks = {part.rank: part.clock for part in parts}
    times = (clocks[part.rank].common(event[3]) for part in parts for event in part.events)
    start = min(times, default=0.0)
    names = {part.rank: part.name for part in parts}
    events: list[dict[str, Any]] = []
    arrows = _Arrows()
    for part in parts:
        slices = [_slice(event, part.rank, clocks[part.rank], start) for event in part.events]
        events += _rows(part, slices)
        for event, found in zip(part.events, slices, strict=True):
            events += [found, *arrows.of(event, found)]
            if len(event) > 5:
                found["args"]["peer"] = names.get(event[5], str(event[5]))
    bounds = [clock.bound for clock in clocks.values()]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "clock_bound_us": None if None in bounds else max(_us(b or 0.0) for b in bounds),
            "clocks": {names[rank]: _facts(clock) for rank, clock in clocks.items()},
            "missing": list(missing),
        },
    }


def _facts(clock: Clock) -> dict[str, Any]:
    bound = None if clock.bound is None else _us(clock.bound)
    return {"ahead_us": _us(clock.ahead), "drift_ppm": clock.rate * 1e6, "bound_us": bound}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, _DIGITS)


def _slice(event: Sequence[Any], rank: int, clock: Clock, start: float) -> dict[str, Any]:
    """A complete event of the trace; its lane is not known yet."""
    row, name, step, begin, end = event[:5]
    ts, until = _us(clock.common(begin) - start), _us(clock.common(end) - start)
    args = {"step": step} | ({"bytes": event[7]} if len(event) > 7 else {})
    return {
        "ph": "X", "name": name, "cat": row, "pid": rank, "tid": ROWS.index(row) * _LANES,
        "ts": ts, "dur": round(max(_SHORTEST, until - ts), _DIGITS), "args": args,
    }  # fmt: skip


def _rows(part: Part, slices: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give every slice a row where it overlaps none; the names of all rows, and of the process."""
    yield _named("process_name", part.rank, 0, part.name)
    yield _meta("process_sort_index", part.rank, 0, {"sort_index": part.rank})
    ends: dict[str, list[float]] = {row: [0.0] for row in ROWS}
    for found in sorted(slices, key=lambda one: one["ts"]):
        lanes = ends[found["cat"]]
        lane = next((n for n, end in enumerate(lanes) if end <= found["ts"]), len(lanes))
        lanes[lane : lane + 1] = [round(found["ts"] + found["dur"], _DIGITS)]
        found["tid"] += lane
    for number, row in enumerate(ROWS):
        for lane in range(len(ends[row])):
            thread = number * _LANES + lane
            yield _named("thread_name", part.rank, thread, f"{row} {lane + 1}" if lane else row)
            yield _meta("thread_sort_index", part.rank, thread, {"sort_index": thread})


def _named(kind: str, rank: int, thread: int, name: str) -> dict[str, Any]:
    return _meta(kind, rank, thread, {"name": name})


def _meta(kind: str, rank: int, thread: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": rank, "tid": thread, "ts": 0, "args": args}


class _Arrows:
    """Flow events: the two ends of a transfer find each other by ranks, tag and step."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {}

    def of(self, event: Sequence[Any], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The end of an arrow that is in this slice, if it is a transfer."""
        row, step = event[0], event[2]
        if row not in (SEND, RECEIVE):
            return
        peer, tag = event[5:7]
        ranks = (found["pid"], peer) if row == SEND else (peer, found["pid"])
        number = self._numbers.setdefault((*ranks, tag, step), len(self._numbers))
        end = {key: found[key] for key in ("pid", "tid", "ts")} | {"cat": "transfer", "id": number}
        if row == SEND:
            yield {"ph": "s", "name": "transfer", **end}
        else:
            last = round(found["ts"] + found["dur"] - _SHORTEST, _DIGITS)
            yield {"ph": "f", "bp": "e", "name": "transfer", **end, "ts": last}
