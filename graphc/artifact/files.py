"""An artifact on disk: a folder or a zip file, read without trust and written whole."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, Protocol

from graphc.artifact.manifest import MANIFEST, Manifest, manifest_text, read_manifest
from graphc.ir.errors import ArtifactError

_LARGEST_MANIFEST = 1 << 26
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError,
    RuntimeError, OverflowError,
)  # fmt: skip
"""What Python's reader raises for zip files that are damaged, or of kinds that it cannot read."""


class Artifact:
    """An artifact that was opened; files are checked when they are read."""

    def __init__(self, path: Path) -> None:
        """Open a folder or a zip file.

        Raises:
            ArtifactError: there is none, or its manifest is damaged or of another version.
        """
        self.path = path
        if path.is_dir():
            self._place: _Place = _Folder(path)
        elif path.is_file():
            self._place = _Zip(path)
        else:
            raise ArtifactError(f"there is no artifact at {path}: no such file or folder")
        size = self._place.size(MANIFEST)
        if size > _LARGEST_MANIFEST:
            raise ArtifactError(f"{path}: {MANIFEST} has {size} bytes: it is no manifest")
        self.manifest = read_manifest(self._place.read(MANIFEST, size), path)

    def read(self, name: str) -> bytes:
        """The contents of a file.

        Raises:
            ArtifactError: the file is missing, or is not the one that was written.
        """
        facts = self.manifest.files.get(name)
        if facts is None:
            raise ArtifactError(f"{self.path}: the manifest names no file {name!r}")
        size = self._place.size(name)
        if size != facts["bytes"]:
            raise ArtifactError(
                f"{self.path}: {name} has {size} bytes instead of {facts['bytes']}: "
                "it was truncated or replaced; copy the artifact again"
            )
        data = self._place.read(name, size)
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ArtifactError(
                f"{self.path}: {name} does not match its checksum: it was changed after it was "
                "written; copy the artifact again"
            )
        return data


class _Place(Protocol):
    """Where the files of an artifact are; what cannot be read is an ``ArtifactError``."""

    def size(self, name: str) -> int: ...
    def read(self, name: str, size: int) -> bytes: ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, name: str) -> int:
        path = self.path / name
        try:
            size = path.stat().st_size
        except OSError as error:
            _unreadable(self.path, name, error.strerror)
        if not path.is_file():  # a pipe would be waited for, a device read without end
            _unreadable(self.path, name, "it is no regular file")
        return size

    def read(self, name: str, size: int) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(size)
        except OSError as error:
            _unreadable(self.path, name, error.strerror)
        except MemoryError:
            _unreadable(self.path, name, f"its {size} bytes do not fit into memory")


class _Zip:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise ArtifactError(f"{path} is neither a folder nor a zip file") from None
        except _ZIP_ERRORS as error:
            raise ArtifactError(f"{path} cannot be read: {_first_line(error)}") from None
        names = self.archive.namelist()
        if len(set(names)) != len(names):
            raise ArtifactError(f"{path} holds two files of one name: it is no artifact")

    def size(self, name: str) -> int:
        return self._member(name).file_size

    def read(self, name: str, size: int) -> bytes:
        member = self._member(name)
        if member.compress_type not in _PACKED or member.flag_bits & _ENCRYPTED:
            _unreadable(self.path, name, "it is encrypted, or packed in an unknown way")
        try:
            with self.archive.open(member) as file:
                return file.read(size)
        except _ZIP_ERRORS as error:
            _unreadable(self.path, name, _first_line(error))
        except MemoryError:
            _unreadable(self.path, name, f"its {size} bytes do not fit into memory")

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self.archive.getinfo(name)
        except KeyError:
            _unreadable(self.path, name, "there is no such file in it")


def _unreadable(path: Path, name: str, reason: str | None) -> NoReturn:
    raise ArtifactError(f"{path}: {name} cannot be read: {reason}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def write_artifact(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write a folder, or a zip file if ``path`` ends in ``.zip``.

    An artifact that is there already stays as it is until the new one is complete.

    Raises:
        ArtifactError: the place cannot be written, or is a folder of other files.
    """
    facts = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }
    full = replace(manifest, files=facts)
    everything = {**files, MANIFEST: manifest_text(full).encode()}
    try:
        (_write_zip if path.suffix == ".zip" else _write_folder)(path, everything)
    except OSError as error:
        raise ArtifactError(f"the artifact cannot be written to {path}: {error}") from None
    return full


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    try:
        with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Replaces the files of an artifact that is there, and no others; the manifest comes last."""
    path.mkdir(parents=True, exist_ok=True)
    old = _names_of_artifact(path)
    with TemporaryDirectory(dir=path, prefix=".new-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        for name in old:
            (path / name).unlink(missing_ok=True)
        for name in files:
            (Path(folder) / name).replace(path / name)


def _names_of_artifact(path: Path) -> tuple[str, ...]:
    """The files of the artifact in a folder; none if it is empty."""
    if not any(path.iterdir()):
        return ()
    if not (path / MANIFEST).exists():
        raise ArtifactError(f"{path} is a folder of other files; name one for the artifact")
    try:
        return (MANIFEST, *Artifact(path).manifest.files)
    except ArtifactError as error:
        raise ArtifactError(
            f"{path} is not replaced: remove it, or name another folder ({error})"
        ) from None
