"""The ``graphc`` command.

A command is one module here, imported when it is asked for. What goes wrong is one line on
stderr and exit code 2; ``graphc --traceback COMMAND ...`` shows where it was raised.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from graphc.ir.errors import GraphcError
from graphc.version import __version__

__all__ = ["commands", "main"]

_COMMANDS = {
    "compile": "Compile a model into an artifact.",
    "doctor": "Tell what this machine has, and what graphc makes of it.",
    "inspect": "Show what is in an artifact, or what becomes of a graph.",
    "launch": "Start a job: SCRIPT on every task of the cluster in the JSON file SPEC.",
    "run": "Run an artifact on arrays.",
}
"""Each command's module and, so that the list is printed without importing it, its first line."""

_BAD_INPUT = 2
_INTERRUPTED = 130


class _Commands(click.Group):
    """Finds commands by name, and ends every error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = import_module(f"graphc.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params["traceback"]:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `graphc inspect ... | head -1` has seen enough: click ends it
            raise
        except (GraphcError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException(f"there is not enough memory: {error}") from error


def _one_line(error: click.ClickException) -> str:
    lines = (line.strip() for line in error.format_message().splitlines())
    line = "; ".join(filter(None, lines))
    if isinstance(error, click.UsageError) and error.ctx is not None:
        line += f" ({error.ctx.command_path} --help tells more)"
    return line


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"graphc: warning: {message}", err=True)


_EXAMPLE = """\b
Example:
  graphc compile model.py:build --output model.graphc
  graphc run model.graphc --random --repeat 100
"""


@click.group(
    cls=_Commands, epilog=_EXAMPLE, no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.version_option(__version__, prog_name="graphc")
@click.option("--traceback", is_flag=True, help="Show where an error was raised.")
def commands(traceback: bool) -> None:
    """A compiler for dataflow graphs."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line on ``arguments``, by default those of the process, and exit."""
    warnings.showwarning = _show_warning
    try:
        status = commands.main(arguments, prog_name="graphc", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"graphc: {_one_line(error)}", err=True)
        sys.exit(_BAD_INPUT)
    except click.Abort:
        click.echo("graphc: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)
