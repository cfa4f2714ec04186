"""Artifacts: the session's bits in any form; what is damaged or does not fit is refused."""

import hashlib
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc.artifact import Artifact, manifest_text
from graphc.backends.cpu import objects
from graphc.runtime.deploy import deploy
from graphc.runtime.deployable import from_artifact, from_session
from tests.passes.random_programs import random_program

HIDDEN, CLASSES, INPUTS = 16, 5, 12


class Network:
    """A small classifier in a graph and session of its own."""

    def __init__(self):
        self.graph = gx.Graph()
        with self.graph.as_default():
            self.x = gx.placeholder(gx.float32, [None, INPUTS], name="x")
            self.labels = gx.placeholder(gx.int32, [None], name="labels")
            w1 = gx.get_variable("w1", [INPUTS, HIDDEN])
            b1 = gx.get_variable("b1", [HIDDEN], initializer=gx.zeros_initializer())
            w2 = gx.get_variable("w2", [HIDDEN, CLASSES])
            hidden = gx.nn.relu(gx.matmul(self.x, w1) + b1)
            self.logits = gx.matmul(hidden, w2)
            self.loss = gx.reduce_mean(
                gx.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=self.labels, logits=self.logits
                )
            )
            self.step = gx.train.MomentumOptimizer(0.1, 0.9).minimize(self.loss)
        self.session = gx.Session(graph=self.graph)

    def train(self, rng, count):
        x, labels = self.batch(rng, count)
        return self.session.run([self.step, self.loss], {self.x: x, self.labels: labels})

    def batch(self, rng, count):
        x = rng.standard_normal((count, INPUTS), dtype=np.float32)
        return x, rng.integers(0, CLASSES, count).astype(np.int32)


@pytest.fixture
def network():
    return Network()


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("form", ["model.graphc", "model.zip"])
@pytest.mark.parametrize("frozen", [True, False])
def test_inference_has_the_bits_of_the_session(form, frozen, network, rng, tmp_path):
    network.train(rng, 8)
    path = tmp_path / form
    manifest = gx.compile(
        network.logits, [network.x], path, session=network.session, freeze_variables=frozen
    )
    assert path.is_dir() == (form == "model.graphc")
    assert {p.name for p in manifest.variables} == (set() if frozen else {"w1", "b1", "w2"})
    model = gx.load(path)
    for count in (1, 7, 64, 3):
        x, _ = network.batch(rng, count)
        assert same_bits(model(x), network.session.run(network.logits, {network.x: x}))
    assert model(np.zeros((0, INPUTS), np.float32)).shape == (0, CLASSES)


def test_training_steps_have_the_bits_of_the_session(network, rng, tmp_path):
    feeds = [network.x, network.labels]
    gx.compile([network.step, network.loss], feeds, tmp_path / "step", session=network.session)
    model = gx.load(tmp_path / "step")
    assert {"w1", "b1", "w2", "w1/Momentum"} <= set(model.variables)
    for count in (8, 8, 5):
        x, labels = network.batch(rng, count)
        nothing, loss = model(x, labels=labels)
        expected = network.session.run(
            [network.step, network.loss], {network.x: x, network.labels: labels}
        )
        assert nothing is None
        assert same_bits(loss, expected[1])
    names = [name for name in model.variables if "Momentum" not in name]
    values = network.session.run({name: f"{name}/read:0" for name in names})
    for name in names:
        assert same_bits(model.variables[name], values[name]), name


def test_structure_and_names_are_kept(tmp_path):
    x = gx.placeholder(gx.float64, [2, 3], name="x")
    fetches = {"both": (x + 1.0, [gx.reduce_sum(x)]), "again": x}
    gx.compile(fetches, [x], tmp_path / "m", name="pair")
    value = np.arange(6.0).reshape(2, 3)
    result = gx.load(tmp_path / "m")(x=value)
    assert list(result) == ["both", "again"]
    assert same_bits(result["both"][0], value + 1)
    assert result["both"][1] == [15.0]
    assert same_bits(result["again"], value)


