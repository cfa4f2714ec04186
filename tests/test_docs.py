"""The documents are true: what they show is run, what they name exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.backends.cpu.targets import host_target
from graphc.passes.pipeline import default_pipeline
from tests.documents import run, updated

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in
             (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}  # fmt: skip


def agree(name, shell=True):
    outputs = run(DOCUMENTS[name], f"{Path(name).stem}.py", shell)
    for output in outputs:
        assert output.agrees(), output.difference(name)
    return outputs


@pytest.mark.gxx  # its last step builds a C program
def test_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(agree("docs/tutorial.md")) > 10


@pytest.mark.mpi
def test_tutorial_of_clusters():
    """In a process of its own, which becomes a task of a cluster."""
    done = subprocess.run(
        [sys.executable, "tests/documents.py", "--check", "docs/tutorial-cluster.md"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=280,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/collectives.md", "docs/passes.md"])
def test_shown_forms_are_what_the_code_makes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert agree(name)


def test_readme_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert agree("README.md", shell=False)


def test_table_of_passes_is_the_pipeline():
    named = re.findall(r"^\| \d+ \| `(\w+)` \|", DOCUMENTS["docs/passes.md"], re.MULTILINE)
    assert named == [step.name for step in default_pipeline(host_target())]


def test_glossary_is_sorted_and_has_the_terms_of_the_design():
    terms = re.findall(r"^\*\*([\w ]+)\*\*: ", DOCUMENTS["docs/glossary.md"], re.MULTILINE)
    assert terms == sorted(set(terms))
    assert set(terms) >= {
        "graph", "node", "tensor", "op", "kernel", "segment", "partition", "program", "target",
        "device", "task", "job", "step", "shard", "mesh", "bucket", "arena", "artifact",
    }  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_named_files_exist(name):
    text, folder = DOCUMENTS[name], (ROOT / name).parent
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (folder / link).exists(), link
    for path in re.findall(
        r"`((?:graphc|passes|backends|runtime|tests|docs|examples)/[\w./]*)`", text
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_environment_variables_that_are_named_are_read(name):
    sources = "".join(p.read_text() for f in ("runtime", "passes", "backends", "graphc/compiler")
                      for p in (ROOT / f).rglob("*.py"))  # fmt: skip
    for variable in set(re.findall(r"GRAPHC_(?:CACHE|DUMP|DISABLE|NUM)\w*", DOCUMENTS[name])):
        assert f'"{variable}"' in sources, variable


class TestRunner:
    """The comparison above can fail."""

    DOCUMENT = "```python\nx = 2\nprint(x)\n```\n\n```text\n2\n```\n"

    def test_equal_and_different(self):
        (output,) = run(self.DOCUMENT, "d.py")
        assert output.agrees()
        (output,) = run(self.DOCUMENT.replace("x = 2", "x = 3"), "d.py")
        assert not output.agrees()
        assert "```text\n3\n```" in updated(self.DOCUMENT.replace("x = 2", "x = 3"), [output])

    def test_assembly_is_compared_by_instruction(self):
        document = (
            "```python\nprint('\\tadd\\t1\\n\\tjl\\tx')\n```\n\n```asm\n\tjl\ty\n\tadd\t2\n```\n"
        )
        (output,) = run(document, "d.py")
        assert output.agrees()
        (output,) = run(document.replace("add\t2", "sub\t2"), "d.py")
        assert not output.agrees()

    def test_errors_are_not_swallowed(self):
        with pytest.raises(ZeroDivisionError):
            run("```python\n1 / 0\n```\n", "d.py")
        with pytest.raises(AssertionError):
            run("```sh\nfalse\n```\n", "d.py")

    def test_files_are_kept_and_not_run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        document = "```python\n# a_file.py\n1 / 0\n```\n\n" + self.DOCUMENT
        (output,) = run(document, "d.py")
        assert output.agrees()
        assert Path("a_file.py").read_text() == "# a_file.py\n1 / 0\n"

    @pytest.mark.parametrize(("value", "code"), [("2", 0), ("3", 1)])
    def test_a_check_changes_nothing_and_tells_what_differs(self, value, code, tmp_path):
        document = tmp_path / "d.md"
        text = self.DOCUMENT.replace("x = 2", f"x = {value}")
        document.write_text(text)
        done = subprocess.run(
            [sys.executable, ROOT / "tests/documents.py", "--check", document],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, document.read_text()) == (code, "", text)
        assert ("but it prints\n3" in done.stderr) == bool(code)
