"""Runs what the documents show: their Python as one program, their shell commands, in order;
a C program is kept as main.c, and Python that begins with `# NAME.py` as that file.

A block that follows one of these directly is what it prints. `python tests/documents.py FILE...`
writes it anew (read the difference before you commit it); with `--check` it tells what differs.
"""

import contextlib
import io
import linecache
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.py)\n")
_MNEMONIC = re.compile(r"^\t([a-z]\w*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block, and where its text is in the document."""

    language: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Output:
    """What a block printed, and the block that says so."""

    shown: Block
    printed: str

    def difference(self, name):
        """What to say where it does not agree; `name` is the document's."""
        return (
            f"{name} shows\n{self.shown.text}\nbut it prints\n{self.printed}\n"
            f"`python tests/documents.py {name}` writes it anew"
        )

    def agrees(self):
        """Equal; of assembly, which changes with LLVM, the same instructions in any order."""
        if self.shown.language == "asm":
            instructions = (set(_MNEMONIC.findall(t)) for t in (self.shown.text, self.printed))
            return len(set(map(frozenset, instructions))) == 1
        return self.shown.text.rstrip() == self.printed.rstrip()


def blocks_of(document):
    return [Block(m[1], m[2], m.start(2), m.end(2)) for m in _FENCE.finditer(document)]


def run(document, name, shell=True):
    """Run a document in the working directory; gives the outputs that it shows.

    `name` is what its Python code is called in messages, as one file.
    """
    blocks = blocks_of(document)
    code = "".join(b.text for b in blocks if b.language == "python" and not _FILE.match(b.text))
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    runners = {"python": _Python(name)} | ({"sh": _shell, "c": _save} if shell else {})
    outputs = []
    for number, block in enumerate(blocks):
        if block.language not in runners:
            continue
        printed = runners[block.language](block.text)
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if following and following.language not in ("python", "sh", "c"):
            between = document[block.end : following.start]
            if between.startswith("```\n\n```"):
                outputs.append(Output(following, printed))
    return outputs


class _Python:
    """One program: each block goes on where the one before ended."""

    def __init__(self, name):
        self.name = name
        self.lines = 0
        self.names = {"__name__": "__main__"}

    def __call__(self, text):
        if file := _FILE.match(text):
            Path(file[1]).write_text(text)
            return ""
        printed = io.StringIO()
        program = compile("\n" * self.lines + text, self.name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(program, self.names)
        self.lines += text.count("\n")
        return printed.getvalue().replace(f"{Path.cwd()}{os.sep}", "")  # that of its files


def _shell(text):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e"], input=text, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


def _save(text):
    Path("main.c").write_text(text)


def updated(document, outputs):
    """The document with what was really printed."""
    for output in reversed(outputs):
        shown = output.shown
        document = document[: shown.start] + output.printed.rstrip() + "\n" + document[shown.end :]
    return document


def main():
    names = [name for name in sys.argv[1:] if name != "--check"]
    sys.path.insert(0, "")  # where the files of a document are
    for path in map(Path, names):
        document, place = path.read_text(), path.resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            outputs = run(document, f"{path.stem}.py", shell=path.name != "README.md")
        if "--check" not in sys.argv:
            place.write_text(updated(document, outputs))
        elif wrong := [output.difference(path) for output in outputs if not output.agrees()]:
            sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
