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

Reading trusts nothing: every file is held against its checksum, the manifest against its own and
against what a manifest must be (``schema``), no more is read than the manifest says, and no part
is ever executed or unpickled while it is read.
"""

from graphc.artifact.files import Artifact, write_artifact
from graphc.artifact.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    Port,
    Rule,
    TargetFiles,
    manifest_text,
    read_manifest,
)
from graphc.artifact.schema import check_structure, is_c_name

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Artifact",
    "Manifest",
    "Port",
    "Rule",
    "TargetFiles",
    "check_structure",
    "is_c_name",
    "manifest_text",
    "read_manifest",
    "write_artifact",
]
