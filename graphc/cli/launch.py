"""``graphc launch``: a script on every task of a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from graphc.runtime.launch import Plan

_EXAMPLE = """\b
Example:
  echo '{"ps": ["localhost"], "worker": ["localhost", "localhost"]}' > cluster.json
  graphc launch cluster.json train.py --steps 1000
"""


@click.command(
    name="launch", epilog=_EXAMPLE,
    context_settings={"allow_interspersed_args": False},
)  # fmt: skip
@click.argument("spec")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--no-prefix", is_flag=True, help="Do not mark lines of output with their task.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Stop the job if it has not ended by then; the exit code is 124.")  # fmt: skip
@click.option("--timeline", envvar="GRAPHC_TIMELINE", metavar="FILE",
              help="Write a Chrome trace of what all tasks do, for https://ui.perfetto.dev.",
              )  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the command for mpiexec, and end.")
@click.option("--mpiexec", metavar="PATH",
              help="What starts the ranks; otherwise this Python's mpiexec, or that on PATH.",
              )  # fmt: skip
@click.option("--mpi-args", default="", metavar="'OPTIONS'", help="Further options for mpiexec.")
def command(  # noqa: PLR0913, one for each option
    *,
    spec: str,
    script: str,
    arguments: tuple[str, ...],
    no_prefix: bool,
    timeout: float | None,
    timeline: str | None,
    dry_run: bool,
    mpiexec: str | None,
    mpi_args: str,
) -> int:
    """Start a job: SCRIPT on every task of the cluster in the JSON file SPEC.

    Options stand before SPEC, ARGUMENTS are the script's own. An exception in one task, or an
    exit code other than 0, ends the job with that code.
    """
    from graphc.runtime.cluster_spec import ClusterSpec
    from graphc.runtime.job import run_job
    from graphc.runtime.launch import plan
    from graphc.runtime.timeline import checked

    cluster = ClusterSpec.from_file(spec)
    try:
        options = shlex.split(mpi_args)
    except ValueError as error:
        raise click.UsageError(f"--mpi-args {mpi_args!r}: {error}") from None
    found = plan(
        cluster, script, arguments, mpiexec=mpiexec, mpi_args=options, resolve=not dry_run,
        timeline=None if timeline is None else checked(Path(timeline)),
    )  # fmt: skip
    if dry_run:
        click.echo(found)
        return 0
    _forget_timeline(found)
    status = run_job(found, prefix=not no_prefix, timeout=timeout)
    _collect_timeline(found)
    return status


def _forget_timeline(found: Plan) -> None:
    """Remove the timeline of an earlier job, and what may be left of it."""
    from graphc.runtime.timeline import part_path

    if found.timeline is not None:
        found.timeline.unlink(missing_ok=True)
        for rank in range(found.cluster.size):
            part_path(found.timeline, rank).unlink(missing_ok=True)


def _collect_timeline(found: Plan) -> None:
    """Merge what ranks recorded, unless the last one to end has done so."""
    from graphc.runtime.trace import merge

    if found.timeline is None:
        return
    missing = merge(found.timeline, [str(task) for task in found.cluster.tasks])
    if missing is None and not found.timeline.exists():
        click.echo("graphc: there is no timeline: no task made a server", err=True)
    elif missing:
        click.echo(f"graphc: the timeline lacks {', '.join(missing)}", err=True)
