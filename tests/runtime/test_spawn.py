"""Clusters that a plain Python process starts: they work, and end with it, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import graphc as gx
from tests.runtime.replicated import expect_training

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "programs" / "in_graph.py"
SPEC = {"ps": ["localhost"], "worker": ["localhost", "localhost"]}
BEGIN = """
import os, signal, sys, time
import graphc as gx
cluster = gx.train.ClusterSpec.from_environment()
def spawn():
    return gx.train.Server.spawn(cluster, timeout=30, mpiexec=os.environ.get("MPIEXEC"))

server = spawn()
with gx.device("/job:worker/task:1"):
    x = gx.placeholder(gx.float32, [None])
    y = x * 2.0

session = gx.Session(server.target)
def value():
    return session.run(y, {x: [3.0]})

"""
AGAIN_AND_AGAIN = "while True: print(value(), flush=True)\n"
MPIEXECS = {"default": None}
if other := os.environ.get("GRAPHC_TEST_MPIEXEC"):
    MPIEXECS["other"] = other

mpi = pytest.mark.mpi


class Script:
    """A Python process in a session of its own; all that it starts is known by its environment."""

    def __init__(self, folder, *arguments, mpiexec=None, stdin=None):
        self.mark = f"GRAPHC_TEST_MARK={folder}"
        given = {
            "GRAPHC_CLUSTER": json.dumps(SPEC),
            "GRAPHC_TEST_MARK": str(folder),
            "GRAPHC_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        } | ({"MPIEXEC": mpiexec} if mpiexec else {})
        self.process = subprocess.Popen(
            [sys.executable, *arguments], env=os.environ | given, cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        if stdin:
            self.process.stdin.write(stdin)

    def end(self, limit=90):
        """Its exit code and output; nothing of it may be left."""
        out, err = self.process.communicate(timeout=limit)
        self.expect_nothing_left()
        return self.process.returncode, out, err

    def expect_nothing_left(self, limit=5):
        deadline = time.monotonic() + limit
        while left := self.processes():
            assert time.monotonic() < deadline, f"left: {left}"
            time.sleep(0.05)

    def processes(self):
        """What it started and itself, with their environments."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if self.mark in environment:
                found[int(folder.name)] = environment
        return found

    def spawned(self, rank):
        """The process that MPI gave a rank among those that were spawned."""
        names = f"OMPI_COMM_WORLD_RANK={rank}", f"PMI_RANK={rank}"
        return next(p for p, e in self.processes().items() if set(names) & set(e))

    def kill_all(self):
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(params=MPIEXECS)
def script(request, tmp_path):
    started = []

    def start(text, *arguments, **options):
        if text is not None:
            (tmp_path / "script.py").write_text(BEGIN + text)
            arguments = (str(tmp_path / "script.py"), *arguments)
        started.append(Script(tmp_path, *arguments, mpiexec=MPIEXECS[request.param], **options))
        return started[-1]

    yield start
    for one in started:
        one.kill_all()


@mpi
def test_a_plain_script_trains_on_a_cluster(script):
    code, out, err = script(None, str(PROGRAM), "--spawn").end()
    assert (code, err) == (0, "")
    expect_training(out)


@mpi
def test_one_cluster_after_the_other(script):
    code, out, err = script("""
for _ in range(2):
    print(server.target, server.is_chief, value(), flush=True)
    session.close()
    server.close()
    server.close()
    try:
        gx.Session(server.target)
    except gx.ClusterError:
        print("closed", flush=True)
    try:
        session.run(y, {x: [3.0]})
    except gx.GraphcError:
        print("closed", flush=True)
    server = spawn()
    session = gx.Session(server.target)
try:
    spawn()
except gx.ClusterError as error:
    print(error)
""").end()
    assert (code, err) == (0, "")
    lines = ["mpi:/{} True [6.]", "closed", "closed"] * 2
    *rounds, refused = out.splitlines()
    assert rounds == [line.format("/job:worker/task:0") for line in lines]
    assert refused == (
        "this process serves mpi://job:worker/task:0 already: close that server first"
    )


@mpi
@pytest.mark.parametrize(
    ("text", "code"), [("sys.exit(5)", 5), ("1 / 0", 1), ("with server: sys.exit(7)", 7)]
)
def test_the_cluster_ends_with_the_script(script, text, code):
    assert script(f"assert value() == 6\n{text}").end()[0] == code


@mpi
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_cluster_ends_when_the_script_is_killed(script, number):
    started = script(AGAIN_AND_AGAIN)
    assert started.process.stdout.readline() == "[6.]\n"
    assert len(started.processes()) >= 4
    os.kill(started.process.pid, number)
    started.process.wait(5)
    started.expect_nothing_left()


@mpi
@pytest.mark.parametrize(("rank", "task"), [(0, "/job:ps/task:0"), (1, "/job:worker/task:1")])
def test_a_task_that_dies_is_named(script, rank, task):
    started = script(AGAIN_AND_AGAIN)
    assert started.process.stdout.readline() == "[6.]\n"
    os.kill(started.spawned(rank), signal.SIGKILL)
    begin = time.monotonic()
    code, _, err = started.end()
    assert time.monotonic() - begin < 5
    assert code != 0
    assert f"graphc: {task} died or was killed" in err
    assert f"ClusterError: {task} died or was killed" in err


@mpi
def test_an_interpreter_survives_errors_and_interrupts(script):
    """Ctrl-C reaches all processes of the terminal's group; the cluster goes on."""
    code, out, _ = script(
        None,
        "-i",
        stdin=BEGIN
        + """
value()
1 / 0
try:
    signal.setitimer(signal.ITIMER_REAL, 1)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGINT))
    while True: _ = value()
except KeyboardInterrupt:
    print("interrupted")

session = gx.Session(server.target)
print("after", value())
""",
    ).end()
    assert code == 0
    assert out.splitlines()[-2:] == ["interrupted", "after [6.]"]


class TestRefusals:
    def test_in_a_job_that_was_launched(self, monkeypatch):
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
        with pytest.raises(gx.ClusterError, match=r"use gx.train.Server\(cluster\)"):
            gx.train.Server.spawn(gx.train.ClusterSpec(SPEC))

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({}, "no tasks to spawn"),
            ({"worker": ["localhost", "192.0.2.1"]}, r"worker:1 is on '192.0.2.1'.*launch"),
            ({"worker": ["localhost", "nowhere.invalid"]}, "'nowhere.invalid' is unknown"),
        ],
    )
    def test_clusters_that_cannot_be_here(self, spec, message):
        with pytest.raises(gx.ClusterError, match=message):
            gx.train.Server.spawn(gx.train.ClusterSpec(spec))

    @pytest.mark.parametrize("task", [("ps", None), ("worker", 2)])
    def test_tasks_that_there_are_not(self, task):
        with pytest.raises(gx.ClusterError, match=r"there is no job|has no task"):
            gx.train.Server.spawn(gx.train.ClusterSpec({"worker": 2}), *task)

    @mpi
    def test_an_mpi_that_cannot_spawn(self, tmp_path):
        program = tmp_path / "mpiexec"
        program.write_text("#!/bin/sh\necho Open MPI\n")
        program.chmod(0o755)
        (tmp_path / "prte").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "prte").chmod(0o755)
        (tmp_path / "script.py").write_text(BEGIN)
        started = Script(tmp_path, str(tmp_path / "script.py"), mpiexec=str(program))
        code, _, err = started.end()
        assert code == 1
        assert "ClusterError: MPI cannot spawn the other tasks" in err
