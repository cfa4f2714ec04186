"""``graphc compile``: from a graph to an artifact."""

from __future__ import annotations

import time
from pathlib import Path

import click

from graphc.artifact import Artifact, Manifest
from graphc.cli.output import bytes_text, seconds_text, table
from graphc.cli.source import TEXT_SUFFIX, is_python, read_deployable

_EXAMPLE = """\b
Example:
  graphc compile model.py:build --output model.graphc
  graphc compile model.graphc --target aarch64 --output model-arm.zip
  graphc compile graph.txt --variables weights.safetensors -o model.graphc
"""


@click.command(name="compile", epilog=_EXAMPLE)
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder, or .zip file, to write."
)
@click.option(
    "-t", "--target", "targets", multiple=True, default=("host",), show_default=True,
    help="host, x86-64-v2, x86-64-v3, x86-64-v4 or aarch64; may be given several times.",
)  # fmt: skip
@click.option("--name", help="Name of the C functions; otherwise that of the source.")
@click.option(
    "--variables", type=click.Path(path_type=Path), help="Their values: a .safetensors file."
)
@click.option(
    "--keep-variables", is_flag=True,
    help="Leave variables that are only read as arguments, instead of constants.",
)  # fmt: skip
@click.option("--without", "disabled", multiple=True, help="A pass to leave out.")
@click.option("--dump", help="Folder for the graph's text before and after each pass.")
def command(
    source: str,
    output: Path | None,
    targets: tuple[str, ...],
    name: str | None,
    variables: Path | None,
    keep_variables: bool,
    disabled: tuple[str, ...],
    dump: str | None,
) -> None:
    """Compile SOURCE into an artifact: object files, a C header, weights and a manifest.

    SOURCE is a function in a Python file that builds a graph and returns (fetches, feeds), or a
    dict of "fetches", "feeds" and "session", whose variables' values are compiled in; or the text
    of a graph (.txt; constants and variables are looked for beside it); or an artifact, to be
    compiled for another machine.
    """
    from graphc.compiler import CompileOptions
    from graphc.runtime.deploy import deploy

    start = time.perf_counter()
    path, c_name = output or _output(source), name or _c_name(source)
    deployable = read_deployable(source, variables)
    manifest = deploy(
        deployable, path, name=c_name, targets=targets, freeze_variables=not keep_variables,
        options=CompileOptions(disabled_passes=frozenset(disabled), dump=dump),
    )  # fmt: skip
    click.echo(f"{path}: compiled in {seconds_text(time.perf_counter() - start)}")
    _show(manifest)


def _output(source: str) -> Path:
    if not is_python(source) and not source.endswith(TEXT_SUFFIX):
        raise click.UsageError("an artifact that is compiled again needs an --output")
    return Path(f"{_stem(source)}.graphc")


def _stem(source: str) -> str:
    """The file's name, or its folder's for the text of a graph, which is always called so."""
    path = Path(source.rpartition(":")[0] if is_python(source) else source)
    if path.suffix == TEXT_SUFFIX and path.stem == "graph":
        return path.resolve().parent.stem
    return path.stem


def _c_name(source: str) -> str:
    """An artifact's own name, or the source's with underscores for what is not allowed in C."""
    if not is_python(source) and not source.endswith(TEXT_SUFFIX):
        return Artifact(Path(source)).manifest.name
    stem = _stem(source)
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)
    return name if name[:1].isalpha() else f"model_{name}"


def _show(manifest: Manifest) -> None:
    sizes = {name: facts["bytes"] for name, facts in manifest.files.items()}
    rows = [
        (t.name, t.triple, bytes_text(sizes[t.object]), bytes_text(sizes[t.constants]),
         t.library or "none: no linker for it here")
        for t in manifest.targets
    ]  # fmt: skip
    table(("target", "triple", "code", "constants", "library"), rows)
