"""``graphc run``: an artifact on arrays from files, or on random ones."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import click

from graphc.cli.output import bytes_text, heading, seconds_text, table, type_text

if TYPE_CHECKING:
    from graphc.artifact import Port
    from graphc.runtime.model import Model

_DEFAULT_SIZE = 32
_LARGEST_SIZE = 1 << 40

_EXAMPLE = """\b
Example:
  graphc run model.graphc images.npy --output logits.npy
  graphc run model.graphc images=images.npy --repeat 100
  graphc run model.graphc --random --size 64 --repeat 1000
"""


@click.command(name="run", epilog=_EXAMPLE)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1)
@click.option("--random", is_flag=True, help="Make up the inputs that are not given.")
@click.option("--size", "sizes", multiple=True, metavar="[NAME=]N",
              help=f"With --random: an open size; else {_DEFAULT_SIZE}.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write outputs to a .npz file, or one output to a .npy file.")  # fmt: skip
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1),
              help="Run so often, and tell the median time.")  # fmt: skip
@click.option("--target", help="Which of the artifact's targets; otherwise the best for here.")
@click.option("--save-variables", type=click.Path(path_type=Path),
              help="Write the variables after the last run to a .safetensors file.")  # fmt: skip
def command(
    *,
    artifact: Path,
    inputs: tuple[str, ...],
    random: bool,
    sizes: tuple[str, ...],
    output: Path | None,
    repeat: int,
    target: str | None,
    save_variables: Path | None,
) -> None:
    """Run ARTIFACT on INPUTS: .npy files in the order of its inputs, NAME=FILE.npy, or .npz files.

    Each run of a training step goes on from the variables that the one before left.
    """
    from graphc.runtime.model import load

    model = load(artifact, target)
    if output is not None:
        _refuse_form(output, model.outputs)
    values = read_inputs(model.inputs, inputs)
    if random:
        values |= _random(model, values, sizes)
    elif sizes:
        raise click.UsageError("--size is for the inputs that --random makes")
    _refuse_missing(model, values)
    times, results = _timed(model, values, repeat)
    _report(model, values, times, results)
    if output is not None:
        _write(output, model.outputs, results)
    if save_variables is not None:
        from graphc.runtime.deployable import bytes_of

        save_variables.write_bytes(bytes_of(model.variables))


def read_inputs(ports: Sequence[Port], inputs: Sequence[str]) -> dict[str, Any]:
    """Arrays by the name of their input.

    Raises:
        ClickException: a file that cannot be read, or more of them than there are inputs.
    """
    values: dict[str, Any] = {}
    for text in inputs:
        name, given, file = text.rpartition("=")
        found = _load(Path(file))
        if isinstance(found, Mapping):
            values |= found
        elif given:
            values[name] = found
        else:
            free = [p.name for p in ports if p.name not in values]
            if not free:
                raise click.ClickException(f"{file}: all inputs have values already")
            values[free[0]] = found
    return values


def _load(path: Path) -> Any:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        return found if isinstance(found, np.ndarray) else dict(found)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is no .npy or .npz file of numbers"
        raise click.ClickException(f"{path} cannot be read: {reason}") from None


def _random(model: Model, values: Mapping[str, Any], sizes: Sequence[str]) -> dict[str, Any]:
    """Arrays for the inputs without one: standard normal, or zeros and ones."""
    import numpy as np

    from graphc.ir.dtypes import as_dtype

    generator = np.random.default_rng(0)
    shapes = model.input_shapes(_sizes(sizes, model.manifest.dims))
    made = {}
    for port in model.inputs:
        if port.name in values:
            continue
        dtype, shape = as_dtype(port.dtype), shapes[port.name]
        draw = generator.standard_normal if dtype.is_float else _zeros_and_ones(generator)
        made[port.name] = np.asarray(draw(size=shape)).astype(dtype.numpy)
    return made


def _zeros_and_ones(generator: Any) -> Any:
    return partial(generator.integers, 2)


class _Sizes(dict[str, int]):
    """Sizes by name; what has none of its own has the default."""

    def __init__(self, default: int) -> None:
        self.default = default

    def __missing__(self, name: str) -> int:
        return self.default


def _sizes(texts: Sequence[str], names: Sequence[str]) -> _Sizes:
    sizes = _Sizes(_DEFAULT_SIZE)
    for text in texts:
        name, _, number = text.rpartition("=")
        if not number.isdecimal() or int(number) > _LARGEST_SIZE:
            raise click.UsageError(f"--size {text}: {number!r} is no size")
        if name and name not in names:
            there_are = ", ".join(names) or "none"
            raise click.UsageError(
                f"--size {text}: no open size is called so; there are: {there_are}"
            )
        if name:
            sizes[name] = int(number)
        else:
            sizes.default = int(number)
    return sizes


def _refuse_missing(model: Model, values: Mapping[str, Any]) -> None:
    names = {port.name for port in model.inputs}
    if missing := sorted(names - values.keys()):
        raise click.ClickException(
            f"no value for {', '.join(missing)}: give a file for each input, or --random"
        )
    if unknown := sorted(values.keys() - names):
        takes = ", ".join(port.name for port in model.inputs)
        raise click.ClickException(f"there is no input {unknown[0]!r}; there are: {takes}")


def _timed(
    model: Model, values: Mapping[str, Any], repeat: int
) -> tuple[list[float], Sequence[Any]]:
    times: list[float] = []
    results: Sequence[Any] = ()
    for _ in range(repeat):
        start = time.perf_counter()
        results = model.run(values)
        times.append(time.perf_counter() - start)
    return times, results


def _report(
    model: Model, values: Mapping[str, Any], times: Sequence[float], results: Sequence[Any]
) -> None:
    rows = [(p.name, _described(values[p.name])) for p in model.inputs]
    heading("inputs")
    table(("name", "value"), rows)
    heading("outputs")
    table(("name", "value"), [
        (p.name, _described(value)) for p, value in zip(model.outputs, results, strict=True)
    ])  # fmt: skip
    heading("time")
    click.echo(f"first run {seconds_text(times[0])}", nl=len(times) < 2)
    if len(times) > 1:
        again = times[1:]
        click.echo(
            f", then {len(again)} more: median {seconds_text(median(again))}, "
            f"fastest {seconds_text(min(again))}"
        )
    workspace = bytes_text(model.workspace_bytes(values))
    click.echo(f"workspace {workspace}; target {model.target.name}")


def _described(value: Any) -> str:
    """Type, and the range of the numbers."""
    kind = type_text(str(value.dtype), value.shape)
    if value.size == 0:
        return kind
    if value.size == 1:
        return f"{kind} {value.reshape(-1)[0]}"
    low, high = value.min(), value.max()
    return f"{kind} from {low:.6g} to {high:.6g}"


def _refuse_form(path: Path, ports: Sequence[Port]) -> None:
    """Before anything is run that would be lost."""
    if path.suffix == ".npz" or (path.suffix == ".npy" and len(ports) == 1):
        return
    forms = "a .npz or a .npy file" if len(ports) == 1 else "a .npz file"
    raise click.ClickException(f"{path}: {len(ports)} outputs go into {forms}")


def _write(path: Path, ports: Sequence[Port], results: Sequence[Any]) -> None:
    """As ``numpy.savez``, which takes names as arguments, and so cannot take its own."""
    import numpy as np

    if path.suffix == ".npy":
        np.save(path, results[0])
        return
    with ZipFile(path, "w") as archive:
        for port, value in zip(ports, results, strict=True):
            with archive.open(f"{port.name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, value, allow_pickle=False)
