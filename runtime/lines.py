"""The output of many ranks on one stream: whole lines, each marked with its task."""

from __future__ import annotations

import os

_LONGEST = 1 << 20


class Lines:
    """What one rank writes to one stream, passed on line by line to ``target``.

    A line of more than a mebibyte is passed on in pieces. Without ``prefix`` nothing is marked;
    ``whole`` False passes everything on as it comes, for a rank that is alone.
    """

    def __init__(self, source: int, target: int, prefix: str = "", whole: bool = True) -> None:
        self.source = source
        self._target = target
        self._prefix = prefix.encode()
        self._whole = whole
        self._rest = b""
        os.set_blocking(source, False)

    def pump(self) -> bool:
        """Pass on what there is; whether the writers are still there.

        Raises:
            BrokenPipeError: nobody reads the target any more.
        """
        while True:
            try:
                data = os.read(self.source, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                self._finish()
                return False
            self._pass_on(data)

    def drain(self) -> None:
        """Pass on what there is, and end the last line."""
        self.pump()
        self._finish()

    def _pass_on(self, data: bytes) -> None:
        if not self._whole:
            write(self._target, data)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        write(self._target, b"".join(self._prefix + line + b"\n" for line in lines))

    def _finish(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            write(self._target, self._prefix + rest + b"\n")


def write(target: int, data: bytes) -> None:
    """All of ``data`` to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
