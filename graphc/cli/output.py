"""How commands print: plain aligned text, or tables where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

_KIB = 1024


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print ``rows`` under ``headers``; numbers end at the right edge of their column."""
    if sys.stdout.isatty():
        _rich_table(headers, rows)
        return
    texts = [list(headers), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(headers)
    for line in texts:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and what belongs to them, beside each other."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


def heading(text: str) -> None:
    """Print what comes next, after an empty line."""
    click.echo()
    click.echo(click.style(text, bold=True))


def bytes_text(count: int) -> str:
    """``512 B``, ``1.5 KiB``, ``3.0 MiB``."""
    if count < _KIB:
        return f"{count} B"
    size, units = count / _KIB, ["KiB", "MiB", "GiB"]
    while size >= _KIB and len(units) > 1:
        size /= _KIB
        units.pop(0)
    return f"{size:.1f} {units[0]}"


def seconds_text(seconds: float) -> str:
    """``1.25 s``, ``31.0 ms``, ``4.2 us``."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def type_text(dtype: str, shape: Sequence[object]) -> str:
    """``float32[_1, 64]``."""
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(headers)
    drawn = Table(header_style="bold", box=None, pad_edge=False)
    for name, number in zip(headers, right, strict=True):
        drawn.add_column(name, justify="right" if number else "left")
    for row in rows:
        drawn.add_row(*(escape(_text(cell)) for cell in row))
    Console().print(drawn)


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _is_number(column: Sequence[object]) -> bool:
    return all(isinstance(cell, int) for cell in column)
