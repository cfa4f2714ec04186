"""The cache of kernels: hits and misses, damage on disk, several processes, memory set free."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from graphc.backends.cpu import cache as cache_module
from graphc.backends.cpu.cache import CacheStatistics, KernelCache, kernel_name
from graphc.backends.cpu.compiling import Compiling
from graphc.backends.cpu.disk_cache import DiskCache
from graphc.backends.cpu.kernel import CompiledKernel, call
from graphc.backends.cpu.targets import host_target, target_named
from graphc.backends.loops import build
from graphc.backends.loops.emit import Emitter
from graphc.backends.loops.ir import Barrier, Buffer, Function
from graphc.ir.dtypes import float32, float64
from graphc.ir.errors import CacheWarning, CompileError

HOST = host_target()


def plus(number: float, op: str = "add", name: str = "plus") -> Function:
    """``y[:8] = x[:8] + number``."""
    emit, x, y = Emitter(), Buffer("x", float32), Buffer("y", float32)
    value = emit.load(x, build.const(0), 8)
    emit.store(y, build.const(0), emit.op(op, value, build.const(number, value.type)))
    return Function(name, (x, y), (), emit.block)


def value(kernel: CompiledKernel) -> float:
    found = np.zeros(8, np.float32)
    assert call(kernel, [np.arange(8, dtype=np.float32), found]) == -1
    return float(found[0])


def counts(statistics: CacheStatistics) -> tuple[int, int, int]:
    return statistics.memory_hits, statistics.disk_hits, statistics.misses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kernels"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("objects/*/*"))


# What is one kernel


def test_equal_functions_are_one_kernel() -> None:
    cache = KernelCache()
    one, two, three = cache.get([plus(1), plus(2), plus(1, name="other")], HOST)
    assert one is three
    assert [value(k) for k in (one, two)] == [1, 2]
    assert counts(cache.statistics) == (0, 0, 2)
    assert cache.get([plus(2)], HOST) == [two]
    assert counts(cache.statistics) == (1, 0, 2)


def test_a_name_tells_function_target_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        kernel_name(plus(1), HOST),
        kernel_name(plus(2), HOST),
        kernel_name(plus(1), target_named("x86-64-v2")),
        kernel_name(Function("f", (Buffer("x", float64),), (), ()), HOST),
    ]
    monkeypatch.setattr(cache_module, "codegen_version", lambda: "another")
    names.append(kernel_name(plus(1), HOST))
    assert len(set(names)) == len(names)


def test_mathematical_functions_are_expanded() -> None:
    emit, x, y = Emitter(), Buffer("x", float32), Buffer("y", float32)
    emit.store(y, build.const(0), emit.op("exp", emit.load(x, build.const(0), 8)))
    (kernel,) = KernelCache().get([Function("exp", (x, y), (), emit.block)], HOST)
    found = np.zeros(8, np.float32)
    call(kernel, [np.arange(8, dtype=np.float32), found])
    np.testing.assert_allclose(found, np.exp(np.arange(8)), rtol=2e-7)


def test_errors_name_the_kernel(folder: Path) -> None:
    bad = Function("barrier", (), (), (Barrier(),))
    cache = KernelCache(DiskCache(folder))
    with pytest.raises(CompileError, match=r"kernel barrier: .* Barrier"):
        cache.get([plus(1), bad], HOST)
    assert value(cache.get([plus(1)], HOST)[0]) == 1


def test_kernels_started_early_are_compiled_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    whole = Compiling._compile
    monkeypatch.setattr(
        Compiling,
        "_compile",
        lambda self, name, function: compiled.append(name) or whole(self, name, function),
    )
    KernelCache(DiskCache(folder)).get([plus(0)], HOST)
    cache = KernelCache(DiskCache(folder))
    compiled.clear()
    with Compiling(HOST) as compiling:
        for number in (0, 1, 1):
            cache.start(plus(number), compiling)
        found = cache.get([plus(i) for i in range(3)], HOST, compiling=compiling)
    assert [value(kernel) for kernel in found] == [0, 1, 2]
    assert sorted(compiled) == sorted(kernel_name(plus(i), HOST) for i in (1, 2))
    assert counts(cache.statistics) == (0, 1, 2)


def test_errors_of_kernels_started_early_are_raised_where_they_are_wanted() -> None:
    bad, cache = Function("barrier", (), (), (Barrier(),)), KernelCache()
    with Compiling(HOST) as compiling:
        cache.start(bad, compiling)
        with pytest.raises(CompileError, match=r"kernel barrier: .* Barrier"):
            cache.get([plus(1), bad], HOST, compiling=compiling)


def test_progress_is_told(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    cache = KernelCache(DiskCache(folder))
    functions = [plus(i) for i in range(3)]
    cache.get(functions, HOST, lambda done, total: told.append((done, total)))
    cache.get(functions, HOST, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_objects_for_another_machine() -> None:
    target = target_named("aarch64")
    ((name, data),) = KernelCache().objects([plus(1)], target)
    assert name == kernel_name(plus(1), target)
    assert int.from_bytes(data[18:20], "little") == 0xB7


# Memory


def test_kernels_die_with_their_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_RECENT", 2)
    cache = KernelCache()
    first = weakref.ref(cache.get([plus(1)], HOST)[0])
    (kept,) = cache.get([plus(2)], HOST)
    for number in range(3, 6):
        cache.get([plus(number)], HOST)
    gc.collect()
    assert first() is None
    assert cache.get([plus(2)], HOST)[0] is kept


def test_threads_share_a_cache() -> None:
    cache = KernelCache()
    found: list[list[CompiledKernel]] = []
    functions = [plus(i) for i in range(8)]
    threads = [
        threading.Thread(target=lambda: found.append(cache.get(functions, HOST))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(kernels == found[0] for kernels in found)
    assert cache.statistics.misses == 8


# Disk


def test_kernels_are_found_on_disk(folder: Path) -> None:
    KernelCache(DiskCache(folder)).get([plus(1), plus(2)], HOST)
    assert len(entries(folder)) == 2
    again = KernelCache(DiskCache(folder))
    assert [value(k) for k in again.get([plus(1), plus(2), plus(3)], HOST)] == [1, 2, 3]
    assert counts(again.statistics) == (0, 2, 1)


DAMAGE = {
    "cut": lambda data: data[:-1],
    "emptied": lambda data: data[:0],
    "changed": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "other sum": lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    "other format": lambda data: b"graphc object 0\n" + data[16:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entries_are_made_anew(folder: Path, damage: str) -> None:
    KernelCache(DiskCache(folder)).get([plus(1)], HOST)
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    entry.write_bytes(DAMAGE[damage](whole))
    cache = KernelCache(DiskCache(folder))
    with pytest.warns(CacheWarning, match="is damaged"):
        assert value(cache.get([plus(1)], HOST)[0]) == 1
    assert cache.statistics.misses == 1
    assert entry.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    cache = KernelCache(DiskCache(file / "cache"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert value(cache.get([plus(1)], HOST)[0]) == 1
        writes = [w for w in told if "keeps no kernels" in str(w.message)]
        assert value(cache.get([plus(2)], HOST)[0]) == 2
    assert len(writes) == len([w for w in told if "keeps no kernels" in str(w.message)]) == 1
    assert all(w.category is CacheWarning for w in told)


def test_the_size_is_bounded(folder: Path) -> None:
    disk = DiskCache(folder, limit=10_000)
    data = bytes(1000)
    for i in range(30):
        disk.write(f"key{i:02}", data)
        os.utime(disk.directory / "objects" / f"{i:02}" / f"key{i:02}.o", (i, i))
        assert disk.size() <= 10_000
    assert disk.read("key29") == data
    assert disk.read("key00") is None


def test_entries_in_use_are_kept(folder: Path) -> None:
    disk = DiskCache(folder, limit=5_000)
    for i in range(4):
        disk.write(f"key{i:02}", bytes(1000))
        os.utime(disk.directory / "objects" / f"{i:02}" / f"key{i:02}.o", (i, i))
    assert disk.read("key00") is not None  # used today
    for i in range(4, 6):
        disk.write(f"key{i:02}", bytes(1000))
    kept = [i for i in range(6) if disk.read(f"key{i:02}") is not None]
    assert kept == [0, 3, 4, 5]


def test_processes_share_a_folder(folder: Path) -> None:
    code = f"""
