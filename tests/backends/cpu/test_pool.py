"""The thread pool: each task once, all results seen, no hang, no lost thread, no idle work."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from graphc.backends.cpu import pool as pool_module
from graphc.backends.cpu.pool import (
    ThreadPool,
    available_threads,
    default_pool,
    set_num_threads,
)
from graphc.backends.cpu.pool_ir import CREATE, DESTROY, PARALLEL, SPIN_NANOSECONDS, pool_ir
from graphc.ir.errors import CompileError, GraphcError
from tests.backends.cpu.pool_bodies import Addresses, address, call

TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture(params=[1, 2, 3, 8])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPool]:
    pool = ThreadPool(request.param)
    yield pool
    pool.close()


@pytest.fixture
def pair() -> Iterator[ThreadPool]:
    pool = ThreadPool(2)
    yield pool
    pool.close()


@pytest.fixture
def fresh_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_default", None)


def native_threads() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


def counts_of(pool: ThreadPool, tasks: int) -> list[int]:
    counts = (ctypes.c_int64 * max(1, tasks))()
    pool.run(address("count"), ctypes.addressof(counts), tasks)
    return list(counts)[: max(0, tasks)]


def python_task(task: object) -> int:
    return ctypes.cast(task, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


@pytest.mark.parametrize("tasks", [-1, 0, 1, 2, 3, 7, 64, 100_000])
def test_each_task_runs_once(pool: ThreadPool, tasks: int) -> None:
    assert counts_of(pool, tasks) == [1] * tasks


def test_many_jobs_of_varying_size(pool: ThreadPool) -> None:
    sizes = random.Random(pool.threads)
    for _ in range(500):
        tasks = sizes.choice((0, 1, 2, 3, 5, 8, 50, 1000))
        assert counts_of(pool, tasks) == [1] * tasks


def test_many_jobs_back_to_back(pool: ThreadPool) -> None:
    jobs, tasks = 20_000 // pool.threads // 15 * 15, 16
    counts = (ctypes.c_int64 * tasks)()
    call("count_jobs", pool.parallel_address, pool.address, ctypes.addressof(counts), tasks, jobs)
    per_size = jobs // (tasks - 1)  # sizes 2..tasks: task i is in all sizes greater than i
    assert list(counts) == [per_size * (tasks - max(2, i + 1) + 1) for i in range(tasks)]


@pytest.mark.parametrize("n", [2, 3, 64])
def test_each_job_sees_what_the_last_one_wrote(pool: ThreadPool, n: int) -> None:
    rounds = 4000 // pool.threads
    start = [i * i for i in range(n)]
    to, source = (ctypes.c_int64 * n)(), (ctypes.c_int64 * n)(*start)
    env = Addresses(ctypes.addressof(to), ctypes.addressof(source), n)
    call("shift_rounds", pool.parallel_address, pool.address, ctypes.addressof(env), rounds)
    result = to if rounds % 2 else source
    assert list(result) == [start[(i + rounds) % n] + rounds for i in range(n)]


def test_two_threads_work_at_once_however_long_they_slept(pair: ThreadPool) -> None:
    meetings = ctypes.c_int64()
    pauses = random.Random(0)
    for _ in range(300):  # each pause ends before, while or after a worker falls asleep
        time.sleep(pauses.uniform(0, 3 * SPIN_NANOSECONDS * 1e-9))
        pair.run(address("meet"), ctypes.addressof(meetings), 2)
    assert meetings.value == 600


def test_a_caller_sleeps_until_the_last_task_is_done(pair: ThreadPool) -> None:
    ran: list[tuple[int, int]] = []
    helped = threading.Event()

    def nap(env: int | None, task: int) -> None:
        if threading.get_native_id() == caller:
            helped.wait(10)
        else:
            helped.set()
            time.sleep(0.01)
        ran.append((task, threading.get_native_id()))

    caller = threading.get_native_id()
    body = TASK(nap)
    for _ in range(10):
        ran.clear()
        helped.clear()
        pair.run(python_task(body), 0, 4)
        assert sorted(task for task, _ in ran) == [0, 1, 2, 3]
        assert len({thread for _, thread in ran}) == 2


def test_a_nested_call_runs_on_its_own_thread(pool: ThreadPool) -> None:
    counts = (ctypes.c_int64 * 10)()
    env = Addresses(
        pool.parallel_address, pool.address, address("count"), ctypes.addressof(counts), 10
    )
    pool.run(address("nest"), ctypes.addressof(env), 100)
    assert list(counts) == [100] * 10
    assert counts_of(pool, 50) == [1] * 50


def test_a_call_without_a_pool_is_serial() -> None:
    parallel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    order: list[tuple[int, int]] = []
    body = TASK(lambda _, task: order.append((task, threading.get_native_id())))
    parallel(ThreadPool(1).parallel_address)(0, python_task(body), 0, 5)
    assert order == [(task, threading.get_native_id()) for task in range(5)]


def test_several_threads_may_call_at_once(pool: ThreadPool) -> None:
    results: list[bool] = []

    def client(seed: int) -> None:
        sizes = random.Random(seed)
        for _ in range(100):
            tasks = sizes.randrange(100)
            results.append(counts_of(pool, tasks) == [1] * tasks)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert results == [True] * 400


def test_tasks_round_as_their_caller_does(pair: ThreadPool) -> None:
    upward = {"x86_64": 0x800, "aarch64": 0x400000, "riscv64": 3}
    libm = ctypes.CDLL("libm.so.6")
    quotients = {}
    architecture = llvm.get_process_triple().partition("-")[0]
    for mode in (0, upward[architecture], 0):
        env = (ctypes.c_double * 5)(0, 1, 3)
        libm.fesetround(mode)
        try:
            pair.run(address("divide"), ctypes.addressof(env), 2)
        finally:
            libm.fesetround(0)
        assert env[3] == env[4]
        quotients[mode] = env[3]
    assert quotients[upward[architecture]] > quotients[0] == 1 / 3


def test_idle_threads_cost_nothing() -> None:
    pool = ThreadPool(4)
    assert counts_of(pool, 100) == [1] * 100
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.03
    pool.close()


def test_closing_ends_the_threads(pool: ThreadPool) -> None:
    before = native_threads()
    other = ThreadPool(4)
    assert counts_of(other, 10) == [1] * 10
    assert len(native_threads() - before) == 3
    other.close()
    other.close()
    assert native_threads() <= before
    with pytest.raises(ValueError, match="closed"):
        other.run(address("count"), 0, 1)


def test_a_pool_nobody_holds_ends_its_threads() -> None:
    before = native_threads()
    assert counts_of(ThreadPool(3), 10) == [1] * 10
    gc.collect()
    assert native_threads() <= before


def test_threads_are_started_at_first_use() -> None:
    before = native_threads()
    pool = ThreadPool(3)
    assert native_threads() == before
    pool.close()


def test_signals_go_to_the_process_own_threads() -> None:
    before = native_threads()
    pool = ThreadPool(2)
    meetings = ctypes.c_int64()
    pool.run(address("meet"), ctypes.addressof(meetings), 2)  # now the worker runs
    (worker,) = native_threads() - before
    blocked = {}
    for thread in (worker, threading.get_native_id()):
        status = Path(f"/proc/self/task/{thread}/status").read_text()
        blocked[thread] = int(status.partition("SigBlk:")[2].split()[0], base=16)
    interrupt, fault = 1 << (2 - 1), 1 << (11 - 1)
    assert blocked[worker] & interrupt
    assert not blocked[worker] & fault
    assert not blocked[threading.get_native_id()] & interrupt
    pool.close()


@pytest.mark.usefixtures("fresh_default")
def test_the_default_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_NUM_THREADS", "3")
    pool = default_pool()
    assert pool.threads == 3
    assert default_pool() is pool
    assert set_num_threads(3) is pool
    assert set_num_threads(2) is default_pool()
    assert default_pool().threads == 2
    assert counts_of(pool, 9) == [1] * 9, "who holds the old pool may go on using it"


def test_the_affinity_mask_gives_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHC_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 4, 5})
    assert available_threads() == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_bad_number_of_threads_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GRAPHC_NUM_THREADS", text)
    with pytest.raises(GraphcError, match=rf"GRAPHC_NUM_THREADS='{text}'.*positive integer"):
        available_threads()


@pytest.mark.parametrize("threads", [0, -2])
def test_a_pool_without_threads_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 thread, not {threads}"):
        ThreadPool(threads)


def run_script(script: str) -> str:
    prelude = """
        import ctypes, os, threading, warnings
        from graphc.backends.cpu.pool import ThreadPool, default_pool, set_num_threads
        from tests.backends.cpu.pool_bodies import address
        body = address("count")  # a thread inside LLVM at a fork would leave its lock to the child
        def count(pool, tasks=100):
            counts = (ctypes.c_int64 * tasks)()
            pool.run(body, ctypes.addressof(counts), tasks)
            return list(counts) == [1] * tasks
        warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout


