"""The public face: what `import graphc` gives, and what it does not import."""

import subprocess
import sys

import pytest

import graphc as gx

HEAVY = ("llvmlite", "mpi4py", "networkx", "scipy", "safetensors", "cupy", "click", "rich")


def test_every_public_name_is_there():
    lazy = set(gx._LAZY)
    missing = [name for name in gx.__all__ if name not in lazy and not hasattr(gx, name)]
    assert missing == []
    assert sorted(gx.__all__) == dir(gx)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gx.nothing


def test_importing_is_light():
    program = (
        "import sys, graphc;"
        f"print([m for m in {HEAVY!r} if m in sys.modules]"
        " + [m for m in sys.modules if m.startswith(('graphc.backends', 'graphc.runtime'))])"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_graph_can_be_made_the_default_one():
    outer = gx.get_default_graph()
    with gx.name_scope("outside"), gx.Graph().as_default() as graph:
        assert gx.constant(1).graph is graph
        assert gx.constant(1).name == "constant_1:0"
    assert gx.get_default_graph() is outer
    with gx.name_scope("a") as scope:
        gx.constant(1)
    with gx.name_scope(scope):
        assert gx.constant(1).name == "a/constant_1:0"
        with gx.name_scope(None):
            assert gx.constant(1).name == "constant:0"
    with gx.name_scope("a"):
        assert gx.constant(1).name == "a_1/constant:0"
