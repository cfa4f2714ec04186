"""Devices: where a node runs, as partial specifications that merge.

``/job:ps/task:0/cpu:0`` names one device of a cluster; every part may be left out, and inner
scopes fill in or override what outer ones said, as in TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from graphc.ir.dims import Shape
from graphc.ir.dtypes import DType
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


class OpType(str):
    """An op's name, equal to graphc's and to TensorFlow's spelling of it: add_n and AddN.

    Device functions compare it with ``==`` or look for it in a list or tuple; a set takes
    graphc's spelling only.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _letters(self) == _letters(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def _letters(name: str) -> str:
    return str.replace(name, "_", "").lower()


@dataclass(frozen=True, slots=True)
class OpDescription:
    """What a device function is told of a node that is about to be made.

    ``type`` and ``name`` are its op's and its own; ``device`` is what inner scopes say. Of a
    variable, ``dtype`` and ``shape`` are known as well, unless its initial value is a function
    and nobody said; of other ops they are None: their types follow when the node is made.
    """

    type: OpType
    name: str
    dtype: DType | None = None
    shape: Shape | None = None
    device: str = ""


DeviceFunction: TypeAlias = Callable[[OpDescription], str | None]
"""Names the device of a node; the empty string or None leaves it open."""


def place(scopes: Iterable[str | DeviceFunction], op: OpDescription) -> str:
    """The device string that scopes, outermost first, give a node.

    Raises:
        DeviceError: a function named no device.
    """
    found = Device()
    for scope in reversed(tuple(scopes)):
        text = scope if isinstance(scope, str) else scope(replace(op, device=str(found)))
        found = Device.parse(text or "").merge(found)
    return str(found)
