"""When a matrix product copies an operand into panels, and that nothing of it shows in results."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.cpu.schedules import gemm_blocking
from graphc.backends.cpu.schedules.general import schedule
from graphc.ir.dims import Dim, symbol
from graphc.ir.dtypes import float32
from tests.backends.cpu.test_gemm import TARGETS, einsum, interpret, operands


@pytest.mark.parametrize("spec", ["mk,kn->mn", "mk,nk->mn", "bmk,nk->bmn"])
@pytest.mark.parametrize("in_task", [False, True])
def test_packing(spec: str, in_task: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    always = gemm_blocking.Packing.ALWAYS
    monkeypatch.setattr(gemm_blocking, "packing_of_contiguous", lambda *_: always)
    monkeypatch.setattr(gemm_blocking, "PACKING_PAYS", 256 if in_task else 0)
    monkeypatch.setattr(gemm_blocking, "TASK_OPERATIONS", 256)
    extents = {"b": 2, "m": 9, "k": 18, "n": 21}
    used = {c: n for c, n in extents.items() if c in spec}
    a, b = operands(spec, used)
    (found,) = interpret(einsum(spec, used), [a, b], TARGETS["x86-64-v3"])
    np.testing.assert_array_equal(found, np.einsum(spec, a, b))


@pytest.mark.parametrize("spec", ["mk,kn->mn", "bmk,kn->bmn", "bmk,bkn->bmn"])
@pytest.mark.parametrize("rows", [0, 1, 8, 9, 21])
def test_packing_that_a_run_decides(spec: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``b`` beyond all caches is packed where more rows read it than one tile has."""
    monkeypatch.setattr(gemm_blocking, "FAR", 0)
    extents = {"b": 2, "m": rows, "k": 18, "n": 21}
    used = {c: n for c, n in extents.items() if c in spec}
    a, b = operands(spec, used)
    kernel = einsum(spec, {**used, "m": symbol("m")})
    assert any(
        buffer.size is not None for buffer in schedule(kernel, TARGETS["x86-64-v3"]).workspace
    )
    (found,) = interpret(kernel, [a, b], TARGETS["x86-64-v3"])
    np.testing.assert_array_equal(found, np.einsum(spec, a, b))


def test_when_packing_pays() -> None:
    target, packing = TARGETS["x86-64-v3"], gemm_blocking.Packing

    def of(rows: Dim, cols: Dim, depth: Dim) -> gemm_blocking.Packing:
        return gemm_blocking.packing_of_contiguous(
            gemm_blocking.Shape(rows, cols, depth, 1, float32), target
        )

    far = gemm_blocking.FAR * target.l2_bytes // 4
    assert of(symbol("m"), far // 1024, 1024) is packing.MANY_ROWS
    assert of(symbol("m"), far // 1024 - 1, 1024) is packing.NEVER
    assert of(8, far // 1024, 1024) is packing.NEVER
    assert of(9, far // 1024, 1024) is packing.ALWAYS
    assert of(2048, far // 64, symbol("k")) is packing.ALWAYS
    assert of(2048, symbol("n"), 1024) is packing.NEVER
