"""The line of the user's program that made a node."""

from __future__ import annotations

import contextlib
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_NOT_THE_USERS = (str(Path(__file__).parents[1]) + "/", contextlib.__file__)
"""This package, and what stands between its context managers and their ``with``."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place in a Python file; ``file`` is as Python knows it."""

    file: str
    line: int

    @property
    def text(self) -> str:
        """The line itself, stripped, or nothing if the file cannot be read any more.

        What texts of graphs call a source may be a device or a pipe: it is not read.
        """
        if self.file not in linecache.cache and not Path(self.file).is_file():
            return ""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_source() -> Source | None:
    """The innermost frame outside this package: the line that the user wrote."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            return Source(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def located(message: str, source: Source | None) -> str:
    """``message`` followed by the user's line, the form of every error that has one."""
    if source is None:
        return message
    line = f"\n    {source.text}" if source.text else ""
    return f"{message}\n  at {source}{line}"