from pathlib import Path
from graphc.backends.cpu.cache import KernelCache
from graphc.backends.cpu.disk_cache import DiskCache
from tests.backends.cpu.test_cache import HOST, plus, value
cache = KernelCache(DiskCache(Path({str(folder)!r})))
assert [value(k) for k in cache.get([plus(i) for i in range(12)], HOST)] == list(range(12))
"""
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    assert len(entries(folder)) == 12
    cache = KernelCache(DiskCache(folder))
    cache.get([plus(i) for i in range(12)], HOST)
    assert cache.statistics.disk_hits == 12


# The environment


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GRAPHC_CACHE_DIR": "/somewhere"}, Path("/somewhere")),
        ({"XDG_CACHE_HOME": "/home/me/cache"}, Path("/home/me/cache/graphc")),
        ({"HOME": "/home/me"}, Path("/home/me/.cache/graphc")),
        ({"GRAPHC_CACHE": "0", "GRAPHC_CACHE_DIR": "/somewhere"}, None),
    ],
)
def test_the_environment_says_where(
    environment: dict[str, str], expected: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRAPHC_CACHE", "GRAPHC_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    disk = cache_module.default_cache.__wrapped__().disk
    assert (disk.directory if disk is not None else None) == expected


def test_an_entry_that_is_no_file_is_compiled_anew(folder: Path) -> None:
    KernelCache(DiskCache(folder)).get([plus(1)], HOST)
    (entry,) = entries(folder)
    entry.unlink()
    os.mkfifo(entry)
    cache = KernelCache(DiskCache(folder))
    with pytest.warns(CacheWarning, match="is damaged"):
        assert value(cache.get([plus(1)], HOST)[0]) == 1


def test_a_user_without_a_home_keeps_kernels_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GRAPHC_CACHE_DIR", "XDG_CACHE_HOME", "GRAPHC_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.warns(CacheWarning, match="kept in memory alone"):
        assert cache_module._disk() is None


def test_the_folder_stays_where_the_process_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHC_CACHE_DIR", "kernels")
    assert cache_module._directory() == tmp_path / "kernels"


def test_a_folder_that_no_system_has_is_warned_of(tmp_path: Path) -> None:
    cache = KernelCache(DiskCache(tmp_path / ("long" * 100)))
    with Compiling(HOST) as compiling:
        cache.start(plus(1), compiling)
        with pytest.warns(CacheWarning, match="File name too long"):
            (kernel,) = cache.get([plus(1)], HOST, compiling=compiling)
    assert value(kernel) == 1