def test_an_inner_tensor_can_be_fed(tmp_path):
    x = gx.placeholder(gx.float32, [3], name="x")
    inner = gx.exp(x, name="inner")
    gx.compile(inner * 2.0, [inner], tmp_path / "m")
    model = gx.load(tmp_path / "m")
    assert [p.name for p in model.inputs] == ["inner/fed"]
    assert same_bits(model(np.float32([1, 2, 3])), np.float32([2, 4, 6]))


def test_several_targets_each_with_code_for_it(network, rng, tmp_path):
    targets = ["x86-64-v2", "host", "aarch64"]
    path = tmp_path / "m"
    manifest = gx.compile(
        network.logits, [network.x], path, session=network.session, targets=targets
    )
    assert [t.name for t in manifest.targets] == targets
    machines = {"x86-64-v2": 62, "aarch64": 183}  # EM_X86_64 and EM_AARCH64 of the ELF header
    for name, machine in machines.items():
        data = (path / f"model-{name}.o").read_bytes()
        assert data[:4] == b"\x7fELF"
        assert int.from_bytes(data[18:20], "little") == machine
    x, _ = network.batch(rng, 9)
    expected = network.session.run(network.logits, {network.x: x})
    assert same_bits(gx.load(path)(x), expected)
    np.testing.assert_allclose(gx.load(path, target="x86-64-v2")(x), expected, rtol=1e-5, atol=1e-6)


def test_object_exports_its_two_functions_and_has_no_writable_data(network, tmp_path):
    import llvmlite.binding as llvm

    gx.compile([network.step, network.loss], [network.x, network.labels], tmp_path / "m",
               session=network.session, name="step")  # fmt: skip
    code = llvm.ObjectFileRef.from_data((tmp_path / "m/step-host.o").read_bytes())
    sizes = {s.name(): s.size() for s in code.sections()}
    assert sizes.get(".data", 0) == sizes.get(".bss", 0) == 0
    assert not shutil.which("nm") or exported(tmp_path / "m/step-host.o") == {
        "step_run",
        "step_workspace_size",
    }


def exported(path):
    text = subprocess.check_output(["nm", "-g", "--defined-only", path], text=True)
    return {line.split()[-1] for line in text.splitlines()}


def test_artifact_can_be_compiled_again_from_its_own_files(network, rng, tmp_path):
    network.train(rng, 8)
    gx.compile({"out": network.logits}, [network.x], tmp_path / "a", session=network.session)
    deploy(from_artifact(Artifact(tmp_path / "a")), tmp_path / "b.zip")
    x, _ = network.batch(rng, 6)
    assert same_bits(gx.load(tmp_path / "a")(x)["out"], gx.load(tmp_path / "b.zip")(x)["out"])


def test_a_large_constant_is_kept_aside(rng, tmp_path):
    x = gx.placeholder(gx.float32, [None, 100])
    table = rng.standard_normal((100, 30), dtype=np.float32)
    with gx.Session() as session:
        y = gx.matmul(x, gx.constant(table))
        gx.compile(y, [x], tmp_path / "a", session=session)
        value = rng.standard_normal((4, 100), dtype=np.float32)
        expected = session.run(y, {x: value})
    assert "graph-constants.safetensors" in Artifact(tmp_path / "a").manifest.files
    deploy(from_artifact(Artifact(tmp_path / "a")), tmp_path / "b")
    assert same_bits(gx.load(tmp_path / "b")(value), expected)


def test_errors_in_data_name_the_line_and_change_nothing(network, rng, tmp_path):
    feeds = [network.x, network.labels]
    gx.compile([network.step, network.loss], feeds, tmp_path / "m", session=network.session)
    model = gx.load(tmp_path / "m")
    before = {name: value.copy() for name, value in model.variables.items()}
    x, labels = network.batch(rng, 4)
    labels[2] = CLASSES
    with pytest.raises(
        gx.DataError, match=r"label out of range[\s\S]*test_artifact.py[\s\S]*element 2"
    ):
        model(x, labels)
    assert all(same_bits(model.variables[name], before[name]) for name in before)
    header = (tmp_path / "m/model.h").read_text()
    assert "1: sparse_softmax_cross_entropy" in header


