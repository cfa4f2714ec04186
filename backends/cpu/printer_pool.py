"""Pooled loops: the body becomes a function of its own, whose calls are the pool's tasks.

What the body uses from outside travels in a record on the caller's stack. Without a pool, or for
fewer than two tasks, the caller runs the same function in a loop of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.backends.cpu import printer_facts as facts
from graphc.backends.cpu.printer_facts import Facts, Value
from graphc.backends.cpu.printer_types import memory_type, value_type
from graphc.backends.cpu.printer_writer import PARALLEL, Writer
from graphc.backends.loops.ir import (
    Alloc,
    Block,
    Buffer,
    For,
    Guard,
    Load,
    Store,
    ValueType,
)
from graphc.backends.loops.walk import expressions, free_variables, postorder, statements

_ENV = "%env"


def task_of(writer: Writer, stmt: For, begin: Value, end: Value) -> tuple[Writer, str]:
    """A writer for the body of ``stmt``, with everything at hand, and the record's address.

    The loop's index is defined there; the caller writes the body and then calls ``run_tasks``.
    """
    name = f"{writer.name}.task{len(writer.tasks)}"
    task = Writer(writer.module, writer.aliasing, name, in_task=True)
    record = _Record(writer, task)
    for buffer in _buffers(stmt.body):
        task.pointers[buffer] = record.pass_text("ptr", 8, writer.pointers[buffer])
    for var in free_variables(stmt.body):
        if var is not stmt.index:
            task.values[var] = record.pass_value(var.type, writer.values[var])
    if any(isinstance(inner, Guard) for inner in statements(stmt.body)):
        task.status = record.pass_text("ptr", 8, writer.status)
    start = record.pass_value(stmt.index.type, begin)
    task.values[stmt.index] = _index(task, stmt, start, end)
    return task, record.finish()


def run_tasks(writer: Writer, task: Writer, record: str, stmt: For, bounds: list[Value]) -> None:
    """Close the body's function, and write the call of the pool."""
    head = f"define internal void @{task.name}(ptr noalias readonly {_ENV}, i64 %task)"
    writer.tasks.append(task.text(f"{head} noinline"))
    tasks = _count(writer, stmt.step, bounds[0].text, bounds[1].text)
    pool, alone, done = (writer.new_label(hint) for hint in ("pool", "alone", "done"))
    given = writer.value(f"icmp ne ptr {PARALLEL}, null")
    several = writer.value(f"icmp sgt i64 {tasks}, 1")
    writer.branch(writer.value(f"and i1 {given}, {several}"), pool, alone)
    writer.begin(pool)
    run = writer.value(f"load ptr, ptr {PARALLEL}, align 8")
    field_ = writer.value(f"getelementptr i8, ptr {PARALLEL}, i64 8")
    context = writer.value(f"load ptr, ptr {field_}, align 8")
    writer.do(f"call void {run}(ptr {context}, ptr @{task.name}, ptr {record}, i64 {tasks})")
    writer.do(f"br label %{done}")
    _run_alone(writer, task.name, record, tasks, (alone, done))
    writer.begin(done)


def _run_alone(writer: Writer, name: str, record: str, tasks: str, labels: tuple[str, str]) -> None:
    alone, done = labels
    loop = writer.new_label("loop")
    writer.begin(alone)
    some = writer.value(f"icmp sgt i64 {tasks}, 0")
    writer.branch(some, loop, done)
    writer.begin(loop)
    task = writer.later()
    writer.do(f"call void @{name}(ptr {record}, i64 {task[0]})")
    following = writer.value(f"add nuw nsw i64 {task[0]}, 1")
    more = writer.value(f"icmp slt i64 {following}, {tasks}")
    writer.branch(more, loop, done, f", !llvm.loop !{writer.module.loop_node()}")
    writer.fill(task, f"phi i64 [ 0, %{alone} ], [ {following}, %{loop} ]")


def _count(writer: Writer, step: int, begin: str, end: str) -> str:
    """How many iterations there are; not positive if there are none."""
    length = end if begin == "0" else writer.value(f"sub i64 {end}, {begin}")
    if step == 1:
        return length
    rounded = writer.value(f"add i64 {length}, {step - 1}")
    return writer.value(f"sdiv i64 {rounded}, {step}")


def _index(task: Writer, stmt: For, begin: Value, end: Value) -> Value:
    scaled = "%task"
    if stmt.step != 1:
        scaled = task.value(f"mul nuw nsw i64 %task, {stmt.step}")
    text = scaled if begin.text == "0" else task.value(f"add nsw i64 {scaled}, {begin.text}")
    known = facts.of_index(begin.facts, end.facts, stmt.step)
    return Value(text, facts.rooted(known, text))


def _buffers(block: Block) -> list[Buffer]:
    """The buffers that ``block`` uses and does not allocate."""
    used: dict[Buffer, None] = {}
    inside: set[Buffer] = set()
    for stmt in statements(block):
        if isinstance(stmt, Alloc):
            inside.add(stmt.buffer)
        if isinstance(stmt, Store):
            used[stmt.buffer] = None
        for expr in postorder(expressions(stmt)):
            if isinstance(expr, Load):
                used[expr.buffer] = None
    return [buffer for buffer in used if buffer not in inside]


@dataclass
class _Record:
    """What is handed to the tasks, as the caller stores it and the task loads it."""

    writer: Writer
    task: Writer
    size: int = 0
    fields: list[tuple[str, int, str]] = field(default_factory=list)
    """LLVM type, offset in bytes and operand of each."""

    def pass_value(self, type_: ValueType, value: Value) -> Value:
        """A value as the task sees it; numbers need not travel."""
        if not value.text.startswith("%"):
            return value
        size = type_.dtype.size * type_.lanes
        known = Facts(value.facts.high, value.facts.power)
        if not type_.dtype.is_bool:
            text = self.pass_text(value_type(type_), size, value.text)
            return Value(text, facts.rooted(known, text) if type_.lanes == 1 else known)
        bits, memory = value_type(type_), memory_type(type_)
        bytes_ = self.writer.value(f"zext {bits} {value.text} to {memory}")
        passed = self.pass_text(memory, size, bytes_)
        return Value(self.task.value(f"trunc {memory} {passed} to {bits}"))

    def pass_text(self, type_: str, size: int, text: str) -> str:
        """The name in the task of the operand ``text``."""
        step = min(64, 1 << (size - 1).bit_length())
        offset = -(-self.size // step) * step
        self.size = offset + size
        self.fields.append((type_, offset, text))
        pointer = self.task.value(f"getelementptr i8, ptr {_ENV}, i64 {offset}")
        return self.task.value(f"load {type_}, ptr {pointer}, align {step}")

    def finish(self) -> str:
        """Write the stores; the record's address."""
        record = self.writer.allocate(max(1, self.size), 64)
        for type_, offset, text in self.fields:
            place = self.writer.value(f"getelementptr i8, ptr {record}, i64 {offset}")
            step = offset & -offset if offset else 64
            self.writer.do(f"store {type_} {text}, ptr {place}, align {min(64, step)}")
        return record
