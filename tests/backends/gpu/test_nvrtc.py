"""NVRTC: machine code without a GPU, IEEE arithmetic, and one clear error for each mistake."""

from __future__ import annotations

from importlib import metadata

import pytest

from graphc.backends.gpu import nvrtc
from graphc.ir.errors import CompileError

SAXPY = """
extern "C" __global__ void saxpy(float* y, const float* x, float a) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = a * x[i] + y[i] / a + sqrtf(x[i]);
}
"""


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_cubin_is_an_elf_image_with_the_kernel(arch: str) -> None:
    image = nvrtc.compile_cubin(SAXPY, arch)
    assert image.startswith(b"\x7fELF")
    assert b".text.saxpy\0" in image


def test_arithmetic_is_ieee_and_never_contracted() -> None:
    ptx = nvrtc.compile_ptx(SAXPY, "compute_80")
    for instruction in ("mul.rn.f32", "add.rn.f32", "div.rn.f32", "sqrt.rn.f32"):
        assert instruction in ptx
    assert "fma" not in ptx
    assert ".ftz" not in ptx


def test_machine_code_differs_by_architecture() -> None:
    assert nvrtc.compile_cubin(SAXPY, "sm_80") != nvrtc.compile_cubin(SAXPY, "sm_90")


def test_version_and_architectures() -> None:
    assert nvrtc.version() >= (13, 0)
    assert {"sm_80", "sm_90"} <= set(nvrtc.supported_archs())


def test_error_in_the_source_shows_the_log() -> None:
    with pytest.raises(CompileError, match=r'for sm_80(.|\n)*identifier "x" is undefined'):
        nvrtc.compile_cubin('extern "C" __global__ void f(int* y) { *y = x; }', "sm_80")


@pytest.mark.parametrize("arch", ["sm_1", "compute_80", "", "x86-64"])
def test_unknown_architecture_names_the_known_ones(arch: str) -> None:
    with pytest.raises(CompileError, match=r"knows no .*sm_80, .*sm_90"):
        nvrtc.compile_cubin(SAXPY, arch)


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    nvrtc._library.cache_clear()
    with pytest.raises(CompileError, match=r"pip install 'graphc\[gpu\]'"):
        nvrtc.version()
    nvrtc._library.cache_clear()
