"""In-graph replication: one client, variables on a parameter server, a part of the batch for each
worker. What has to travel in a step, and nothing else, does."""

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.graph import Graph
from graphc.passes.context import PassContext
from graphc.passes.partition import find_transfers, partition
from graphc.passes.pipeline import cluster_pipeline, run_pipeline
from graphc.passes.place import Place
from tests.passes.partitions import check_partitions, run_parts
from tests.passes.running import CPU, outcome

PS = "/job:ps/task:0/cpu:0"
WORKERS = tuple(f"/job:worker/task:{i}/cpu:0" for i in range(2))
SIZE = 6


def model():
    """A regression on digits: loss, training operation and placeholders."""
    images = gx.placeholder(gx.float32, [None, 64], name="images")
    labels = gx.placeholder(gx.int32, [None], name="labels")
    with gx.device(PS):
        W = gx.Variable(gx.zeros([64, 10]), name="W")
        b = gx.Variable(gx.zeros([10]), name="b")
    shards = gx.split(images, len(WORKERS), axis=0, name="shards")
    outputs = []
    for i, worker in enumerate(WORKERS):
        with gx.device(worker):
            outputs.append(gx.matmul(shards[i], W, name=f"product{i}") + b)
    logits = gx.concat(outputs, axis=0, name="logits")
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = gx.reduce_mean(losses, name="loss")
    return loss, gx.train.GradientDescentOptimizer(0.5).minimize(loss), images, labels


def step() -> Graph:
    loss, train, images, labels = model()
    return extract([loss], [train], [images, labels]).graph


def optimised(graph: Graph, without: frozenset[str] = frozenset()) -> Graph:
    place = Place((PS, *WORKERS), WORKERS[0])
    return run_pipeline(graph, PassContext(CPU), without, passes=cluster_pipeline(CPU, place))


def ends(transfers) -> list[tuple[str, str, str]]:
    """(type, from, to) of each, sorted, devices by job and number."""
    short = {PS: "ps", WORKERS[0]: "w0", WORKERS[1]: "w1"}
    return sorted((str(t.type), short[t.node.device], short[t.destination]) for t in transfers)


@pytest.mark.parametrize("without", [frozenset(), frozenset({"fuse"})], ids=["fused", "not fused"])
def test_what_travels_in_a_step(without) -> None:
    graph = optimised(step(), without)
    transfers = find_transfers(graph, WORKERS[0])
    batch = graph.inputs[0].shape[0]
    assert ends(transfers) == sorted([
        ("f32[64, 10]", "ps", "w0"), ("f32[10]", "ps", "w0"),  # W and b, once for each worker
        ("f32[64, 10]", "ps", "w1"), ("f32[10]", "ps", "w1"),
        (f"f32[({batch} // 2), 64]", "w0", "w1"),  # the second half of the images
        (f"f32[({batch} // 2), 10]", "w1", "w0"),  # its logits
        (f"f32[({batch} // 2), 10]", "w0", "w1"),  # and their gradient
        ("f32[64, 10]", "w0", "ps"), ("f32[10]", "w0", "ps"),  # gradients of W and b
        ("f32[64, 10]", "w1", "ps"), ("f32[10]", "w1", "ps"),
    ])  # fmt: skip


def test_workers_multiply_and_the_server_adds_and_assigns() -> None:
    graph = optimised(step(), frozenset({"fuse"}))
    found = {}
    for node in graph.nodes:
        found.setdefault(node.op.name, []).append(node.device)
    assert sorted(found["matmul"]) == sorted(2 * WORKERS)  # forward, and the gradient of W
    assert found["assign"] == found["subtract"] == [PS, PS]
    assert sorted(found["add"]) == sorted([PS, PS, *WORKERS])
    assert set(found["sparse_softmax_cross_entropy"]) == {WORKERS[0]}


def test_the_parts_learn_what_one_process_learns(rng) -> None:
    whole = step()
    graph = optimised(whole)
    parts = partition(graph, WORKERS[0])
    check_partitions(graph, parts, WORKERS[0])
    assert set(parts) == {PS, *WORKERS}
    feeds = [rng.random((SIZE, 64), np.float32), rng.integers(0, 10, SIZE).astype(np.int32)]
    state = {"W": rng.random((64, 10), np.float32), "b": rng.random(10, np.float32)}
    sizes = dict.fromkeys(("_1", "_2"), SIZE)
    (loss,), after = run_parts(parts, feeds, state, sizes)
    (wanted,), wanted_after = outcome(whole, feeds, state)
    np.testing.assert_array_equal(loss, wanted)
    for name, before in state.items():
        np.testing.assert_array_equal(after[name], wanted_after[name])
        assert not np.array_equal(after[name], before)
