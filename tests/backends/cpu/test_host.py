"""The host is described truly, and every CPU level compiles (and runs, where the host can)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from graphc.backends.cpu.host import LEVELS, Caches, HostCPU, host_cpu, named_cpu, read_caches
from graphc.ir.errors import CompileError

X86_LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")

MULTIPLY_ADD = """
define void @multiply_add(ptr %x) {{
  %v = load <{lanes} x float>, ptr %x, align 4
  %product = fmul <{lanes} x float> %v, %v
  %sum = fadd <{lanes} x float> %product, %v
  store <{lanes} x float> %sum, ptr %x, align 4
  ret void
}}
"""


def machine(cpu: HostCPU) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(cpu.triple)
    return target.create_target_machine(cpu=cpu.cpu, features=",".join(cpu.features), opt=2)


def cache(root: Path, core: int, index: int, **facts: str) -> None:
    folder = root / f"cpu{core}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, fact in facts.items():
        (folder / name).write_text(fact + "\n")


def test_host_is_this_machine() -> None:
    host = host_cpu()
    assert host.cores == len(os.sched_getaffinity(0))
    assert host.cpu == llvm.get_host_cpu_name()
    assert host.architecture == os.uname().machine
    assert host.runs(host)
    assert host.target.name == "host"
    assert host.target.l1_bytes <= host.target.l2_bytes <= host.target.l3_bytes


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="Linux names these flags on x86")
@pytest.mark.parametrize("feature", ["avx2", "fma", "avx512f", "avx512vl", "avx512_vnni"])
def test_features_agree_with_the_kernel(feature: str) -> None:
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    assert host_cpu().has(feature.replace("_", "")) == (feature in flags)


def test_every_feature_is_explicit() -> None:
    assert {feature[0] for feature in host_cpu().features} <= {"+", "-"}
    assert list(host_cpu().features) == sorted(host_cpu().features, key=lambda f: f[1:])


def test_levels_grow() -> None:
    v2, v3, v4 = (LEVELS[name] for name in X86_LEVELS)
    assert v4.runs(v3)
    assert v3.runs(v2)
    assert not v2.runs(v3)
    assert not v3.runs(v4)
    assert not v4.runs(LEVELS["aarch64"])


@pytest.mark.parametrize(
    ("name", "vector_bytes", "registers", "fma"),
    [
        ("x86-64-v2", 16, 16, False),
        ("x86-64-v3", 32, 16, True),
        ("x86-64-v4", 64, 32, True),
        ("aarch64", 16, 32, True),
    ],
)
def test_level_targets(name: str, vector_bytes: int, registers: int, fma: bool) -> None:
    target = named_cpu(name).target
    assert (target.kind, target.name) == ("cpu", name)
    assert (target.vector_bytes, target.vector_registers) == (vector_bytes, registers)
    assert target.has_fma is fma


def test_avx512_without_its_level_is_not_wide() -> None:
    v3 = LEVELS["x86-64-v3"]
    knl = HostCPU("knl", v3.triple, "knl", (*v3.features, "+avx512cd", "+avx512f"))
    assert knl.target.vector_bytes == 32


@pytest.mark.parametrize(
    ("name", "register"),
    [("x86-64-v2", "xmm"), ("x86-64-v3", "ymm"), ("x86-64-v4", "zmm"), ("aarch64", "q")],
)
def test_vectors_fill_one_register(name: str, register: str) -> None:
    cpu = named_cpu(name)
    text = MULTIPLY_ADD.format(lanes=cpu.target.lanes(4))
    module = llvm.parse_assembly(f'target triple = "{cpu.triple}"\n{text}')
    body = machine(cpu).emit_assembly(module).partition("multiply_add:")[2]
    assert register in body
    assert "fma" not in body, "LLVM must not fuse what the IR keeps apart"
    assert "fmla" not in body
    assert "call" not in body


@pytest.mark.parametrize("name", [*LEVELS, "host"])
def test_levels_run_where_the_host_can(name: str) -> None:
    cpu = named_cpu(name)
    if not host_cpu().runs(cpu):
        pytest.skip(f"this processor has not all of {name}")
    lanes = cpu.target.lanes(4)
    target_machine = machine(cpu)
    module = llvm.parse_assembly(MULTIPLY_ADD.format(lanes=lanes))
    with llvm.create_mcjit_compiler(module, target_machine) as engine:
        engine.finalize_object()
        address = engine.get_function_address("multiply_add")
        values = (ctypes.c_float * lanes)(*range(lanes))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(values))
    assert list(values) == [i * i + i for i in range(lanes)]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(CompileError, match=r"no CPU level 'x86-64-v5'.*host, x86-64-v2"):
        named_cpu("x86-64-v5")


def test_caches_of_a_usual_machine(tmp_path: Path) -> None:
    cache(tmp_path, 0, 0, level="1", type="Data", size="48K")
    cache(tmp_path, 0, 1, level="1", type="Instruction", size="64K")
    cache(tmp_path, 0, 2, level="2", type="Unified", size="2048K")
    cache(tmp_path, 0, 3, level="3", type="Unified", size="36M")
    assert read_caches(tmp_path, [0]) == Caches(l1d=48 << 10, l2=2 << 20, l3=36 << 20)


def test_the_smallest_of_unlike_cores_counts(tmp_path: Path) -> None:
    for core, l1d, l2 in ((0, "64K", "512K"), (1, "32K", "1024K")):
        cache(tmp_path, core, 0, level="1", type="Data", size=l1d)
        cache(tmp_path, core, 1, level="2", type="Unified", size=l2)
    assert read_caches(tmp_path, [0, 1]) == Caches(l1d=32 << 10, l2=512 << 10, l3=512 << 10)
    assert read_caches(tmp_path, [1]) == Caches(l1d=32 << 10, l2=1 << 20, l3=1 << 20)


def test_a_silent_machine_has_default_caches(tmp_path: Path) -> None:
    cache(tmp_path, 0, 0, level="1", type="Data")
    cache(tmp_path, 0, 1, level="2", type="Unified", size="unknown")
    assert read_caches(tmp_path, [0, 7]) == Caches()


def test_llvm_is_loaded_only_when_asked() -> None:
    code = (
        "import sys; import graphc.backends.cpu.host as h; h.named_cpu('x86-64-v3').target; "
        "assert not any(name.startswith('llvmlite') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
