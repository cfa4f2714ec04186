"""``graphc inspect``: what is in an artifact, and what the passes make of a graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from graphc.cli.output import bytes_text, heading, table, type_text
from graphc.cli.source import TEXT_SUFFIX, is_python, read_extract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphc.artifact import Artifact, Manifest, Port
    from graphc.ir.graph import Graph

_EXAMPLE = """\b
Example:
  graphc inspect model.graphc
  graphc inspect model.py:build --passes
  graphc inspect model.graphc --graph
"""


@click.command(name="inspect", epilog=_EXAMPLE)
@click.argument("source")
@click.option("--passes", is_flag=True, help="Show the graph after each pass, and the times.")
@click.option("--graph", "text", is_flag=True, help="Show the text of the graph.")
@click.option("--target", default="host", show_default=True, help="What --passes optimise for.")
@click.option("--without", "disabled", multiple=True, help="A pass to leave out of --passes.")
def command(source: str, passes: bool, text: bool, target: str, disabled: tuple[str, ...]) -> None:
    """Show what SOURCE is: an artifact, the text of a graph, or a function that builds one.

    Of an artifact: its interface, targets and files, each held against its checksum. Of a graph:
    its inputs and outputs, and how many nodes of each op it has.
    """
    if not passes and not text and not is_python(source) and not source.endswith(TEXT_SUFFIX):
        from graphc.artifact import Artifact

        _show_artifact(Artifact(Path(source)))
        return
    graph = read_extract(source).graph
    if passes:
        _show_passes(graph, target, frozenset(disabled))
    elif text:
        from graphc.ir.text import print_graph

        click.echo(print_graph(graph), nl=False)
    else:
        _show_graph(graph)


def _show_artifact(artifact: Artifact) -> None:
    manifest = artifact.manifest
    for name in manifest.files:
        artifact.read(name)
    total = sum(facts["bytes"] for facts in manifest.files.values())
    click.echo(
        f"{artifact.path}: {manifest.name}, {bytes_text(total)}, format {manifest.format}, "
        f"by graphc {manifest.graphc}"
    )
    _show_interface(manifest)
    heading("targets")
    table(("name", "triple", "processor", "needs"), [
        (t.name, t.triple, t.cpu, f"{t.features.count('+')} features") for t in manifest.targets
    ])  # fmt: skip
    heading("files")
    rows = [(name, f["bytes"], f["sha256"][:16]) for name, f in manifest.files.items()]
    table(("name", "bytes", "SHA-256"), rows)
    click.echo("All files match their checksums.")


def _show_interface(manifest: Manifest) -> None:
    for title in ("inputs", "outputs", "variables"):
        ports: Sequence[Port] = getattr(manifest, title)
        if ports:
            heading(title)
            table(("name", "type"), [(p.name, type_text(p.dtype, p.shape)) for p in ports])
    if manifest.rules:
        heading("sizes")
        for rule in manifest.rules:
            click.echo(f"{rule.left} {'>=' if rule.at_least else '=='} {rule.right}")
    if manifest.errors:
        heading("errors in data")
        for number, message in enumerate(manifest.errors, 1):
            click.echo(f"{number}: {message}")


def _show_graph(graph: Graph) -> None:
    for title, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if tensors:
            heading(title)
            table(
                ("name", "type"),
                [(t.node.name, type_text(t.dtype.name, t.shape)) for t in tensors],
            )
    heading(f"{len(graph):,} nodes")
    counts = Counter(node.op.name for node in graph.nodes)
    table(("op", "nodes"), counts.most_common())


def _show_passes(graph: Graph, target: str, disabled: frozenset[str]) -> None:
    from graphc.backends.cpu.targets import target_named
    from graphc.passes.pipeline import PassContext, run_pipeline, timings_text

    with TemporaryDirectory() as folder:
        context = PassContext(target_named(target), dump=folder)
        run_pipeline(graph, context, disabled)
        for path in sorted(Path(folder).iterdir()):
            click.echo(f"== {path.stem}")
            click.echo(path.read_text("utf-8"))
    click.echo(timings_text(context.records))
