"""The same kernel on a real GPU and under emulation: the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.gpu.launch import load
from graphc.backends.gpu.printer import STATUS_OK, print_cuda
from graphc.backends.gpu.schedules.choose import schedule
from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.expr import apply
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dtypes import float32
from graphc.ir.errors import DeviceError
from graphc.ir.types import TensorType
from tests.backends.gpu.kernels import M, N, kernel_of, normal
from tests.backends.gpu.launching import run_emulated


def norm() -> Kernel:
    """``sqrt(sum of squares)`` of each row."""

    def body(build: KernelBuilder, x: Buffer) -> list[Buffer]:
        total = build.reduce("sum", (N,), (M,), lambda *i: x[i] * x[i])
        return [build.map((N,), lambda *i: apply("sqrt", total[i]))]

    return kernel_of([TensorType(float32, (N, M))], [TensorType(float32, (N,))], body)


@pytest.mark.gpu
@pytest.mark.gxx
def test_gpu_gives_the_bits_of_the_emulation() -> None:
    import cupy

    function = schedule(norm())
    sizes = {"n": 37, "m": 1234}
    x, y = normal(1, (37, 1234)), np.zeros(37, np.float32)
    assert run_emulated(function, [x, y], sizes) == STATUS_OK
    result = cupy.zeros(37, cupy.float32)
    load(print_cuda(function))([cupy.asarray(x), result], sizes)
    assert cupy.asnumpy(result).tobytes() == y.tobytes()


def test_machine_without_a_gpu_is_told_so() -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="there is no GPU that can be used"):
        load(print_cuda(schedule(norm())))
