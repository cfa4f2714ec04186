"""The thread pool as LLVM IR, so that one text serves this process and every artifact.

It needs no C compiler: the text is compiled by LLVM like any kernel, and calls only libc
(pthreads, ``syscall``, ``clock_gettime``). Its C interface::

    void* graphc_pool_create(int64_t threads);  // the caller is one of them; NULL: it cannot
    void  graphc_pool_parallel(void* pool, void (*body)(void* env, int64_t task), void* env,
                               int64_t tasks);  // body(env, 0..tasks-1), each exactly once
    void  graphc_pool_destroy(void* pool);      // when no call is under way; NULL is allowed

``parallel`` returns when all tasks are done. It runs them one after another on the calling thread
if there is no pool, no second thread or no second task, and if the pool is busy: nested in a task,
or called by two threads at once. Which thread runs a task is left to chance, so nothing may depend
on it; even the floating-point control word (rounding, denormals) is the caller's in all of them.

The protocol (its text is in ``pool_text``). ``remaining`` counts the tasks nobody has claimed,
``pending`` is minus the number of those not yet done. Other fields of a job are plain memory.

(a) A caller takes ``busy``; whoever fails to runs serially. So there is one job at a time.
(b) It writes the job, then ``pending = -tasks``, then ``remaining = tasks`` (release).
(c) Any thread claims by ``c = remaining--`` (acquire). If ``c > 0``, task ``tasks - c`` is its
    own, and the job cannot end before (e): only now does it read the job. If ``c <= 0`` it has
    read nothing and owns nothing. So a late thread needs no generation number: what it claims
    belongs to the job that is live at that moment, and a failed claim that slips in between two
    jobs is erased by the store of (b), or costs nothing: it cannot take a task away, as a
    decrement of a positive count is a claim.
(d) It runs the task and claims again until a claim fails. The job cannot end meanwhile (its tasks
    are not yet counted), hence all its claims are of the job that it read.
(e) It adds the number of tasks it ran to ``pending`` (release). The caller leaves when it reads
    ``pending == 0`` (acquire): then every body has returned and all that they wrote is visible,
    for the additions of several threads form one release sequence.
(f) A worker without work spins on ``remaining``, then sleeps: ``w = sleep |= 1``; then it checks
    ``remaining`` and ``stop``; then ``futex_wait(sleep, w)``. A caller, after (b), reads ``sleep``
    and, if it is odd, adds 1 and wakes. All of these are sequentially consistent, so either the
    worker sees the job or the caller sees the odd word; and the addition makes the ``futex_wait``
    of a worker that is not asleep yet return at once. The word above its lowest bit counts such
    wake-ups, so it repeats after 2**31 system calls; a worker that slept through all of them
    would merely sit out one job.
(g) If fewer than all were to be woken, and as many were, others may still sleep: the caller makes
    the word odd again. (One system call too many, some time, is the price.)
(h) The caller waits for stragglers likewise: spin on ``pending``; then ``waiting = 1``; then check
    ``pending``; then ``futex_wait(waiting, 1)``. The thread whose addition in (e) gave 0 then reads
    ``waiting`` and, if it is 1, stores 0 (or a caller between its check and its ``futex_wait``
    would sleep for good) and wakes. If that thread is so late that it meets the caller of a later
    job, its 0 may hide that caller from the thread that ends the later job; but its wake-up is
    still to come, or ``futex_wait`` finds the 0: either way the caller checks again.
(i) Destroying sets ``stop``, then wakes as in (f), then joins; only then is the memory freed.
(j) Where there is a core for every thread, workers keep away from the core on which the caller
    was last seen: a woken thread that is put beside the one it is to help waits for it instead,
    and schedulers are slow to part the two. The caller itself is never moved.

Spinning is bounded by time, not by rounds: the pause of one processor takes ten times that of
another. After a fifth of it, each round also yields: where processes outnumber cores, the time
goes to the thread that is waited for.

``tests/backends/cpu/test_pool_protocol.py`` runs this IR under every interleaving of its threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from types import MappingProxyType

from graphc.backends.cpu.pool_affinity import SETTLE
from graphc.backends.cpu.pool_text import POOL
from graphc.ir.errors import CompileError

CREATE = "graphc_pool_create"
DESTROY = "graphc_pool_destroy"
PARALLEL = "graphc_pool_parallel"

_NAMES = MappingProxyType({"CREATE": CREATE, "DESTROY": DESTROY, "PARALLEL": PARALLEL})

SPIN_NANOSECONDS = 20_000
YIELD_NANOSECONDS = 4_000
"""When a spinning thread begins to offer its core to others."""
_PAUSES_PER_CLOCK = 16

_LINE = 128
"""Bytes that processors move between cores: a line, or two that are prefetched together."""


def pool_ir(triple: str) -> str:
    """LLVM IR of the pool for the machine that ``triple`` names; it defines the three functions.

    Raises:
        CompileError: the machine is not 64-bit Linux on one of the processors known here.
    """
    architecture = triple.partition("-")[0]
    if architecture not in PROCESSORS or "-linux" not in triple:
        known = ", ".join(f"{name}-linux" for name in PROCESSORS)
        raise CompileError(
            f"no thread pool for {triple!r}, only for {known}; "
            "a model runs serially there: pass NULL as its parallel callback"
        )
    processor = PROCESSORS[architecture]
    numbers = {name: str(number) for name, number in _NUMBERS.items()}
    body = Template(POOL + SETTLE).substitute(numbers, futex=str(processor.futex), **_NAMES)
    return f'target triple = "{triple}"\n{body}{processor.text}'


@dataclass(frozen=True)
class Processor:
    """What differs: the number of the system call, and three functions in ``text``.

    They pause a spinning thread and read and write the floating-point control word (with sticky
    flags, which nobody reads).
    """

    futex: int
    text: str


PROCESSORS: Mapping[str, Processor] = MappingProxyType(
    {
        "x86_64": Processor(
            futex=202,
            text="""
