"""The thread pool's own IR under every interleaving of its threads: nobody sleeps for ever."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from graphc.backends.cpu import pool_ir
from tests.backends.cpu.ir_threads import External, Machine, State, Value, explore, parse

TEXT = pool_ir.pool_ir("x86_64-unknown-linux-gnu")
OFFSETS = pool_ir._NUMBERS
POOL = 1 << 20
SIZES = 1 << 21
"""Where the client below finds the sizes of its jobs."""

CLIENT = """
define void @client(ptr %pool, i64 %jobs) {
entry:
  br label %job
job:
  %index = phi i64 [ 0, %entry ], [ %next, %again ]
  %number = add i64 %index, 1
  %tasks = call i64 @size(i64 %index)
  call void @graphc_pool_parallel(ptr %pool, ptr %number, ptr %number, i64 %tasks)
  br label %again
again:
  %judged = call i64 @judge(i64 %index)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %jobs
  br i1 %more, label %job, label %exit
exit:
  call void @graphc_pool_destroy(ptr %pool)
  ret void
}
"""


def spin(state: State, _: int, arguments: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
    """One look is enough: a longer spin is the same as a thread that was scheduled late."""
    word, floor = arguments
    yield state, int(state.cells[word] >= floor)


def futex(state: State, me: int, arguments: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
    word, operation, value = arguments
    if operation == OFFSETS["futex_wait"]:
        sleeps = state.cells[word] == value
        thread = state.threads[me]._replace(sleeps_on=word if sleeps else 0)
        yield state.with_thread(me, thread), 0 if sleeps else -1
        return
    sleepers = [i for i, thread in enumerate(state.threads) if thread.sleeps_on == word]
    for woken in itertools.combinations(sleepers, min(value, len(sleepers))):
        after = state
        for index in woken:
            after = after.with_thread(index, after.threads[index]._replace(sleeps_on=0))
        yield after, len(woken)


def run_task(state: State, _: int, arguments: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
    """``notes`` holds how often each task of each job ran, 8 of them to a job."""
    body, env, task = arguments
    assert body == env, "the job was read while it was written"
    place = 8 * (env - 1) + task
    notes = list(state.notes)
    notes[place] += 1
    assert notes[place] == 1, "a task ran twice"
    assert not any(notes[8 * env :]), "a task ran after its job was over"
    yield replace(state, notes=tuple(notes)), 0


def join(state: State, _: int, arguments: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
    if not state.threads[arguments[0]].frames:
        yield state, 0


def nothing(state: State, _: int, arguments: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
    yield state, 0


def job_externals(sizes: tuple[int, ...]) -> dict[str, External]:
    def size(state: State, _: int, job: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
        yield state, sizes[job[0]]

    def judge(state: State, _: int, job: tuple[Value, ...]) -> Iterator[tuple[State, Value]]:
        ran = state.notes[8 * job[0] : 8 * job[0] + 8]
        assert ran == (1,) * sizes[job[0]] + (0,) * (8 - sizes[job[0]]), "a task did not run"
        yield state, 0

    return {"size": size, "judge": judge}


def check_pool(workers: int, sizes: tuple[int, ...], text: str = TEXT) -> int:
    """Explore a client that runs jobs of these sizes and destroys the pool."""
    externals: dict[str, External] = {
        "graphc_pool.spin": spin,
        "graphc_pool.futex": futex,
        "graphc_pool.settle": nothing,
        "graphc_pool.float_control": nothing,
        "graphc_pool.set_float_control": nothing,
        "indirect": run_task,
        "pthread_join": join,
        "free": nothing,
        **job_externals(sizes),
    }
    machine = Machine(parse(text + CLIENT), externals)
    shared = ("body", "env", "tasks", "float_control", "remaining", "busy")
    zeroed = (*shared, "pending", "waiting", "sleep", "stop")
    memory = {POOL + OFFSETS[name]: 0 for name in zeroed}
    memory[POOL + OFFSETS["workers"]] = workers
    for index in range(workers):
        memory[POOL + OFFSETS["threads"] + 8 * index] = 1 + index
    threads = [machine.start("client", POOL, len(sizes))]
    threads += [machine.start("graphc_pool.worker", POOL) for _ in range(workers)]
    notes = (0,) * (8 * len(sizes))
    return explore(machine, State(tuple(sorted(memory.items())), tuple(threads), notes))


@pytest.mark.parametrize(
    ("workers", "sizes"),
    [(1, (2,)), (1, (3, 2)), (1, (2, 2, 2)), (1, (0, 1, 2)), (2, (2,))],
)
def test_every_interleaving_ends_well(workers: int, sizes: tuple[int, ...]) -> None:
    assert check_pool(workers, sizes) > 100


@pytest.mark.soak
@pytest.mark.parametrize(("workers", "sizes"), [(2, (2, 2)), (2, (3,)), (1, (5, 4, 3, 2))])
def test_more_interleavings_end_well(workers: int, sizes: tuple[int, ...]) -> None:
    assert check_pool(workers, sizes) > 1000


MUTATIONS = {
    "the last task wakes without changing the futex": (
        "  store atomic i32 0, ptr %waiting.at seq_cst, align 4\n",
        "",
    ),
    "a wake-up leaves the workers' futex as it was": (
        "atomicrmw add ptr %sleep, i32 1",
        "atomicrmw add ptr %sleep, i32 0",
    ),
    "workers left asleep are forgotten": (
        "br i1 %more, label %mark, label %exit",
        "br label %exit",
    ),
    "a claim of nothing counts": (
        "%claimed = icmp sgt i64 %first, 0",
        "%claimed = icmp sge i64 %first, 0",
    ),
    "the caller does not wait for stragglers": (
        "%settled = icmp sge i64 %left, 0",
        "%settled = icmp sge i64 %left, -1",
    ),
    "tasks are offered before they are described": (
        "  store i64 %tasks, ptr %tasks.at, align 8\n",
        (
            "  store atomic i64 %tasks, ptr %remaining seq_cst, align 8\n"
            "  store i64 %tasks, ptr %tasks.at, align 8\n"
        ),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_planted_bug_is_found(mutation: str) -> None:
    old, new = MUTATIONS[mutation]
    assert TEXT.count(old) == 1
    with pytest.raises(AssertionError):
        check_pool(2, (2,), TEXT.replace(old, new))
