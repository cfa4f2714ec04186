"""Objects on disk, for any number of processes at once.

Each entry is a file, named by its key, with a checksum in front; it appears complete, by a
rename. The cache never fails a program: what cannot be used is a ``CacheWarning``, and the caller
compiles. The folder is made private to the user, since what lies in it is run.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
import warnings
from pathlib import Path

from graphc.ir.errors import CacheWarning

LIMIT = 1 << 30
"""How many bytes of entries are kept, by default; the least recently used go first."""

_MAGIC = b"graphc object 1\n"
_DAY = 86400.0
_PRUNE_TO = 0.75


class DiskCache:
    """The entries under ``directory``, ``limit`` bytes of them at the most."""

    def __init__(self, directory: Path, limit: int = LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self._writable = True
        self._written: int | None = None
        """Bytes of all entries, as far as known; counted at the first write."""

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry, whole or damaged, that can be seen."""
        try:
            return self._path(key).exists()
        except OSError:  # ``read`` will tell
            return False

    def read(self, key: str) -> bytes | None:
        """The object kept as ``key``, None if there is none (or only a damaged one)."""
        path = self._path(key)
        try:
            status = path.stat()
            # A pipe would be waited for, a device read without end.
            entry = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot read {path}: {error.strerror}")
            return None
        data = _checked(entry)
        age = time.time() - status.st_mtime
        if data is None:
            self._warn(f"{path} is damaged; its kernel is compiled anew")
        elif age > _DAY:
            _touch(path)
        return data

    def write(self, key: str, data: bytes) -> None:
        """Keep ``data`` as ``key``; whatever was kept so is replaced."""
        if not self._writable:
            return
        try:
            self._write(self._path(key), _sealed(data))
        except OSError as error:
            self._writable = False
            self._warn(f"{self.directory} keeps no kernels: {error.strerror}")

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def damaged(self) -> list[Path]:
        """Entries that will be compiled anew, since their checksum does not match."""
        found = []
        for _, _, path in self._entries():
            try:
                whole = path.suffix == ".new" or _checked(path.read_bytes()) is not None
            except OSError:  # another process pruned it, or it is not ours to read
                continue
            if not whole:
                found.append(path)
        return found

    def _write(self, path: Path, entry: bytes) -> None:
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.directory, path.parents[1], path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".new")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(entry)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._written = self.size() if self._written is None else self._written + len(entry)
        if self._written > self.limit:
            self._prune()

    def _prune(self) -> None:
        """Remove the entries that were used least recently, until a quarter is free."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= _PRUNE_TO * self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._written = total

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Last use, bytes and path of each file, those of interrupted writers too."""
        found = []
        for path in self.directory.glob("objects/*/*"):
            try:
                status = path.stat()
            except OSError:  # another process pruned it, or it is not ours to see
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self.directory / "objects" / key[-2:] / f"{key}.o"

    def _warn(self, what: str) -> None:
        warnings.warn(f"kernel cache: {what}", CacheWarning, stacklevel=3)


def _sealed(data: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(data).digest() + data


def _checked(entry: bytes) -> bytes | None:
    """The data of an entry that is whole."""
    begin = len(_MAGIC) + hashlib.sha256().digest_size
    data = entry[begin:]
    return data if entry[:begin] == _sealed(data)[:begin] else None


def _touch(path: Path) -> None:
    try:
        path.touch()
    except OSError:  # read-only, or pruned since: the entry is none the worse
        return