def test_an_input_may_be_computed_from_what_has_the_size(tmp_path):
    x = gx.placeholder(gx.float32, ["n"], name="x")
    twice = gx.concat([x, x], 0, name="twice")
    with gx.Session() as session:
        gx.compile(gx.reduce_mean(twice * twice), [twice], tmp_path / "m", session=session)
    model = gx.load(tmp_path / "m")
    assert model(np.float32([1, 2, 3, 4])) == 7.5
    with pytest.raises(gx.FeedError, match=r"axis 0 is 3, but 2 \* n is 2 here"):
        model(np.float32([1, 2, 3]))
    assert re.search(r"n: axis 0 of twice\S* is 2 \* n\n", (tmp_path / "m/model.h").read_text())


def test_a_folder_is_replaced_and_strangers_are_left_alone(network, tmp_path):
    path = tmp_path / "m"
    gx.compile(network.logits, [network.x], path, session=network.session, name="first")
    gx.compile(network.logits, [network.x], path, session=network.session, name="second")
    assert not (path / "first.h").exists()
    assert (path / "second.h").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(gx.ArtifactError, match="folder of other files"):
        gx.compile(network.logits, [network.x], other, session=network.session)


@pytest.mark.parametrize("form", ["m", "m.zip"])
def test_a_write_that_fails_leaves_what_was_there(form, network, rng, tmp_path, monkeypatch):
    path = tmp_path / form
    gx.compile(network.logits, [network.x], path, session=network.session)
    x, _ = network.batch(rng, 3)
    expected = gx.load(path)(x)

    def full(*_):
        raise OSError(28, "No space left on device")

    deployable = from_session(network.session, network.loss, [network.x, network.labels])
    with monkeypatch.context() as patch:
        patch.setattr(objects, "link_library", lambda *_: None)
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(zipfile.ZipFile, "writestr", full)
        with pytest.raises(gx.ArtifactError, match=r"cannot be written to .*No space left"):
            deploy(deployable, path)
    assert same_bits(gx.load(path)(x), expected)
    assert {p.name for p in tmp_path.iterdir()} == {form}


def test_a_damaged_artifact_is_not_replaced(network, tmp_path):
    gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session)
    (tmp_path / "m/manifest.json").write_text("{}")
    with pytest.raises(gx.ArtifactError, match="is not replaced: remove it, or name another"):
        gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session)


@pytest.mark.gxx
def test_what_users_write_stays_in_the_comments_of_the_header(tmp_path):
    x = gx.placeholder(gx.int32, [None], name="x")
    y = x // x  # /* */ int oops; ??/
    gx.compile(y, [x], tmp_path / "m")
    for compiler in (["gcc", "-std=c99"], ["g++", "-std=c++17", "-x", "c++"]):
        done = subprocess.run(
            [*compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
             tmp_path / "m/model.h"], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr.replace("#pragma once", "")) == (0, "")


