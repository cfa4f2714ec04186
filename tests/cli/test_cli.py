"""The command line: what it does, and one line with exit code 2 for what it cannot."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import graphc as gx
from graphc.cli import commands, main
from graphc.version import __version__

MODEL = Path(__file__).with_name("model.py")


@pytest.fixture
def graphc(capsys):
    """Call the command line in this process: its exit code, output and error output."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(part) for part in arguments])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def succeed(graphc):
    def call(*arguments):
        code, output, errors = graphc(*arguments)
        assert (code, errors) == (0, "")
        return output

    return call


@pytest.fixture
def refused(graphc):
    """The one line that is printed for bad input, without the program's name."""

    def call(*arguments):
        code, output, errors = graphc(*arguments)
        assert (code, output) == (2, "")
        assert errors.count("\n") == 1, errors
        assert errors.startswith("graphc: ")
        return errors.removeprefix("graphc: ").strip()

    return call


@pytest.fixture
def artifact(succeed, tmp_path):
    path = tmp_path / "m.graphc"
    succeed("compile", f"{MODEL}:build", "-o", path)
    return path


X = np.arange(8, dtype=np.float32).reshape(2, 4)
W = np.arange(12, dtype=np.float32).reshape(4, 3)


class TestHelp:
    def test_commands_are_listed_with_an_example(self):
        output = CliRunner().invoke(commands, ["--help"]).output
        for name in ("compile", "doctor", "inspect", "run"):
            assert f"\n  {name} " in output
        assert "Example:\n    graphc compile" in output

    @pytest.mark.parametrize("name", ["compile", "doctor", "inspect", "run"])
    def test_each_command_shows_an_example(self, name):
        result = CliRunner().invoke(commands, [name, "--help"])
        assert result.exit_code == 0
        assert f"\n  Example:\n    graphc {name}" in result.output

    @pytest.mark.parametrize("name", ["compile", "doctor", "inspect", "run"])
    def test_the_list_says_of_a_command_what_it_says_itself(self, name):
        listed = CliRunner().invoke(commands, ["--help"]).output
        own = CliRunner().invoke(commands, [name, "--help"]).output
        assert own.split("\n\n  ")[1].split(" ")[0] in listed

    def test_help_imports_no_compiler(self):
        code = (
            "import sys\nfrom graphc.cli import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: print({'llvmlite', 'rich', 'mpi4py'} & set(sys.modules))"
        )
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert output.endswith("set()\n")


