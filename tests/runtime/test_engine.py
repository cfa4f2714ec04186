"""What a task compiles: one text once, and constants of any dtype."""

import ml_dtypes
import numpy as np
import pytest

import graphc as gx
from graphc.runtime.engine import Engine
from graphc.runtime.messages import decode, encode
from graphc.runtime.part import Part, part_of, printed
from tests.runtime.cluster import SimulatedCluster

SPEC = {"ps": 1, "worker": 2}
CLIENT = 1


def doubled():
    """A program whose server computes for a client."""
    with gx.Graph().as_default():
        x = gx.placeholder(gx.float32, [None])
        with gx.device("/job:ps/task:0"):
            return x, x * 2.0


def test_sessions_with_equal_graphs_compile_them_once(monkeypatch):
    compiled = []
    compile_ = Engine._compile
    monkeypatch.setattr(
        Engine, "_compile", lambda self, part: compiled.append(part.text) or compile_(self, part)
    )
    cluster = SimulatedCluster(SPEC)

    def script(session):
        x, y = doubled()
        (found,) = yield from session.run([y], feeds={x: np.ones(3, np.float32)})
        np.testing.assert_array_equal(found, np.full(3, 2, np.float32))

    cluster.run(*(cluster.client(CLIENT, script, box) for box in (1, 2, 3)))
    assert len(compiled) == len(set(compiled)) == 2


DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.bool_, np.int8, np.int64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_constants_of_any_dtype_travel(dtype):
    values = (np.arange(200) % 2).astype(dtype).reshape(2, 100)
    with gx.Graph().as_default() as graph:
        gx.constant(values, name="c")
    message = Part(*printed(graph), ()).message(1, 0)
    arrived = part_of(decode(encode(message))).graph
    (found,) = (node.attrs["value"] for node in arrived.nodes if node.name == "c")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)
