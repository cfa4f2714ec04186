"""A place in a user's file: its line is shown if it can be read without harm."""

import linecache
import os

from graphc.ir.source import Source, located


def test_a_line_of_a_file_is_shown(tmp_path):
    (tmp_path / "train.py").write_text("x = 1\n  y = 2  \n")
    source = Source(str(tmp_path / "train.py"), 2)
    assert source.text == "y = 2"
    assert located("wrong", source) == f"wrong\n  at {source}\n    y = 2"


def test_a_line_of_a_notebook_is_shown(monkeypatch):
    monkeypatch.setitem(linecache.cache, "<cell 3>", (5, None, ["x = 1\n"], "<cell 3>"))
    assert Source("<cell 3>", 1).text == "x = 1"


def test_what_a_text_calls_a_file_may_be_anything(tmp_path):
    """The text of a graph comes from anywhere: a device has no end, a pipe makes one wait."""
    os.mkfifo(tmp_path / "pipe")
    for file in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path), "", "a\0b", "\ud800", "none"):
        assert Source(file, 1).text == ""
        assert located("wrong", Source(file, 1)).startswith("wrong\n  at ")
