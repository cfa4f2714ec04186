"""The kernels that docs/loops-on-paper.md shows do what it says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import Function
from graphc.backends.loops.parse import parse_function
from graphc.backends.loops.text import print_function
from graphc.backends.loops.verify import verify_function

PAGE = Path(__file__).parents[3] / "docs" / "loops-on-paper.md"


def shown(name: str) -> Function:
    texts = re.findall(r"```loops\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    function = {f.name: f for f in map(parse_function, texts)}[name]
    verify_function(function)
    text = print_function(function)
    assert print_function(parse_function(text)) == text
    return function


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("reverse", [False, True])
def test_packed_product(rows: int, reverse: bool) -> None:
    x, y, bias = normal(rows, 6), normal(6, 10), normal(10)
    out = np.full((rows, 10), 7, np.float32)
    assert run(shown("gemm"), [x, y, bias, out], {"m": rows}, reverse=reverse) == -1
    np.testing.assert_allclose(out, np.maximum(x @ y + bias, 0), rtol=1e-5, atol=1e-5)


def test_winograd_convolution() -> None:
    x, g = normal(10, 10, 8), normal(3, 3, 8, 8)
    y = np.full((8, 8, 8), 7, np.float32)
    run(shown("winograd"), [x, g, y])
    taps = [(r, s) for r in range(3) for s in range(3)]
    want = sum(x[r : r + 8, s : s + 8].astype(np.float64) @ g[r, s] for r, s in taps)
    np.testing.assert_allclose(y, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("cols", [0, 1, 31, 127, 128, 129, 300])
def test_block_reduction(cols: int) -> None:
    x, out = normal(3, cols), np.full(3, 7, np.float32)
    run(shown("row_sums"), [x, out], {"rows": 3, "cols": cols})
    np.testing.assert_allclose(out, x.sum(axis=1, dtype=np.float64), rtol=0, atol=1e-4)
