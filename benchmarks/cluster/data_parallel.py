"""What a data-parallel step costs beyond its arithmetic and one allreduce, and beside PyTorch DDP.

    graphc launch cluster.json benchmarks/cluster/data_parallel.py -- small large --passes 9

Two workers, {"worker": 2}, one thread each; both feed half of a batch. *local* is the same step on
half of the batch in a session of one process, while the other core does the same; *allreduce* is
MPI's own of the gradients' bytes. DDP (gloo) runs in the same two processes, if PyTorch is there.
All take turns; ratios are medians over the passes, with a 95% bootstrap interval.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from mpi4py import MPI
from rounds import in_turns, microseconds

import graphc as gx

MODELS = {
    "small": ((784, 256, 128, 10), 64, 100),
    "large": ((784, 2048, 2048, 10), 256, 5),
}
"""Sizes of layers, rows of the whole batch, and how many steps a pass takes."""
RATE = 0.01


def network(name: str, sizes: Sequence[int]) -> tuple[gx.Tensor, gx.Tensor, gx.Node, gx.Tensor]:
    """A multilayer perceptron: images, labels, a step of gradient descent, and the loss."""
    images = gx.placeholder(gx.float32, [None, sizes[0]], name="images")
    labels = gx.placeholder(gx.int32, [None], name="labels")
    values = images
    for layer, (before, after) in enumerate(pairwise(sizes)):
        weights = gx.get_variable(f"{name}/w{layer}", [before, after])
        bias = gx.get_variable(f"{name}/b{layer}", [after], initializer=gx.zeros_initializer())
        values = gx.matmul(values, weights) + bias
        values = gx.nn.relu(values) if layer < len(sizes) - 2 else values
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=values)
    loss = gx.reduce_mean(losses)
    return images, labels, gx.train.GradientDescentOptimizer(RATE).minimize(loss), loss


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    """A measurement: ``call`` so many times, begun by both ranks together."""

    def measure(count: int) -> None:
        MPI.COMM_WORLD.Barrier()
        for _ in range(count):
            call()

    return measure


def torch_step(sizes: Sequence[int], images: np.ndarray, labels: np.ndarray) -> Callable | None:
    """A step of the same network under DistributedDataParallel; None without PyTorch."""
    try:
        import torch
        from torch import distributed, nn
    except ImportError:
        return None
    torch.set_num_threads(1)
    if not distributed.is_initialized():
        folder = MPI.COMM_WORLD.bcast(tempfile.mkdtemp() if MPI.COMM_WORLD.rank == 0 else None)
        distributed.init_process_group(
            "gloo", f"file://{Path(folder) / 'meeting'}", rank=MPI.COMM_WORLD.rank, world_size=2
        )
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers[:-1]))
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    x, y = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def interval(ratios: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))


def show(name: str, ratios: np.ndarray) -> None:
    low, high = interval(ratios)
    print(f"{name:44}{np.median(ratios):10.2f} [{low:.2f}, {high:.2f}]")


def compare(server: gx.train.Server, name: str, passes: int, strategy: object) -> None:
    """Measure one model, and print what it took on rank 0."""
    gx.reset_default_graph()
    sizes, rows, count = MODELS[name]
    images, labels, step, _ = network(name, sizes)
    rng = np.random.default_rng(MPI.COMM_WORLD.rank)
    x = rng.normal(size=(rows // 2, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], rows // 2).astype(np.int32)
    elements = sum((a + 1) * b for a, b in pairwise(sizes))
    gradients = np.zeros(elements, np.float32)
    with gx.Session() as local, gx.Session(server.target, strategy=strategy) as shared:
        alone, together = (s.make_callable(step, [images, labels]) for s in (local, shared))
        measured = {
            "data-parallel step": repeated(lambda: together(x, y)),
            "local step on half of the batch": repeated(lambda: alone(x, y)),
            "MPI Allreduce of the gradients": repeated(
                lambda: MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, gradients)
            ),
        }
        if torch := torch_step(sizes, x, y):
            measured["PyTorch DDP step"] = repeated(torch)
        seconds = {key: np.array(v) for key, v in in_turns(measured, count, passes).items()}
    if MPI.COMM_WORLD.rank == 0:
        print(f"{name}: {'-'.join(map(str, sizes))}, {rows} rows")
        microseconds(seconds)
        step_, local_, raw, *peer = seconds.values()
        show("step / (local + allreduce)", step_ / (local_ + raw))
        for times in peer:
            show("DDP / step", times / step_)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=[*MODELS])
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--reproducible", type=int)
    parser.add_argument("--algorithm", default="")
    given = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    server = gx.train.Server(gx.train.ClusterSpec.from_environment())
    strategy = gx.distribute.DataParallel(given.reproducible, algorithm=given.algorithm)
    for name in given.models:
        compare(server, name, given.passes, strategy)


if __name__ == "__main__":
    main()
