"""What the tasks of a job did when: each records its own, and ``trace`` makes one file of them.

A recorder writes to a file of its own beside the timeline, whenever there is much to write or
nothing else to do, so that of a task that is killed all but the last moments is known.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from graphc.ir.errors import GraphcError
from graphc.runtime.effects import AllReduce, Hear, Post, Work

TIMELINE_VARIABLE = "GRAPHC_TIMELINE"
"""The environment variable with the file that the timeline of a job is to be written to."""
ROWS = ("compute", "send", "receive", "wait", "reduce")
COMPUTE, SEND, RECEIVE, WAIT, REDUCE = ROWS
_ENOUGH = 1024
"""So many events are written out at once."""


class Recorder:
    """Records what one task does; times are seconds on the task's own clock.

    Args:
        path: the timeline; this task's part of it is beside it.
        rank: the task's number.
        name: what people call it.

    Raises:
        GraphcError: the file cannot be written.
    """

    def __init__(self, path: Path, rank: int, name: str) -> None:
        self._events: list[tuple[Any, ...]] = []
        try:
            draft_path(path).unlink(missing_ok=True)
            self._file = part_path(path, rank).open("w", encoding="utf-8")
        except OSError as error:
            raise _unwritable(path, error) from None
        self._write({"rank": rank, "name": name})

    def work(self, work: Work, begin: float, end: float) -> None:
        """A piece of work that has a name was done."""
        if work.about:
            self.add(COMPUTE, work.about, work.step, begin, end)

    def transfer(self, post: Post | AllReduce, begin: float, end: float) -> None:
        """A transfer, or a reduction in one call, was begun, and seen to have ended."""
        if isinstance(post, AllReduce):
            self.add(REDUCE, post.about, post.step, begin, end)
            return
        row = SEND if post.sends else RECEIVE
        size = memoryview(post.memory).nbytes
        self.add(row, post.about, post.step, begin, end, post.peer, post.tag, size)

    def wait(self, cause: Post | AllReduce | Hear, begin: float, end: float) -> None:
        """A role waited for a transfer, or for a message if it said which."""
        if isinstance(cause, Post):
            self.add(WAIT, cause.about, cause.step, begin, end, cause.peer)
        elif cause.about:
            self.add(WAIT, cause.about, cause.step, begin, end)

    def add(self, *event: Any) -> None:
        """An event: row, name, step, begin, end; where they apply peer, tag and bytes as well."""
        self._events.append(event)
        if len(self._events) >= _ENOUGH:
            self.flush()

    def clock(self, at: float, ahead: float, bound: float) -> None:
        """At time ``at`` here rank 0's clock was ``ahead`` by so much, give or take ``bound``."""
        self._write({"clock": [at, ahead, bound]})

    def flush(self) -> None:
        """Write out what was recorded."""
        count = len(self._events)
        if count:
            self._write(self._events[:count])
            del self._events[:count]

    def close(self) -> None:
        """Write out everything; the task records nothing more."""
        self.flush()
        self._write({"ended": True})
        self._file.close()

    def _write(self, line: Any) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def part_path(path: Path, rank: int) -> Path:
    """Where a task's part of the timeline ``path`` is until all are merged."""
    return path.with_name(f"{path.name}.{rank}.part")


def draft_path(path: Path) -> Path:
    """What the timeline is called while it is written."""
    return path.with_name(f"{path.name}.part")


def wanted() -> Path | None:
    """The timeline that the environment asks for.

    Raises:
        GraphcError: it could not be written.
    """
    text = os.environ.get(TIMELINE_VARIABLE)
    return checked(Path(text)) if text else None


@cache
def checked(path: Path) -> Path:
    """The path of a timeline, made absolute.

    Raises:
        GraphcError: it is a folder, its folder is not there, or cannot be written to.
    """
    path = path.absolute()
    if path.is_dir():
        raise GraphcError(f"the timeline cannot be written to {path}: it is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> GraphcError:
    return GraphcError(f"the timeline cannot be written to {path}: {error.strerror}")