class TestCompile:
    def test_function_to_artifact(self, artifact):
        assert np.array_equal(gx.load(artifact)(X), X @ W)

    def test_session_of_the_function_gives_the_values(self, succeed, tmp_path):
        output = succeed("compile", f"{MODEL}:trained", "-o", tmp_path / "m.zip", "-t", "host",
                         "-t", "aarch64", "--name", "net")  # fmt: skip
        assert "compiled in" in output
        assert "aarch64-unknown-linux-gnu" in output
        model = gx.load(tmp_path / "m.zip")
        assert model.manifest.name == "net"
        assert np.array_equal(model(X)["y"], X @ np.ones((4, 3), np.float32))

    def test_values_from_a_file(self, succeed, tmp_path):
        from safetensors.numpy import save_file

        save_file({"w": -W, "of another graph": W}, tmp_path / "w.safetensors")
        succeed("compile", f"{MODEL}:build", "-o", tmp_path / "m", "--variables",
                tmp_path / "w.safetensors", "--keep-variables")  # fmt: skip
        model = gx.load(tmp_path / "m")
        assert list(model.variables) == ["w"]
        assert np.array_equal(model(X), X @ -W)

    def test_text_of_a_graph(self, artifact, succeed, tmp_path):
        succeed("compile", artifact / "graph.txt", "-o", tmp_path / "again")
        assert np.array_equal(gx.load(tmp_path / "again")(X), X @ W)

    def test_artifact_for_another_machine(self, artifact, succeed, tmp_path):
        succeed("compile", artifact, "-o", tmp_path / "again", "-t", "x86-64-v2")
        manifest = gx.load(tmp_path / "again").manifest
        assert [t.name for t in manifest.targets] == ["x86-64-v2"]
        assert manifest.name == "model"

    def test_dumps(self, succeed, tmp_path):
        succeed("compile", f"{MODEL}:build", "-o", tmp_path / "m", "--dump", tmp_path / "dump")
        assert "matmul" in (tmp_path / "dump/00-input.txt").read_text()

    def test_the_names_that_are_made_up(self, succeed, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copy(MODEL, tmp_path / "my-model.py")
        succeed("compile", "my-model.py:build")
        assert gx.load(tmp_path / "my-model.graphc").manifest.name == "my_model"


class TestRun:
    @pytest.mark.parametrize("how", ["{}", "x={}"])
    def test_on_files(self, how, artifact, succeed, tmp_path):
        np.save(tmp_path / "x.npy", X)
        succeed("run", artifact, how.format(tmp_path / "x.npy"), "-o", tmp_path / "y.npy")
        assert np.array_equal(np.load(tmp_path / "y.npy"), X @ W)

    def test_on_an_archive_of_arrays(self, artifact, succeed, tmp_path):
        np.savez(tmp_path / "x.npz", x=X)
        output = succeed("run", artifact, tmp_path / "x.npz", "-o", tmp_path / "y.npz")
        assert np.array_equal(np.load(tmp_path / "y.npz")["y"], X @ W)
        assert "float32[2, 4] from 0 to 7" in output

    def test_on_random_inputs(self, artifact, succeed):
        output = succeed("run", artifact, "--random", "--size", "5", "--repeat", "3")
        assert "float32[5, 4]" in output
        assert "then 2 more: median" in output

    def test_training_steps_go_on(self, succeed, tmp_path):
        from safetensors.numpy import load_file

        succeed("compile", f"{MODEL}:step", "-o", tmp_path / "step")
        saved = tmp_path / "w.safetensors"
        succeed("run", tmp_path / "step", "--random", "--repeat", "3", "--save-variables", saved)
        model = gx.load(tmp_path / "step")
        once = load_file(saved)["w"]
        assert not np.array_equal(once, model.variables["w"])


class TestInspect:
    def test_artifact(self, artifact, succeed):
        output = succeed("inspect", artifact)
        assert "float32[_1, 4]" in output
        assert "x86_64" in output or "aarch64" in output
        assert "All files match their checksums." in output

    def test_function_and_text(self, artifact, succeed):
        for source in (f"{MODEL}:build", artifact / "graph.txt"):
            output = succeed("inspect", source)
            assert "4 nodes" in output
            assert "\nmatmul             1\n" in output

    def test_passes(self, artifact, succeed):
        output = succeed("inspect", artifact, "--passes")
        assert "== 00-input\n" in output
        assert "-prune\n" in output
        assert output.splitlines()[-1].startswith("all")

    def test_text(self, artifact, succeed):
        assert "%y: f32[_1, 3] = matmul(" in succeed("inspect", artifact, "--graph")


class TestDoctor:
    def test_says_what_is_here(self, succeed):
        import llvmlite

        output = succeed("doctor")
        for found in (__version__, llvmlite.__version__, "mpi4py", "L2", "kernel cache", "driver"):
            assert found in output

    def test_finds_a_damaged_cache(self, succeed, tmp_path, monkeypatch):
        from graphc.backends.cpu import cache
        from graphc.backends.cpu.disk_cache import DiskCache

        disk = DiskCache(tmp_path)
        disk.write("whole", b"data")
        disk.write("hurt", b"data")
        path = next(tmp_path.rglob("hurt.o"))
        path.write_bytes(path.read_bytes()[:-1])
        monkeypatch.setattr(cache, "default_cache", lambda: cache.KernelCache(disk))
        output = succeed("doctor")
        assert "1 damaged" in output
        assert "hurt.o" in output

    def test_mpi_is_not_loaded(self):
        code = (
            "import sys\nfrom graphc.cli import main\n"
            "try: main(['doctor'])\n"
            "except SystemExit: print('mpi4py' in sys.modules)"
        )
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
        assert output.endswith("False\n")


class TestBadInput:
    def test_sources_that_are_not_there(self, refused, tmp_path):
        assert "there is no artifact at nowhere" in refused("inspect", "nowhere")
        assert "there is no artifact at nowhere" in refused("run", "nowhere")
        assert "there is no file nowhere.py" in refused("compile", "nowhere.py:build")
        assert "nowhere.txt cannot be read" in refused("compile", "nowhere.txt")
        assert "has no function 'nope'" in refused("compile", f"{MODEL}:nope")
        assert "has no function 'no_function'" in refused("compile", f"{MODEL}:no_function")

    def test_functions_that_fail_name_their_line(self, refused):
        lines = MODEL.read_text().splitlines()
        line = 1 + next(i for i, text in enumerate(lines) if "1 // 0" in text)
        assert f"model.py:{line}: ZeroDivisionError" in refused("compile", f"{MODEL}:fails")
        line = 1 + next(i for i, text in enumerate(lines) if "[5, 3]" in text)
        message = refused("compile", f"{MODEL}:wrong_shape")
        assert "matmul" in message
        assert f"model.py:{line}" in message
        assert "must return (fetches, feeds)" in refused("compile", f"{MODEL}:returns_nothing")

    def test_options(self, refused, artifact):
        assert "no CPU level 'z80'" in refused("compile", f"{MODEL}:build", "-t", "z80")
        assert "no pass called" in refused("compile", f"{MODEL}:build", "--without", "magic")
        assert "needs an --output" in refused("compile", artifact)
        assert "No such command 'fly'" in refused("fly")
        assert "'many' is no size" in refused("run", artifact, "--random", "--size", "many")
        assert "--random" in refused("run", artifact, "--size", "3")
        assert "no code for arm" in refused("run", artifact, "--target", "arm", "--random")

    def test_what_would_be_lost_is_refused_before_the_run(self, refused, artifact, tmp_path):
        run = ("run", artifact, "--random")
        assert "no open size is called so" in refused(*run, "--size", "nobody=3")
        assert "is no size" in refused(*run, "--size", f"{2**50}")
        assert "a .npz or a .npy file" in refused(*run, "-o", tmp_path / "y.csv")

    def test_places_that_cannot_be_written(self, refused, tmp_path):
        (tmp_path / "file").write_text("")
        message = refused("compile", f"{MODEL}:build", "-o", tmp_path / "file" / "m")
        assert "cannot be written" in message

    def test_values_that_are_missing_or_damaged(self, refused, tmp_path, artifact):
        from safetensors.numpy import save_file

        weights = tmp_path / "w.safetensors"
        for arrays, match in (
            ({"v": W}, "variable 'w' has no value; given is v"),
            ({"w": W.T.copy()}, r"'w' is float32 [3, 4], not float32 [4, 3]"),
        ):
            save_file(arrays, weights)
            assert match in refused("compile", f"{MODEL}:build", "--variables", weights)
        weights.write_bytes(b"nonsense")
        message = refused("compile", f"{MODEL}:build", "--variables", weights)
        assert "no safetensors file" in message
        (artifact / "variables.safetensors").unlink()
        message = refused("compile", artifact / "graph.txt", "-o", tmp_path / "n")
        assert "variable 'w' has no value" in message

    def test_damaged_artifacts_and_texts(self, refused, artifact):
        text = (artifact / "graph.txt").read_text()
        (artifact / "graph.txt").write_text(text[: len(text) // 2])
        assert "graph.txt has" in refused("inspect", artifact)
        assert "line " in refused("inspect", artifact / "graph.txt")
        data = (artifact / "model-host.o").read_bytes()
        (artifact / "model-host.o").write_bytes(data[:-8])
        assert "it was truncated or replaced" in refused("run", artifact, "--random")

    def test_inputs_that_do_not_fit(self, refused, artifact, tmp_path):
        np.save(tmp_path / "wide.npy", np.zeros((2, 5), np.float32))
        np.save(tmp_path / "words.npy", np.array([["a"] * 4]))
        np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
        (tmp_path / "text.npy").write_text("x")
        for name, match in (
            ("wide.npy", "shape [2, 5] does not fit"),
            ("words.npy", "cannot be converted"),
            ("objects.npy", "no .npy or .npz file of numbers"),
            ("text.npy", "no .npy or .npz file of numbers"),
            ("none.npy", "No such file"),
        ):
            assert match in refused("run", artifact, tmp_path / name), name
        assert "no value for x" in refused("run", artifact)
        wide = tmp_path / "wide.npy"
        assert "there is no input 'z'" in refused("run", artifact, "--random", f"z={wide}")
        assert "all inputs have values already" in refused("run", artifact, wide, wide)

    def test_errors_in_data(self, refused, succeed, tmp_path):
        succeed("compile", f"{MODEL}:step", "-o", tmp_path / "step")
        np.savez(tmp_path / "i.npz", x=X, labels=np.int32([0, 3]))
        message = refused("run", tmp_path / "step", tmp_path / "i.npz")
        assert "label out of range" in message
        assert "element 1" in message

    def test_traceback_on_request(self):
        with pytest.raises(gx.ArtifactError):
            main(["--traceback", "inspect", "nowhere"])


def test_the_command_itself(tmp_path):
    """One real process, by the script and by the module, in a folder of its own."""
    script = Path(sys.executable).with_name("graphc")
    assert script.exists(), "graphc is not installed: make setup"
    done = subprocess.run(
        [script, "compile", f"{MODEL}:build", "-o", "m"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [sys.executable, "-m", "graphc", "run", "m", "nothing.npy"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "graphc: nothing.npy cannot be read: No such file or directory\n"
    assert done.stdout == ""