def test_a_forked_child_makes_its_own_threads() -> None:
    script = """
        pool, held = set_num_threads(3), ThreadPool(2)
        assert count(pool) and count(held)
        for _ in range(20):
            child = os.fork()
            if not child:
                good = count(default_pool()) and count(held)
                good = good and len(os.listdir("/proc/self/task")) == 1 + 2 + 1
                held.close()
                os._exit(0 if good and default_pool() is pool else 1)
            assert count(pool)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert count(pool) and count(held)
        print("done")
    """
    assert run_script(script) == "done\n"


def test_a_fork_while_the_pool_works_harms_neither() -> None:
    script = """
        pool, stop = set_num_threads(3), threading.Event()
        assert count(pool)
        def work():
            while not stop.is_set():
                assert count(pool)
        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                os._exit(0 if count(default_pool()) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        thread.join()
        print("done")
    """
    assert run_script(script) == "done\n"


@pytest.mark.parametrize("state", ["asleep", "spinning", "working"])
def test_the_interpreter_exits_whatever_the_pool_does(state: str) -> None:
    script = """
        import llvmlite.binding  # its objects are finalised at exit too
        state = "STATE"
        pool = set_num_threads(4)
        def forever():
            counter = ctypes.c_int64(1 << 60)  # an odd meeting: 3 tasks wait for a fourth
            pool.run(address("meet"), ctypes.addressof(counter), 3)
        assert count(pool)
        if state == "working":
            threading.Thread(target=forever, daemon=True).start()
        if state != "spinning":
            import time; time.sleep(0.05)
        print("done")
    """
    assert run_script(script.replace("STATE", state)) == "done\n"