class TestRefusals:
    """Each in one sentence that says what is wrong."""

    @pytest.fixture
    def path(self, network, tmp_path):
        gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session)
        return tmp_path / "m"

    def rewrite(self, path, change, seal=True):
        """Change the manifest; `seal`: as somebody would who knows how its checksum is made."""
        content = json.loads((path / "manifest.json").read_text())
        change(content)
        if seal:
            content.pop("checksum")
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(content))

    def refused(self, path, match):
        with pytest.raises(gx.ArtifactError, match=match) as caught:
            gx.load(path)
        assert "\n" not in str(caught.value)

    def test_no_artifact(self, tmp_path):
        self.refused(tmp_path / "nowhere", "no artifact at")
        (tmp_path / "text").write_text("no zip file")
        self.refused(tmp_path / "text", "neither a folder nor a zip file")
        (tmp_path / "empty").mkdir()
        self.refused(tmp_path / "empty", "manifest.json cannot be read")

    def test_another_version(self, path):
        self.rewrite(path, lambda content: content.update(format=99))
        self.refused(path, "format 99; this graphc reads format 1")

    def test_a_manifest_that_was_changed(self, path):
        self.rewrite(path, lambda content: content["dims"].append("n"), seal=False)
        self.refused(path, "manifest.json does not match its checksum")

    @pytest.mark.parametrize("keep", [0, 1, 100, -2])
    def test_a_truncated_manifest(self, path, keep):
        data = (path / "manifest.json").read_bytes()
        (path / "manifest.json").write_bytes(data[:keep])
        self.refused(path, "manifest.json is damaged")

    @pytest.mark.parametrize(
        "change",
        [
            lambda c: c.pop("inputs"),
            lambda c: c.update(inputs=[{"name": "x"}]),
            lambda c: c.update(targets=3),
            lambda c: c["files"].update({"../x": {"bytes": 0, "sha256": ""}}),
            lambda c: c["inputs"][0].update(dtype="float7"),
            lambda c: c["inputs"][0].update(shape=["n)", "12"]),
            lambda c: c.update(dims=["elsewhere"]),
        ],
    )
    def test_a_forged_manifest(self, path, change):
        self.rewrite(path, change)
        self.refused(path, "damaged|no type|no dimension|no input has")

    @pytest.mark.parametrize(
        "name", ["model-host.o", "constants-host.bin", "variables.safetensors"]
    )
    def test_files_that_were_changed(self, path, name):
        data = bytearray((path / name).read_bytes())
        (path / name).write_bytes(data[:-1])
        self.refused(path, f"{name} has {len(data) - 1} bytes instead of {len(data)}")
        data[len(data) // 2] ^= 1
        (path / name).write_bytes(data)
        self.refused(path, f"{name} does not match its checksum")
        (path / name).unlink()
        self.refused(path, f"{name} cannot be read")

    def test_a_truncated_zip(self, network, tmp_path):
        path = tmp_path / "m.zip"
        gx.compile(network.logits, [network.x], path, session=network.session)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        self.refused(path, "neither a folder nor a zip file")
        damaged = bytearray(data)
        damaged[200] ^= 1
        path.write_bytes(damaged)
        self.refused(path, "cannot be read|checksum")

    def test_a_machine_without_the_instructions(self, network, path):
        self.rewrite(path, lambda c: c["targets"][0].update(features="+sse2,+quantum"))
        self.refused(path, "cannot run the artifact: host needs quantum")
        gx.compile(network.logits, [network.x], path, session=network.session, targets=["aarch64"])
        if objects.host_cpu().architecture != "aarch64":
            self.refused(path, "aarch64 needs an aarch64 processor")

    def test_a_target_that_is_not_there(self, path):
        with pytest.raises(
            gx.ArtifactError, match="no code for x86-64-v4; it was compiled for host"
        ):
            gx.load(path, target="x86-64-v4")

    def test_inputs_that_do_not_fit(self, path):
        model = gx.load(path)
        x = np.zeros((2, INPUTS), np.float32)
        wrong = [
            (
                (np.zeros((2, INPUTS + 1), np.float32),),
                {},
                r"shape \[2, 13\] does not fit",
            ),
            ((x[0],), {}, "does not fit"),
            ((np.full((2, INPUTS), "a"),), {}, "dtype"),
            ((x, x), {}, "model takes x; given 2 values"),
            ((), {}, "model takes x; given 0 values"),
            ((), {"y": x}, "given 0 values and y"),
            ((x,), {"x": x}, "given 1 value and x"),
        ]
        for values, named, match in wrong:
            with pytest.raises(gx.FeedError, match=match):
                model(*values, **named)

    def test_sizes_that_disagree(self, network, tmp_path):
        feeds = [network.x, network.labels]
        gx.compile(network.loss, feeds, tmp_path / "m", session=network.session)
        with pytest.raises(gx.FeedError, match=r"test_artifact\.py"):
            gx.load(tmp_path / "m")(np.zeros((3, INPUTS)), np.zeros(2, np.int32))

    def test_names_that_are_none_in_c(self, network, tmp_path):
        for name in ("a-b", "1st", "", "naïve"):
            with pytest.raises(gx.ArtifactError, match="no name of C functions"):
                gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session,
                           name=name)  # fmt: skip

    def test_the_name_that_the_pool_has(self, network, tmp_path):
        """Its object would replace the program's."""
        with pytest.raises(gx.ArtifactError, match="every artifact has a pool"):
            gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session,
                       name="pool")  # fmt: skip

    @pytest.mark.parametrize("key", [(1, 2), np.int64(3), float("nan"), b"x"])
    def test_keys_that_no_manifest_keeps(self, key, network, tmp_path):
        with pytest.raises(gx.ArtifactError, match=r"the key .* of a dict"):
            gx.compile({key: network.logits}, [network.x], tmp_path / "m",
                       session=network.session)  # fmt: skip
        assert not (tmp_path / "m").exists()

    def test_outputs_that_no_memory_holds(self, tmp_path):
        x, y = (gx.placeholder(gx.int32, shape, name=n) for n, shape in
                (("x", [None, 1]), ("y", [1, None])))  # fmt: skip
        gx.compile(x + y, [x, y], tmp_path / "m")
        model = gx.load(tmp_path / "m")
        values = np.zeros((2**22, 1), np.int32)
        with pytest.raises(
            gx.GraphcError, match=r"more memory than there is: .* 70,368,744,177,664"
        ):
            model(values, values.T)

    def test_unknown_and_missing_targets(self, network, tmp_path):
        with pytest.raises(gx.CompileError, match="no CPU level 'z80'"):
            gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session,
                       targets=["z80"])  # fmt: skip
        with pytest.raises(gx.ArtifactError, match="needs a target"):
            gx.compile(network.logits, [network.x], tmp_path / "m", session=network.session,
                       targets=[])  # fmt: skip


