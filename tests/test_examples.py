"""The demo, its C programs and its jobs: they run, C has Python's bits, and 3 ranks those of 1."""

import ctypes
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gx

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
STRICT = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"]


def demo(output, *arguments, **environment):
    return subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", "--output", output, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A demo that was run to its end, and the folder it left."""
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, "--no-cluster", "--epochs", "20")
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


@pytest.mark.gxx
def test_demo_trains_compiles_and_agrees_with_c(shown):
    _, text = shown
    accuracies = [float(found) for found in re.findall(r"([\d.]+)% of", text)]
    assert len(accuracies) == 3
    assert min(accuracies) > 90
    assert accuracies[1] == accuracies[2], "C and Python count the same right answers"
    assert text.count("the same bits as in Python") == 2
    assert "440 steps" in text


def test_demo_says_how_where_no_compiler_is(tmp_path):
    done = demo(tmp_path, "--no-cluster", "--epochs", "1", PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "There is no C compiler here." in done.stdout
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert [c.split()[0] for c in commands] == ["cc", "./digits", "cc", "./train"]


@pytest.fixture
def launched(monkeypatch):
    """The part of the demo that launches jobs, imported as the demo imports it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return importlib.import_module("launched")


@pytest.mark.mpi
def test_demo_trains_on_a_cluster(launched, tmp_path):
    found = list(launched.launched(tmp_path))
    assert [name for name, _ in found] == [
        "in-graph", "between-graph", "allreduce", "reproducible", ""
    ]  # fmt: skip
    for _, account in found[:-1]:
        accuracy, megabytes = re.match(r"([\d.]+)% of .*; ([\d.]+) MB were sent", account).groups()
        assert float(accuracy) > 90
        assert float(megabytes) > 1
    assert found[-1][1] == "the weights have the same bits on 1 rank and on 3"
    timelines = list(tmp_path.glob("*.timeline.json"))
    assert len(timelines) == 5
    for timeline in timelines:
        assert all(event["name"] for event in json.loads(timeline.read_text())["traceEvents"])


@pytest.mark.mpi
def test_demo_shows_what_a_job_that_fails_prints(launched, tmp_path, monkeypatch):
    (tmp_path / "in_graph.py").write_text(
        "print('so far', flush=True)\nraise ValueError('broken')\n"
    )
    monkeypatch.setattr(launched, "PROGRAMS", tmp_path)
    with pytest.raises(SystemExit) as caught:
        list(launched.launched(tmp_path))
    for text in ("in_graph failed on 3 ranks", "so far", "ValueError: broken", "exit code 1"):
        assert text in caught.value.code


def test_weights_that_differ_end_the_demo(launched, tmp_path, monkeypatch):
    digests = iter("aaaab")
    monkeypatch.setattr(launched, "_launch", lambda *_: launched.Account(
        ["ran", f"weights {next(digests)}"], 0))  # fmt: skip
    with pytest.raises(SystemExit, match="differ"):
        list(launched.launched(tmp_path))


@pytest.mark.gxx
@pytest.mark.parametrize("name", ["digits", "train"])
def test_c_programs_compile_without_a_warning(name, shown):
    folder, _ = shown
    source = EXAMPLES / "c" / f"{name}.c"
    done = subprocess.run(
        ["gcc", *STRICT, "-fsyntax-only", "-I", folder / f"{name}.graphc", source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.gxx
@pytest.mark.parametrize("compiler", [["gcc", "-std=c99"], ["g++", "-std=c++11", "-x", "c++"]])
def test_header_is_plain_c_and_cpp(compiler, shown, tmp_path):
    folder, _ = shown
    source = tmp_path / "both.c"
    # Two artifacts in one program share the declarations of the pool.
    source.write_text('#include "digits.graphc/digits.h"\n#include "train.graphc/train.h"\n')
    options = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", folder]
    done = subprocess.run(
        [*compiler, *options, source], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.gxx
def test_c_program_refuses_the_constants_of_another_artifact(shown):
    folder, _ = shown
    (folder / "other").mkdir()
    (folder / "other/constants-host.bin").write_bytes(bytes(64))
    done = subprocess.run(
        [folder / "digits", "other", "test.bin"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b"of another artifact: other\n"


@pytest.mark.gxx
def test_library_has_the_bits_of_python_and_reports_errors(tmp_path, rng):
    """The C interface as a library, its status word included, with ctypes for the C program."""
    table = gx.placeholder(gx.float32, [None, 3], name="table")
    rows = gx.placeholder(gx.int32, [None], name="rows")
    gathered = gx.gather(table, rows)
    session = gx.Session()
    gx.compile(gathered, [table, rows], tmp_path / "m", session=session)
    library = ctypes.CDLL(str(tmp_path / "m/libmodel-host.so"))
    library.model_workspace_size.restype = ctypes.c_int64
    library.model_run.restype = ctypes.c_int64
    values = rng.standard_normal((5, 3), dtype=np.float32)
    result = np.empty((2, 3), np.float32)
    dims = np.array([5, 2], np.int64)
    workspace = np.empty(library.model_workspace_size(dims.ctypes.data_as(ctypes.c_void_p)) + 64)

    def run(rows):
        pointers = [
            np.array([a.ctypes.data for a in arrays], np.uint64)
            for arrays in ([values, rows], [result])
        ]
        arguments = [None, None, workspace.ctypes.data, *(p.ctypes.data for p in pointers)]
        return library.model_run(
            *map(ctypes.c_void_p, [*arguments, dims.ctypes.data]), ctypes.c_void_p(None)
        )

    assert run(np.int32([4, 0])) == 0
    assert result.tobytes() == values[[4, 0]].tobytes()
    wrong = np.int32([1, 7])
    word = run(wrong)
    assert word >> 48 == 1
    with pytest.raises(gx.DataError, match=rf"at element {word & (1 << 48) - 1}$"):
        session.run(gathered, {table: values, rows: wrong})
    assert "1: gather" in (tmp_path / "m/model.h").read_text()
