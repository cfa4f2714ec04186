"""Timelines: one clock out of several, one trace out of parts; and what sessions record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.ir.errors import GraphcError
from graphc.runtime.drivers.network import Network
from graphc.runtime.effects import Post
from graphc.runtime.timeline import Recorder, checked, draft_path, part_path
from graphc.runtime.trace import DRIFT, Sample, fit, merge, read_part
from tests.runtime.cluster import SimulatedCluster
from tests.runtime.replicated import batch, replicated
from tests.runtime.traces import check, slices, transfers

NAMES = ["ps:0", "worker:0", "worker:1"]


@pytest.mark.random_cases(quick=50, soak=5000)
def test_times_are_right_within_the_bound(rng):
    """A clock that is off and drifts, compared twice with errors below what is told."""
    offset, drift = rng.normal() * 100, rng.uniform(-DRIFT, DRIFT) / 2
    ahead = lambda local: offset + drift * (local - 50)  # noqa: E731
    begin, end = 50.0, 50 + rng.uniform(1, 1000)
    samples = []
    for at, scale in ((begin, 1e-6), (end, rng.choice([1e-6, 1e-2]))):
        bound = rng.uniform(0, scale)
        samples.append(Sample(at, ahead(at) + rng.uniform(-bound, bound), bound))
    for known in (samples, samples[:1]):
        clock = fit(known, end)
        for local in rng.uniform(begin, end, 20):
            wrong = clock.common(local) - (local + ahead(local))
            assert abs(wrong) <= clock.bound + 1e-9
    assert fit(samples, end).bound <= fit(samples[:1], end).bound + 1e-12


def test_a_bad_sample_at_the_end_does_no_harm():
    clock = fit([Sample(0.0, 5.0, 1e-6), Sample(10.0, 5.4, 0.5)], 10.0)
    assert clock.common(10.0) == pytest.approx(15.0, abs=2e-3)


def record(path, rank, ahead):
    """A part of a made-up job in which each rank sends to the next; its clock is behind."""
    recorder = Recorder(path, rank, NAMES[rank])
    recorder.clock(-ahead, ahead, 1e-6)
    for step in range(3):
        now = step - ahead
        sent = Post((rank + 1) % 3, 7, bytes(100), sends=True, about="x:0->", step=step)
        received = Post((rank - 1) % 3, 7, bytearray(100), sends=False, about="x:0->", step=step)
        recorder.transfer(received, now, now + 0.5)
        recorder.transfer(sent, now + 0.1, now + 0.3)
        recorder.transfer(Post(rank, 8, b"", sends=True, step=step), now + 0.2, now + 0.4)
        recorder.transfer(Post(rank, 8, b"", sends=False, step=step), now + 0.2, now + 0.4)
    recorder.flush()
    recorder.clock(3 - ahead, ahead, 1e-6)
    recorder.close()


def test_parts_become_one_trace_on_one_clock(tmp_path):
    path = tmp_path / "trace.json"
    for rank, ahead in enumerate((0.0, 1234.5, -77.25)):
        record(path, rank, ahead)
    assert merge(path, NAMES, whole=True) == []
    trace = json.loads(path.read_text())
    check(trace)
    assert list(tmp_path.iterdir()) == [path]
    assert len(transfers(trace)) == 18
    for send, receive in transfers(trace):
        assert send["args"]["step"] == receive["args"]["step"]
        if send["args"]["bytes"]:
            assert send["ts"] - receive["ts"] == pytest.approx(1e5, abs=0.01)
            assert send["args"]["peer"] == NAMES[receive["pid"]]
    assert trace["otherData"]["clock_bound_us"] == pytest.approx(1.0)
    sends = [e for e in slices(trace, "send") if e["pid"] == 0]
    assert len({e["tid"] for e in sends}) == 2


def test_a_rank_that_was_killed_leaves_all_but_its_last_words(tmp_path):
    path = tmp_path / "trace.json"
    record(path, 0, 0.0)
    record(path, 1, 3.0)
    lines = part_path(path, 1).read_text().splitlines()[:-2]
    part_path(path, 1).write_text("\n".join([*lines, '[["compute", "cut o']))
    assert merge(path, NAMES, whole=True) is None
    assert merge(path, NAMES) == ["worker:1"]
    trace = json.loads(path.read_text())
    assert trace["otherData"]["missing"] == ["worker:1"]
    assert len([e for e in slices(trace, "send") if e["pid"] == 1]) == 6
    assert trace["otherData"]["clock_bound_us"] > 100


def test_one_of_those_that_end_together_merges(tmp_path):
    path = tmp_path / "trace.json"
    for rank in range(3):
        record(path, rank, 0.0)
    draft_path(path).write_text("begun by another one")
    assert merge(path, NAMES, whole=True) is None
    assert not path.exists()
    assert merge(path, NAMES) == []  # the launcher does it in any case
    check(json.loads(path.read_text()))


def test_events_are_written_before_the_end(tmp_path):
    recorder = Recorder(tmp_path / "trace.json", 0, "ps:0")
    for step in range(2000):
        recorder.add("compute", "add", step, 0.0, 1.0)
    written = read_part(part_path(tmp_path / "trace.json", 0))
    recorder.close()
    assert len(written.events) > 1000


def test_wrong_paths_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path, tmp_path / "no" / "x.json", tmp_path / "file" / "x.json"):
        with pytest.raises(GraphcError, match="the timeline cannot be written to"):
            checked(wrong)


@pytest.mark.random_cases(quick=4, soak=100)
def test_a_simulated_job_in_virtual_time(tmp_path, case_seed, rng):
    x, y, _, loss, step = replicated()
    images, labels = batch(rng)

    def script(session):
        for _ in range(3):
            yield from session.run([loss], [step], {x: images, y: labels})

    path = tmp_path / "trace.json"
    recorders = {rank: Recorder(path, rank, name) for rank, name in enumerate(NAMES)}
    network = Network(synchronous=bool(case_seed % 2))
    cluster = SimulatedCluster({"ps": 1, "worker": 2}, case_seed, network, recorders=recorders)
    cluster.run(cluster.client(1, script))
    for recorder in recorders.values():
        recorder.close()
    assert merge(path, NAMES, whole=True) == []
    trace = json.loads(path.read_text())
    check(trace)
    for send, receive in transfers(trace):
        assert send["name"] == receive["name"]
        assert send["args"]["bytes"] == receive["args"]["bytes"]
        assert receive["ts"] + receive["dur"] > send["ts"]
    assert {"matmul", "matmul_1"} <= {e["name"] for e in slices(trace, "compute")}
    assert all(e["ts"] <= cluster.simulation.now * 1e6 for e in slices(trace))


LOCAL = """
import numpy as np, graphc as gx
x = gx.placeholder(gx.float32, [None, 4])
y = gx.matmul(x, gx.Variable(gx.ones([4, 2])), name="product")
for _ in range(2):
    with gx.Session() as session:
        print(session.run(y, {x: np.ones((1, 4), np.float32)}).tolist())