@pytest.mark.random_cases(quick=8, soak=300)
def test_random_programs_have_the_bits_of_the_session(case_seed, tmp_path):
    """Two runs, so that what was stored is read again; frozen or not."""
    program = random_program(case_seed)
    fetches, feeds = [program.fetches, program.targets], list(program.feeds)
    session = gx.Session(graph=program.graph)
    frozen = case_seed % 2 == 0
    try:
        gx.compile(fetches, feeds, tmp_path / "m", session=session, freeze_variables=frozen)
    except gx.StateError:
        with pytest.raises(gx.StateError):
            session.run(fetches, program.feeds)
        return
    model = gx.load(tmp_path / "m")
    for _ in range(2):
        found, _ = model(*program.feeds.values())
        expected, _ = session.run(fetches, program.feeds)
        assert all(map(same_bits, found, expected))
    values = session.run(
        {name: f"{name}/read:0" for name in model.variables if "random" not in name}
    )
    assert all(same_bits(model.variables[name], value) for name, value in values.items())


def test_numbers_without_axes_stay_what_they_are(tmp_path):
    counter = gx.Variable(np.int64(3), name="counter")
    draw = gx.random_normal([5], seed=1)
    session = gx.Session()
    gx.compile([gx.assign_add(counter, 2), draw], [], tmp_path / "m", session=session)
    model = gx.load(tmp_path / "m")
    assert model()[0] == 5
    assert model()[0] == 7
    assert {v.shape for v in model.variables.values()} == {()}


def test_manifest_text_is_the_same_each_time(network, tmp_path):
    first, second = (
        gx.compile(network.logits, [network.x], tmp_path / name, session=network.session)
        for name in ("a", "b")
    )
    assert manifest_text(first) == manifest_text(second)


def test_zip_holds_plain_files_and_nothing_that_runs_when_read(network, tmp_path):
    gx.compile(network.logits, [network.x], tmp_path / "m.zip", session=network.session)
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        suffixes = {name.rpartition(".")[2] for name in archive.namelist()}
        assert suffixes <= {"json", "txt", "safetensors", "h", "o", "so", "bin"}
        assert not any(archive.read(n).startswith(b"\x80\x04") for n in archive.namelist())