define internal void @graphc_pool.pause() nounwind {
  call void @llvm.x86.sse2.pause()
  ret void
}

define internal i64 @graphc_pool.float_control() nounwind {
  %slot = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %word = load i32, ptr %slot, align 4
  %wide = zext i32 %word to i64
  ret i64 %wide
}

define internal void @graphc_pool.set_float_control(i64 %wide) nounwind {
  %slot = alloca i32, align 4
  %word = trunc i64 %wide to i32
  store i32 %word, ptr %slot, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}

declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
""",
        ),
        "aarch64": Processor(
            futex=98,
            # ISB waits for about as long as a pause should; YIELD does nothing on most cores.
            text="""
define internal void @graphc_pool.pause() nounwind {
  call void @llvm.aarch64.isb(i32 15)
  ret void
}

define internal i64 @graphc_pool.float_control() nounwind {
  %word = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %word
}

define internal void @graphc_pool.set_float_control(i64 %word) nounwind {
  call void @llvm.aarch64.set.fpcr(i64 %word)
  ret void
}

declare void @llvm.aarch64.isb(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
""",
        ),
        "riscv64": Processor(
            futex=98,
            # PAUSE is a fence that orders nothing: processors without it run it too. Denormals are
            # never flushed there: rounding is all that threads could differ in.
            text="""
define internal void @graphc_pool.pause() nounwind "target-features"="+64bit,+zihintpause" {
  call void @llvm.riscv.pause()
  ret void
}

define internal i64 @graphc_pool.float_control() nounwind {
  %mode = call i32 @llvm.get.rounding()
  %word = sext i32 %mode to i64
  ret i64 %word
}

define internal void @graphc_pool.set_float_control(i64 %word) nounwind {
  %mode = trunc i64 %word to i32
  call void @llvm.set.rounding(i32 %mode)
  ret void
}

declare void @llvm.riscv.pause()
declare i32 @llvm.get.rounding()
declare void @llvm.set.rounding(i32)
""",
        ),
    }
)

_NUMBERS = MappingProxyType(
    {
        # The job, written by the caller, with the word that all threads race for beside it: a
        # worker that sees the count has fetched the rest already.
        "body": 0,
        "env": 8,
        "tasks": 16,
        "float_control": 24,
        "remaining": 32,
        "busy": 40,
        # What the caller waits for.
        "pending": _LINE,
        "waiting": _LINE + 8,
        # What changes seldom.
        "sleep": 2 * _LINE,
        "stop": 2 * _LINE + 4,
        "workers": 2 * _LINE + 8,
        # Where threads may run (1024 bits), how many cores that is (0: never mind), and the core
        # that the last caller was on.
        "allowed": 2 * _LINE + 16,
        "cores": 2 * _LINE + 144,
        "home": 2 * _LINE + 152,
        "threads": 2 * _LINE + 160,
        "line": _LINE,
        "line_mask": -_LINE,
        "header": 2 * _LINE + 160 + _LINE - 1,
        "futex_wait": 128,
        "futex_wake": 129,
        "everybody": 2**31 - 1,
        "clock_monotonic": 1,
        "sig_setmask": 2,
        # All signals but those that a fault raises in the thread itself, which must be delivered
        # there: ILL, TRAP, ABRT, BUS, FPE, SEGV and SYS.
        "signals": ~sum(1 << (signal - 1) for signal in (4, 5, 6, 7, 8, 11, 31)),
        "spin": SPIN_NANOSECONDS,
        "yield": YIELD_NANOSECONDS,
        "pauses": _PAUSES_PER_CLOCK,
    }
)
"""Offsets in the pool's memory (bytes; threads: one ``pthread_t`` of 8 bytes for each worker), and
the constants of Linux."""