"""


def run_local(path):
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "GRAPHC_TIMELINE": str(path)}
    return subprocess.run(
        [sys.executable, "-c", LOCAL], env=environment, capture_output=True, text=True, check=False
    )


def test_sessions_of_one_process(tmp_path):
    done = run_local(tmp_path / "trace.json")
    assert done.stdout == "[[4.0, 4.0]]\n" * 2, done.stderr
    trace = json.loads((tmp_path / "trace.json").read_text())
    check(trace)
    products = [e for e in slices(trace, "compute") if e["name"] == "product"]
    assert len(products) == 2
    assert trace["otherData"]["clock_bound_us"] == 0


def test_a_session_refuses_a_wrong_path(tmp_path):
    done = run_local(tmp_path / "no" / "trace.json")
    assert done.returncode == 1
    assert "GraphcError: the timeline cannot be written to" in done.stderr


def test_numbers_are_those_without_a_timeline(tmp_path, monkeypatch):
    import graphc as gx

    x = gx.placeholder(gx.float32, [None])
    y = gx.reduce_sum(gx.exp(x) * 3.0)
    value = np.linspace(0, 1, 17, dtype=np.float32)
    monkeypatch.delenv("GRAPHC_TIMELINE", raising=False)
    with gx.Session() as session:
        wanted = session.run(y, {x: value})
    monkeypatch.setenv("GRAPHC_TIMELINE", str(tmp_path / "trace.json"))
    with gx.Session() as session:
        assert session.run(y, {x: value}) == wanted
