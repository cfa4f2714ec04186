"""The house stands however it is installed: packages through links, layers, size of files."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("passes", "runtime", "backends")
SOURCES = ("graphc", *LINKED, "pyproject.toml", "README.md", "LICENSE")

# The only rooms that may import a library. Whoever adds one states here who knows it.
LIBRARIES = {
    "click": ("graphc.cli",),
    "cuda": ("graphc.backends.gpu",),
    "cupy": ("graphc.backends.gpu",),
    "llvmlite": ("graphc.backends.cpu",),
    "ml_dtypes": ("graphc",),
    "mpi4py": ("graphc.runtime",),
    "networkx": ("graphc",),
    "numpy": ("graphc",),
    "nvidia": ("graphc.backends.gpu",),
    "onnx": ("graphc.onnx",),
    "rich": ("graphc",),
    "safetensors": ("graphc",),
    "ziglang": ("graphc.artifact",),
}
# Longer files and functions, each with its reason: {"passes/pipeline.py": "the one list ..."}.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

REPORT = """
import sys, graphc, graphc.passes, graphc.runtime, graphc.backends, graphc.version
for module in (graphc, graphc.passes, graphc.runtime, graphc.backends):
    print(module.__name__, module.__file__)
print(graphc.version.__version__)
"""


def run(*command, cwd, check=True, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def modules(root):
    """Every Python file of the package below `root`, by its path inside `graphc`."""
    found = {}
    for folder, names, files in os.walk(root / "graphc", followlinks=True):
        names[:] = [n for n in names if n != "__pycache__"]
        for name in files:
            if name.endswith(".py"):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is packaged, links kept, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source, ignore = ROOT / name, shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, copy / name)
    return copy


def build(kind, source, target):
    """Call the build backend itself: no isolated environment, so no network."""
    target.mkdir()
    code = f"import setuptools.build_meta as b; print(b.build_{kind}({str(target)!r}))"
    run(sys.executable, "-c", code, cwd=source)
    (archive,) = target.iterdir()
    return archive


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    return build("sdist", checkout, tmp_path_factory.mktemp("sdist") / "dist")


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def wheel_of_sdist(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel-of-sdist") / "dist")


@pytest.fixture
def environment(tmp_path):
    """An environment of its own that sees our dependencies, and no installed graphc."""
    home = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=tmp_path)
    variables = {"base": str(home), "platbase": str(home)}
    own = Path(sysconfig.get_path("purelib", "venv", variables))
    # A folder named in a .pth file joins sys.path; .pth files inside that folder are not read.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "python"


def install(python, *what):
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd="/")


def locations(output):
    *rows, version = output.split("\n")[:-1]
    return dict(row.split(" ", 1) for row in rows), version


@pytest.mark.parametrize("archive", ["wheel", "wheel_of_sdist"])
def test_wheel_holds_every_module_and_imports(archive, environment, request, tmp_path):
    wheel = request.getfixturevalue(archive)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(modules(ROOT)) - names == set()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"graphc"}
    assert "graphc/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)
    install(environment, wheel)
    found, version = locations(run(environment, "-c", REPORT, cwd=tmp_path).stdout)
    assert version == wheel.name.split("-")[1]
    assert all(str(environment.parents[1]) in place for place in found.values()), found


def test_wheel_is_the_same_from_checkout_and_from_sdist(wheel, wheel_of_sdist):
    first, second = (zipfile.ZipFile(path) for path in (wheel, wheel_of_sdist))
    assert {i.filename: i.CRC for i in first.infolist() if "dist-info" not in i.filename} == {
        i.filename: i.CRC for i in second.infolist() if "dist-info" not in i.filename
    }


def test_sdist_holds_files_and_no_links(sdist):
    with tarfile.open(sdist) as archive:
        assert [m.name for m in archive if not (m.isreg() or m.isdir())] == []


def test_editable_install_imports_the_checkout(checkout, environment, tmp_path):
    install(environment, "--editable", checkout)
    found, _ = locations(run(environment, "-c", REPORT, cwd=tmp_path).stdout)
    assert found == {
        "graphc": f"{checkout}/graphc/__init__.py",
        **{f"graphc.{name}": f"{checkout}/graphc/{name}/__init__.py" for name in LINKED},
    }
    for name in LINKED:
        done = run(environment, "-c", f"import {name}", cwd=tmp_path, check=False)
        assert f"No module named '{name}'" in done.stderr


def test_checkout_imports_without_installation(checkout, environment):
    found, _ = locations(run(environment, "-c", REPORT, cwd=checkout).stdout)
    assert found["graphc"] == f"{checkout}/graphc/__init__.py"


@pytest.mark.parametrize("name", LINKED)
def test_folder_refuses_its_own_name(name, checkout):
    done = run(sys.executable, "-c", f"import {name}", cwd=checkout, check=False)
    assert done.returncode == 1
    assert f"ImportError: '{name}' is a folder of the graphc checkout" in done.stderr
    assert f"import graphc.{name} instead" in done.stderr


@pytest.mark.parametrize("name", LINKED)
def test_link_is_relative(name):
    assert (ROOT / "graphc" / name).readlink() == Path(f"../{name}")


def test_import_of_graphc_loads_nothing_heavy(tmp_path):
    heavy = set(LIBRARIES) - {"numpy", "ml_dtypes"} | {"scipy", "sklearn", "pydoc", "asyncio"}
    code = "import sys, graphc; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = run(sys.executable, "-c", code, cwd=ROOT).stdout.split()
    assert "graphc" in loaded
    assert heavy & set(loaded) == set()


def imported(path):
    """The top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        yield from (name.split(".")[0] for name in names)


def test_libraries_are_known_to_their_rooms_alone():
    strangers = []
    for name, path in modules(ROOT).items():
        here = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for library in set(imported(path)) - set(sys.stdlib_module_names) - {"graphc"}:
            rooms = LIBRARIES.get(library, ())
            if not any(f"{here}.".startswith(f"{room}.") for room in rooms):
                strangers.append(f"{here} imports {library}; rooms that may: {rooms}")
    assert strangers == []


VIOLATIONS = {
    "upwards": (
        "graphc/ir/intruder.py",
        "import graphc.runtime\n",
        "graphc.ir is not allowed to import graphc.runtime",
    ),
    "sideways": (
        "backends/gpu/intruder.py",
        "import graphc.passes\n",
        "graphc.backends.gpu is not allowed to import graphc.passes",
    ),
    "unplaced": ("graphc/utilities.py", "", "utilities"),
}


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_layers_refuse(kind, checkout):
    path, text, told = VIOLATIONS[kind]
    linter = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    assert run(*linter, cwd=checkout).returncode == 0
    intruder = checkout / path
    intruder.write_text(text)
    try:
        done = run(*linter, cwd=checkout, check=False)
    finally:
        intruder.unlink()
    assert done.returncode == 1, done.stdout
    assert "Imports go one way BROKEN" in done.stdout
    assert told in done.stdout


def test_files_and_functions_are_short():
    """At most 400 lines a file and 40 a function, but for those that give a reason above."""
    long = []
    for path in {path.resolve() for path in modules(ROOT).values()}:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if text.count("\n") > 400 and name not in LONG_FILES:
            long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 40 and f"{name}:{node.name}" not in LONG_FUNCTIONS:
                    long.append(f"{name}:{node.name}: {lines} lines")
    assert sorted(long) == []
