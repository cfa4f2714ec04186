"""Devices: where a node runs, as partial specifications that merge.

``/job:ps/task:0/cpu:0`` names one device of a cluster; every part may be left out, and inner
scopes fill in or override what outer ones said, as in TensorFlow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphc.ir.errors import DeviceError

_PARTS = re.compile(
    r"/?job:(?P<job>[A-Za-z_][\w.-]*)|/?task:(?P<task>\d+)|/?replica:(?P<replica>\d+)"
    r"|/?(?:device:)?(?P<kind>cpu|gpu)(?::(?P<index>\d+|\*))?(?=/|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Device:
    """A possibly partial device: ``None`` parts are open."""

    job: str | None = None
    task: int | None = None
    kind: str | None = None
    index: int | None = None

    @staticmethod
    def parse(text: str) -> Device:
        """Read ``/job:worker/task:1/gpu:0``, ``/cpu:0``, ``gpu:1`` or the empty string.

        Raises:
            DeviceError: ``text`` is no device string, or names a part twice.
        """
        found: dict[str, str] = {}
        position = 0
        while position < len(text):
            match = _PARTS.match(text, position)
            parts = {k: v for k, v in match.groupdict().items() if v} if match else {}
            if match is None or parts.keys() & found.keys():
                raise DeviceError(
                    f"{text!r} is no device: write /job:NAME/task:N/cpu:0, any part may be left out"
                )
            found |= parts
            position = match.end()
        index = found.get("index")
        return Device(
            job=found.get("job"),
            task=int(found["task"]) if "task" in found else None,
            kind=found["kind"].lower() if "kind" in found else None,
            index=int(index) if index not in (None, "*") else None,
        )

    def merge(self, inner: Device) -> Device:
        """This device where ``inner`` is silent, ``inner`` elsewhere."""
        return Device(
            job=self.job if inner.job is None else inner.job,
            task=self.task if inner.task is None else inner.task,
            kind=self.kind if inner.kind is None else inner.kind,
            index=self.index if inner.kind is None and inner.index is None else inner.index,
        )

    @property
    def is_full(self) -> bool:
        """Whether no part is open: it names one device."""
        return None not in (self.job, self.task, self.kind, self.index)

    def matches(self, device: Device) -> bool:
        """Whether this specification allows ``device``, which is full."""
        own, given = self._parts(), device._parts()
        return all(part in (None, other) for part, other in zip(own, given, strict=True))

    def both(self, other: Device) -> Device | None:
        """What this and ``other`` say together; None if they contradict each other."""
        pairs = list(zip(self._parts(), other._parts(), strict=True))
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            return None
        return Device(
            job=self.job if other.job is None else other.job,
            task=self.task if other.task is None else other.task,
            kind=self.kind if other.kind is None else other.kind,
            index=self.index if other.index is None else other.index,
        )

    def _parts(self) -> tuple[str | int | None, ...]:
        return self.job, self.task, self.kind, self.index

    def __str__(self) -> str:
        parts = [
            f"/job:{self.job}" if self.job is not None else "",
            f"/task:{self.task}" if self.task is not None else "",
        ]
        if self.kind is not None:
            parts.append(f"/{self.kind}" + (f":{self.index}" if self.index is not None else ""))
        return "".join(parts)
