"""The deployable artifact: its format, and reading and writing it safely.

An artifact is a folder, or a zip file of one:

    manifest.json               names, types, sizes, targets, versions, checksums
    graph.txt                   the graph before passes: it can be compiled again
    graph-constants.safetensors its large constants, if it has any
    variables.safetensors       the values of all variables, those that became constants too
    NAME.h                      the C interface, with what each status word means
    NAME-<target>.o             the compiled program
    pool-<target>.o             an optional thread pool for it
    constants-<target>.bin      constants, packed for the target, to be mapped at a multiple of 64
    libNAME-<target>.so         both objects linked, where a linker was at hand

Reading trusts nothing: every file is held against its checksum, the manifest against its own, and
no part is ever executed or unpickled while it is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from graphc.ir.errors import ArtifactError
from graphc.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Port:
    """An input, an output or a variable: its shape as texts of dimensions (``n``, ``2 * n``)."""

    name: str
    dtype: str
    shape: tuple[str, ...]


@dataclass(frozen=True)
class TargetFiles:
    """What was compiled for one target; ``features`` are what its machine must have."""

    name: str
    triple: str
    cpu: str
    features: str
    object: str
    pool: str
    constants: str
    library: str | None = None


@dataclass(frozen=True)
class Rule:
    """What sizes must fulfil: ``left == right``, or ``left >= right``."""

    left: str
    right: str
    at_least: bool
    message: str


@dataclass(frozen=True)
class Manifest:
    """Everything about an artifact that is not code or data."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    variables: tuple[Port, ...]
    dims: tuple[str, ...]
    """The symbols whose values the ``dims`` argument holds, in order."""
    rules: tuple[Rule, ...]
    errors: tuple[str, ...]
    """The message of error 1, 2, ...: the upper 16 bits of a status word."""
    targets: tuple[TargetFiles, ...]
    structure: Any = None
    """The nesting in which ``gx.load``'s model gives its outputs."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each file: ``bytes`` and ``sha256``."""
    format: int = FORMAT
    graphc: str = __version__

    def target(self, name: str) -> TargetFiles:
        """The files for one target.

        Raises:
            ArtifactError: it was not compiled for that target.
        """
        for target in self.targets:
            if target.name == name:
                return target
        known = ", ".join(t.name for t in self.targets)
        raise ArtifactError(f"the artifact has no code for {name}; it was compiled for {known}")


class Artifact:
    """An artifact that was opened; files are checked when they are read."""

    def __init__(self, path: Path) -> None:
        """Open a folder or a zip file.

        Raises:
            ArtifactError: there is none, or its manifest is damaged or of another version.
        """
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except zipfile.BadZipFile:
                raise ArtifactError(f"{path} is neither a folder nor a zip file") from None
        elif not path.is_dir():
            raise ArtifactError(f"there is no artifact at {path}: no such file or folder")
        self.manifest = read_manifest(self._raw(MANIFEST), path)

    def read(self, name: str) -> bytes:
        """The contents of a file.

        Raises:
            ArtifactError: the file is missing, or is not the one that was written.
        """
        facts = self.manifest.files.get(name)
        if facts is None:
            raise ArtifactError(f"{self.path}: the manifest names no file {name!r}")
        data = self._raw(name)
        if len(data) != facts["bytes"]:
            raise ArtifactError(
                f"{self.path}: {name} has {len(data)} bytes instead of {facts['bytes']}: "
                "it was truncated or replaced; copy the artifact again"
            )
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ArtifactError(
                f"{self.path}: {name} does not match its checksum: it was changed after it was "
                "written; copy the artifact again"
            )
        return data

    def _raw(self, name: str) -> bytes:
        try:
            return self._zip.read(name) if self._zip else (self.path / name).read_bytes()
        except (KeyError, OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ArtifactError(f"{self.path}: {name} cannot be read: {error}") from None


def write_artifact(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write a folder, or a zip file if ``path`` ends in ``.zip``; the manifest comes last.

    Raises:
        ArtifactError: the place cannot be written.
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
    """It appears complete, by a rename."""
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
    """Replaces the files of an artifact that is there, and no others."""
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        if not (path / MANIFEST).exists():
            raise ArtifactError(f"{path} is a folder of other files; name one for the artifact")
        old = read_manifest((path / MANIFEST).read_bytes(), path)
        for name in (MANIFEST, *old.files):
            (path / name).unlink(missing_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


def manifest_text(manifest: Manifest) -> str:
    """The manifest as JSON, with a checksum of itself."""
    content = asdict(manifest)
    return json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n"


def read_manifest(data: bytes, path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ArtifactError: it is damaged, was changed, or is of a version that cannot be read.
    """
    try:
        content = json.loads(data)
        version = content["format"]
        checksum = content.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: {MANIFEST} is damaged: {error}") from None
    if version != FORMAT:
        raise ArtifactError(
            f"{path} is an artifact of format {version}; this graphc reads format {FORMAT}: "
            "compile it again, or install the graphc that wrote it"
        )
    if checksum != _checksum(content):
        raise ArtifactError(f"{path}: {MANIFEST} does not match its checksum: it was changed")
    try:
        return _manifest(content)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path}: {MANIFEST} is damaged: {error}") from None


def _manifest(content: dict[str, Any]) -> Manifest:
    for name in ("inputs", "outputs", "variables"):
        content[name] = tuple(Port(p["name"], p["dtype"], tuple(p["shape"])) for p in content[name])
    content["rules"] = tuple(Rule(**r) for r in content["rules"])
    content["targets"] = tuple(TargetFiles(**t) for t in content["targets"])
    for name in ("dims", "errors"):
        content[name] = tuple(content[name])
    for name, facts in content["files"].items():
        if Path(name).name != name or not {"bytes", "sha256"} <= facts.keys():
            raise ValueError(f"{name!r} is no file of an artifact")
    return Manifest(**content)


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
