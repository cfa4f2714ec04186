"""Objects and libraries: what LLVM refuses, what loads, what is freed."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from graphc.backends.cpu.jit import Compiler, compile_object, link
from graphc.backends.cpu.symbols import undefined_symbols
from graphc.backends.cpu.targets import host_target, runs_here, target_named
from graphc.ir.errors import CompileError

ANSWER = "define i64 @{name}() {{ ret i64 {value} }}\n"


def answer(name: str, value: int) -> bytes:
    return compile_object(ANSWER.format(name=name, value=value), host_target())


def called(address: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(address)())


def mapped_bytes() -> int:
    """Executable memory of this process."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        region, permissions = line.split()[:2]
        if "x" in permissions:
            begin, end = (int(text, 16) for text in region.split("-"))
            total += end - begin
    return total


def test_objects_are_loaded_and_called() -> None:
    library = link({f"f{i}": answer(f"f{i}", i) for i in range(20)})
    assert [called(library.address(f"f{i}")) for i in range(20)] == list(range(20))


def test_one_name_may_be_loaded_twice() -> None:
    first, second = link({"f": answer("f", 1)}), link({"f": answer("f", 2)})
    assert [called(x.address("f")) for x in (first, second)] == [1, 2]


def test_one_object_may_define_several_functions() -> None:
    text = ANSWER.format(name="f", value=1) + ANSWER.format(name="g", value=2)
    library = link({"f": compile_object(text, host_target())}, exports=["g"])
    assert called(library.address("g")) == 2


def test_code_is_freed_with_its_library() -> None:
    data = answer("f", 1)
    link({"f": data})
    gc.collect()
    before = mapped_bytes()
    libraries = [link({"f": data}) for _ in range(100)]
    assert mapped_bytes() > before
    libraries.clear()
    gc.collect()
    assert mapped_bytes() == before


@pytest.mark.parametrize("data", [b"", b"no object", b"\x7fELF\x02\x01" + bytes(200)])
def test_damaged_objects_are_refused(data: bytes) -> None:
    with pytest.raises(CompileError, match="cannot be loaded"):
        link({"f": data})


def test_missing_functions_are_refused() -> None:
    with pytest.raises(CompileError, match="cannot be loaded"):
        link({"g": answer("f", 1)})


@pytest.mark.parametrize(
    "text",
    ["define void @f( {", "define i64 @f() { ret i32 0 }", "declare void @f(\n"],
)
def test_wrong_text_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match="a bug of graphc"):
        compile_object(text, host_target())


def test_text_that_breaks_a_rule_is_refused() -> None:
    text = "define i64 @f(i1 %c) {\n br i1 %c, label %a, label %b\na:\n %x = add i64 1, 1\n"
    text += " br label %b\nb:\n ret i64 %x\n}"
    with pytest.raises(CompileError, match="does not dominate"):
        compile_object(text, host_target())


def test_unknown_processors_are_refused() -> None:
    target = replace(host_target(), name="z80", triple="z80-unknown-none")
    with pytest.raises(CompileError, match="no code can be generated for z80"):
        Compiler(target)


@pytest.mark.parametrize(
    ("name", "machine"), [("x86-64-v2", 0x3E), ("x86-64-v4", 0x3E), ("aarch64", 0xB7)]
)
def test_objects_are_of_their_machine(name: str, machine: int) -> None:
    data = compile_object(ANSWER.format(name="f", value=1), target_named(name))
    assert int.from_bytes(data[18:20], "little") == machine


def test_features_are_obeyed() -> None:
    """Code for a level has no instruction of a higher one."""
    text = """
define void @f(ptr %p) {
  %x = load <16 x float>, ptr %p, align 4
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  store <16 x float> %y, ptr %p, align 4
  ret void
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""
    found = {}
    for level in ("x86-64-v3", "x86-64-v4"):
        assembly = Compiler(target_named(level)).assembly(text)
        found[level] = [register for register in ("zmm", "ymm") if register in assembly]
    assert found == {"x86-64-v3": ["ymm"], "x86-64-v4": ["zmm"]}


def test_multiplication_and_addition_are_not_fused() -> None:
    text = """
define <8 x float> @f(<8 x float> %a, <8 x float> %b, <8 x float> %c) {
  %p = fmul <8 x float> %a, %b
  %s = fadd <8 x float> %p, %c
  ret <8 x float> %s
}
"""
    for level in ("x86-64-v4", "aarch64"):
        assembly = Compiler(target_named(level)).assembly(text)
        assert "fmadd" not in assembly
        assert "fmla" not in assembly


def test_threads_compile_what_one_does() -> None:
    texts = [ANSWER.format(name=f"f{i}", value=i) for i in range(64)]
    one = [compile_object(text, host_target()) for text in texts]
    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(lambda text: compile_object(text, host_target()), texts)) == one


def test_what_is_missing_is_told() -> None:
    text = "declare double @sin(double)\ndefine double @f(double %x) {\n"
    text += "  %y = call double @sin(double %x)\n  ret double %y\n}"
    assert undefined_symbols(compile_object(text, host_target())) == {"sin"}
    assert undefined_symbols(answer("f", 1)) == frozenset()
    with pytest.raises(ValueError, match="not an ELF object"):
        undefined_symbols(b"MZ")


def test_targets() -> None:
    assert host_target().name == "host"
    assert runs_here(host_target())
    assert runs_here(target_named("x86-64-v2")) != runs_here(target_named("aarch64"))
    assert not runs_here(replace(host_target(), features=host_target().features + ",+telepathy"))
    assert not runs_here(replace(host_target(), kind="gpu"))
    facts = {
        name: (t.vector_bytes, t.vector_registers, t.has_fma)
        for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64")
        for t in [target_named(name)]
    }
    assert facts == {
        "x86-64-v2": (16, 16, False),
        "x86-64-v3": (32, 16, True),
        "x86-64-v4": (64, 32, True),
        "aarch64": (16, 32, True),
    }
    with pytest.raises(CompileError, match="no CPU level 'x86-64-v9'"):
        target_named("x86-64-v9")


def test_llvm_is_loaded_when_it_is_needed() -> None:
    code = "import sys, graphc.backends.cpu.cache; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