@pytest.mark.parametrize(
    ("triple", "features", "machine_code"),
    [
        ("x86_64-unknown-linux-gnu", "", 62),
        ("aarch64-unknown-linux-gnu", "", 183),
        ("riscv64-unknown-linux-gnu", "+m,+a,+f,+d,+c", 243),
    ],
)
def test_objects_are_emitted(triple: str, features: str, machine_code: int) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(pool_ir(triple))
    machine = llvm.Target.from_triple(triple).create_target_machine(
        features=features, reloc="pic", codemodel="default"
    )
    image = machine.emit_object(module)
    assert image[:4] == b"\x7fELF"
    assert int.from_bytes(image[18:20], "little") == machine_code
    defined = {f.name for f in module.functions if not f.is_declaration}
    assert {n for n in defined if not n.startswith("graphc_pool.")} == {CREATE, DESTROY, PARALLEL}
    called = {f.name for f in module.functions if f.is_declaration}
    assert {n for n in called if not n.startswith("llvm.")} == {
        "aligned_alloc", "clock_gettime", "free", "pthread_create", "pthread_join",
        "pthread_setaffinity_np", "pthread_sigmask", "sched_getaffinity", "sched_getcpu",
        "sched_yield", "syscall",
    }  # fmt: skip
    assert list(module.global_variables) == [], "the pool keeps no state outside its memory"


@pytest.mark.parametrize("triple", ["wasm32-unknown-wasi", "x86_64-apple-darwin", "i686-linux-gnu"])
def test_a_machine_without_a_pool_is_refused(triple: str) -> None:
    with pytest.raises(CompileError, match=f"no thread pool for '{triple}'.*pass NULL"):
        pool_ir(triple)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: nothing to keep away from")
def test_workers_keep_away_from_the_callers_core():
    """Where each thread can have a core, a worker's mask lacks the core that the caller is on."""
    allowed = os.sched_getaffinity(0)
    first = min(allowed)
    before = native_threads()
    pool = ThreadPool(2)
    try:
        os.sched_setaffinity(0, {first})
        counts_of(pool, 4)  # made with one core allowed: its workers are left alone
        (worker,) = native_threads() - before
        assert os.sched_getaffinity(worker) == {first}
        pool.close()
        os.sched_setaffinity(0, allowed)
        pool = ThreadPool(2)
        counts_of(pool, 4)
        (worker,) = native_threads() - before
        assert len(allowed - os.sched_getaffinity(worker)) == 1
        assert os.sched_getaffinity(0) == allowed
    finally:
        os.sched_setaffinity(0, allowed)
        pool.close()
