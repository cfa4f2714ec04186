"""Native task bodies, ``void (ptr env, i64 task)``, for the tests of the thread pool."""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm

Addresses = ctypes.c_int64 * 8

BODIES = """
; env: one counter a task
define void @count(ptr %env, i64 %task) {
  %at = getelementptr i64, ptr %env, i64 %task
  %before = atomicrmw add ptr %at, i64 1 monotonic, align 8
  ret void
}

; env: one counter; two tasks return only when both have been entered
define void @meet(ptr %env, i64 %task) {
entry:
  %before = atomicrmw add ptr %env, i64 1 seq_cst, align 8
  %even = and i64 %before, -2
  %both = add i64 %even, 2
  br label %wait
wait:
  %now = load atomic i64, ptr %env acquire, align 8
  %met = icmp sge i64 %now, %both
  br i1 %met, label %exit, label %wait
exit:
  ret void
}

; env: {to, from, n}; to[i] = from[(i + 1) % n] + 1, with plain memory operations
define void @shift(ptr %env, i64 %task) {
  %from.at = getelementptr i64, ptr %env, i64 1
  %n.at = getelementptr i64, ptr %env, i64 2
  %to = load ptr, ptr %env, align 8
  %from = load ptr, ptr %from.at, align 8
  %n = load i64, ptr %n.at, align 8
  %next = add i64 %task, 1
  %neighbour = urem i64 %next, %n
  %source = getelementptr i64, ptr %from, i64 %neighbour
  %value = load i64, ptr %source, align 8
  %more = add i64 %value, 1
  %target = getelementptr i64, ptr %to, i64 %task
  store i64 %more, ptr %target, align 8
  ret void
}

; env: {parallel, pool, body, inner env, inner tasks}
define void @nest(ptr %env, i64 %task) {
  %pool.at = getelementptr i64, ptr %env, i64 1
  %body.at = getelementptr i64, ptr %env, i64 2
  %inner.at = getelementptr i64, ptr %env, i64 3
  %tasks.at = getelementptr i64, ptr %env, i64 4
  %parallel = load ptr, ptr %env, align 8
  %pool = load ptr, ptr %pool.at, align 8
  %body = load ptr, ptr %body.at, align 8
  %inner = load ptr, ptr %inner.at, align 8
  %tasks = load i64, ptr %tasks.at, align 8
  call void %parallel(ptr %pool, ptr %body, ptr %inner, i64 %tasks)
  ret void
}

; env: {meeting counter, x, y, results ...}; results[task] = x / y, on two threads
define void @divide(ptr %env, i64 %task) {
  %x.at = getelementptr double, ptr %env, i64 1
  %y.at = getelementptr double, ptr %env, i64 2
  call void @meet(ptr %env, i64 %task)
  %x = load double, ptr %x.at, align 8
  %y = load double, ptr %y.at, align 8
  %quotient = fdiv double %x, %y
  %index = add i64 %task, 3
  %at = getelementptr double, ptr %env, i64 %index
  store double %quotient, ptr %at, align 8
  ret void
}

; Not a body. Runs rounds of shift over n tasks, swapping to and from in between.
define void @shift_rounds(ptr %parallel, ptr %pool, ptr %env, i64 %rounds) {
entry:
  %from.at = getelementptr i64, ptr %env, i64 1
  %n.at = getelementptr i64, ptr %env, i64 2
  %n = load i64, ptr %n.at, align 8
  br label %round
round:
  %index = phi i64 [ 0, %entry ], [ %next, %round ]
  call void %parallel(ptr %pool, ptr @shift, ptr %env, i64 %n)
  %to = load ptr, ptr %env, align 8
  %from = load ptr, ptr %from.at, align 8
  store ptr %from, ptr %env, align 8
  store ptr %to, ptr %from.at, align 8
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %rounds
  br i1 %more, label %round, label %exit
exit:
  ret void
}

; Not a body. Calls count for 2, 3, ..., tasks, 2, 3, ... tasks, jobs times in all.
define void @count_jobs(ptr %parallel, ptr %pool, ptr %env, i64 %tasks, i64 %jobs) {
entry:
  %kinds = sub i64 %tasks, 1
  br label %job
job:
  %index = phi i64 [ 0, %entry ], [ %next, %job ]
  %kind = urem i64 %index, %kinds
  %size = add i64 %kind, 2
  call void %parallel(ptr %pool, ptr @count, ptr %env, i64 %size)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %jobs
  br i1 %more, label %job, label %exit
exit:
  ret void
}
"""


@cache
def _engine() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(BODIES), machine)
    engine.finalize_object()
    return engine


def address(name: str) -> int:
    """The address of a function above."""
    return int(_engine().get_function_address(name))


def call(name: str, *arguments: int) -> None:
    """Call a function above with integers and addresses, without Python's lock."""
    kinds = [ctypes.c_int64] * len(arguments)
    ctypes.CFUNCTYPE(None, *kinds)(address(name))(*arguments)
