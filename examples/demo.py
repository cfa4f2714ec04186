"""Train a small network on handwritten digits: in a process, from C, and on a cluster.

    python examples/demo.py

It leaves artifacts, C programs and timelines in build/demo.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import digits
import launched
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import graphc as gx

BATCH = 64
HERE = Path(__file__).parent
console = Console(highlight=False)


def main() -> None:
    """The whole demo, and its account."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=HERE.parent / "build/demo")
    parser.add_argument("--cluster", action=argparse.BooleanOptionalAction, default=True,
                        help="go on with jobs of several processes over MPI")  # fmt: skip
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    begin = time.perf_counter()
    train, test = digits.load()
    network = digits.build()
    with gx.Session() as session:
        session.run(gx.global_variables_initializer())
        compile_training(network, session, options.output)
        title("Train")
        losses = train_network(network, session, train, options.epochs)
        title("Compile")
        compile_network(network, session, options.output)
        logits = session.run(network.logits, {network.images: test.images})
        title("Accuracy")
        for name, data in (("train", train), ("test", test)):
            right = session.run(
                network.accuracy, {network.images: data.images, network.labels: data.labels}
            )
            line(f"{name} images", f"{right:.2%} of {len(data.labels):,} are recognised")
    title("Run from C, without Python")
    run_from_c(options.output, train, test, losses, logits)
    if options.cluster:
        title("Train on a cluster, over MPI")
        for name, account in launched.launched(options.output):
            line(name, account)
        line("timelines", f"{shown(options.output)}/*.timeline.json, for https://ui.perfetto.dev")
    line("everything took", f"{time.perf_counter() - begin:.1f} s")


def compile_training(network: digits.Network, session: gx.Session, output: Path) -> None:
    """The training step as an artifact, with the variables as they are before training."""
    feeds = [network.images, network.labels]
    gx.compile(
        [network.step, network.loss], feeds, output / "train.graphc", session=session, name="train"
    )


def train_network(
    network: digits.Network, session: gx.Session, data: digits.Data, epochs: int
) -> list[np.float32]:
    """Train on whole batches in a fixed order; the loss of each step."""
    start = time.perf_counter()
    step = session.make_callable([network.step, network.loss], [network.images, network.labels])
    compiled = time.perf_counter() - start
    batches = len(data.labels) // BATCH
    losses, times = [], []
    for _ in watched(range(epochs), lambda: losses[-1]):
        for first in range(0, batches * BATCH, BATCH):
            now = time.perf_counter()
            chosen = slice(first, first + BATCH)
            losses.append(step(data.images[chosen], data.labels[chosen])[1])
            times.append(time.perf_counter() - now)
    widths = (digits.PIXELS, *digits.HIDDEN, digits.CLASSES)
    line("network", f"{'-'.join(map(str, widths))}, SGD with momentum, batches of {BATCH}")
    line("compilation", f"{compiled:.2f} s, gradients and optimizer included")
    line("training", f"{len(times):,} steps in {sum(times):.2f} s")
    line("one step", f"{1e6 * median(times):.0f} us (median)")
    line("loss", f"{losses[0]:.4f} at first, {losses[-1]:.4f} at last")
    return losses


def watched(epochs: Sequence[int], loss: Callable[[], np.float32]) -> Iterator[int]:
    """``epochs`` with a bar that shows how far it is, where a person watches."""
    columns = (
        TextColumn("  epoch"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(epochs))
        for epoch in epochs:
            yield epoch
            bar.update(task, advance=1, description=f"loss {loss():.4f}")


def compile_network(network: digits.Network, session: gx.Session, output: Path) -> None:
    """The trained network as an artifact, its variables constants."""
    path = output / "digits.graphc"
    start = time.perf_counter()
    manifest = gx.compile(network.logits, [network.images], path, session=session, name="digits")
    sizes = {name: facts["bytes"] for name, facts in manifest.files.items()}
    target = manifest.targets[0]
    line("artifact", f"{shown(path)}, in {time.perf_counter() - start:.2f} s")
    line("machine code", f"{sizes[target.object] / 1024:.1f} KiB for {target.cpu}")
    line("weights", f"{sizes[target.constants] / 1024:.1f} KiB")


def run_from_c(
    output: Path,
    train: digits.Data,
    test: digits.Data,
    losses: Sequence[np.float32],
    logits: np.ndarray,
) -> None:
    """Build and run the two programs in examples/c, or say how, and tell what they found."""
    write_data(output / "test.bin", test, logits)
    write_data(output / "train.bin", train, np.array(losses, np.float32))
    programs = (
        ("digits", ["digits.graphc", "test.bin", "2"]),
        ("train", ["train.graphc", "train.bin", str(len(losses))]),
    )
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        console.print("  There is no C compiler here. With one, in", shown(output), "run:")
        for name, arguments in programs:
            console.print("   ", *build_command("cc", name), soft_wrap=True)
            console.print("   ", f"./{name}", *arguments, soft_wrap=True)
        return
    found: dict[str, str] = {}
    for name, arguments in programs:
        subprocess.run(build_command(compiler, name), cwd=output, check=True)
        done = subprocess.run(
            [f"./{name}", *arguments], cwd=output, check=False, capture_output=True, text=True
        )
        if done.returncode not in (0, 2):
            raise SystemExit(f"{name} failed: {done.stderr}")
        found |= dict(row.split(" ", 1) for row in done.stdout.splitlines())
    report_c(found, len(test.labels), len(losses))


def report_c(found: dict[str, str], images: int, steps: int) -> None:
    """What the C programs printed, in words."""
    bits = {"equal": "the same bits as in Python", "DIFFERENT": "NOT the bits of Python"}
    line("accuracy", f"{float(found['accuracy']):.2%} of {images} test images")
    line("logits", bits[found["logits"]])
    line("all test images", f"{found['batch_us']} us with 2 threads")
    line("one image", f"{found['image_us']} us")
    line("training", f"{steps:,} steps, {found['step_us']} us each on one thread")
    line("losses", bits[found["losses"]])
    if "DIFFERENT" in found.values():
        raise SystemExit("C and Python disagree: this is a bug of graphc")


def build_command(compiler: str, name: str) -> list[str]:
    """How a program is built in the folder of its artifact, which has the same name."""
    artifact = f"{name}.graphc"
    objects = [f"{artifact}/{part}-host.o" for part in (name, "pool")]
    source = str((HERE / "c" / f"{name}.c").resolve())
    return [
        compiler,
        "-std=gnu11",
        "-O2",
        "-I",
        artifact,
        source,
        *objects,
        "-lpthread",
        "-o",
        name,
    ]


def write_data(path: Path, data: digits.Data, expected: np.ndarray) -> None:
    """The format that the C programs read."""
    parts = (np.int64(len(data.labels)), data.images, data.labels, expected)
    path.write_bytes(b"".join(part.tobytes() for part in parts))


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    here = Path.cwd()
    return str(path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path)


def title(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def line(name: str, value: str) -> None:
    console.print(f"  {name:<16} {value}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
