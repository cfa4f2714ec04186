"""The manifest: everything about an artifact that is not code or data, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from graphc.artifact.schema import check_content, dim_of
from graphc.ir.dtypes import as_dtype
from graphc.ir.errors import ArtifactError
from graphc.ir.types import Constraint, TensorType
from graphc.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Port:
    """An input, an output or a variable: its shape as texts of dimensions (``n``, ``2 * n``)."""

    name: str
    dtype: str
    shape: tuple[str, ...]

    @property
    def type(self) -> TensorType:
        return TensorType(as_dtype(self.dtype), tuple(map(dim_of, self.shape)))


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

    @property
    def constraint(self) -> Constraint:
        return Constraint(dim_of(self.left), dim_of(self.right), self.message, self.at_least)


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
        content = json.loads(data, parse_constant=_refuse_constant)
        version = content["format"]
        checksum = content.pop("checksum")
        expected = _checksum(content)
    except KeyError as error:
        _damaged(path, f"it has no {error}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        _damaged(path, str(error))
    if version != FORMAT:
        raise ArtifactError(
            f"{path} is an artifact of format {ascii(version)[:40]}; this graphc reads format "
            f"{FORMAT}: compile it again, or install the graphc that wrote it"
        )
    if checksum != expected:
        raise ArtifactError(
            f"{path}: {MANIFEST} does not match its checksum: it was changed after it was "
            "written; copy the artifact again"
        )
    try:
        check_content(content)
    except ValueError as error:
        _damaged(path, str(error))
    return _manifest(content)


def _damaged(path: Path, reason: str) -> NoReturn:
    message = f"{path}: {MANIFEST} is damaged: {reason}; copy the artifact again"
    raise ArtifactError(message) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of a manifest")


def _manifest(content: dict[str, Any]) -> Manifest:
    """The manifest of a content that was checked."""
    ports = {
        name: tuple(Port(p["name"], p["dtype"], tuple(p["shape"])) for p in content[name])
        for name in ("inputs", "outputs", "variables")
    }
    lists = {name: tuple(content[name]) for name in ("dims", "errors")}
    rules = tuple(Rule(**r) for r in content["rules"])
    targets = tuple(TargetFiles(**t) for t in content["targets"])
    return Manifest(**{**content, **ports, **lists, "rules": rules, "targets": targets})


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
