"""Loops to LLVM IR. Every decision was made by a schedule; this only spells it.

Each kernel is ``void NAME(void** buffers, int64_t* sizes, parallel*, int64_t* status)``:

- ``buffers``: the function's buffers, then its workspace; ``sizes``: its sizes;
- ``parallel``: ``{void (*run)(pool, body, env, tasks); void* pool}`` or NULL, see ``pool_ir``;
- ``status``: -1 if all is well; a failed guard makes it the unsigned minimum of itself and
  ``code << 48 | position``.

All that a statement may be is in ``_STATEMENTS``, every kind of loop in ``_LOOPS``; what is not
there is no CPU's, or should have been rewritten before, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from graphc.backends.cpu import printer_facts as facts
from graphc.backends.cpu import printer_memory
from graphc.backends.cpu.printer_facts import Value
from graphc.backends.cpu.printer_pool import run_tasks, task_of
from graphc.backends.cpu.printer_types import splat, value_type, vector
from graphc.backends.cpu.printer_values import evaluate
from graphc.backends.cpu.printer_writer import PARALLEL, Aliasing, ModuleText, Writer
from graphc.backends.loops.ir import (
    Alloc,
    Block,
    Const,
    For,
    Function,
    Guard,
    If,
    Let,
    Stmt,
    Store,
)
from graphc.backends.loops.walk import expressions
from graphc.ir.errors import CompileError
from graphc.ir.target import Target

POSITION_BITS = 48
"""An error is ``code << POSITION_BITS | position``: the smallest is the one to report."""
_MOST_BYTES = 4 << 20
"""What a kernel may keep on the stack; threads have 8 MiB."""


def print_llvm(function: Function, target: Target, name: str) -> str:
    """``function`` as a module of LLVM IR with one external function, ``name``.

    Raises:
        CompileError: it holds what no CPU has: blocks, warps, intrinsics, mathematical functions
            that were not expanded.
    """
    return print_module({name: function}, target)


def print_module(functions: Mapping[str, Function], target: Target) -> str:
    """Several functions as one module.

    Raises:
        CompileError: as ``print_llvm``.
    """
    module = ModuleText(target)
    for name, function in functions.items():
        try:
            _print(module, name, function)
        except CompileError as error:
            raise CompileError(f"kernel {function.name}: {error}") from None
    return module.text()


def _print(module: ModuleText, name: str, function: Function) -> None:
    aliasing = Aliasing(module, function)
    writer = Writer(module, aliasing, name)
    for position, buffer in enumerate((*function.buffers, *function.workspace)):
        pointer = _element(writer, "%buffers", position)
        writer.pointers[buffer] = writer.value(f"load ptr, ptr {pointer}, align 8")
    for position, size in enumerate(function.sizes):
        text = writer.value(f"load i64, ptr {_element(writer, '%sizes', position)}, align 8")
        writer.values[size] = Value(text, facts.rooted(facts.of_size(), text))
    _block(writer, function.body)
    aliasing.finish()
    parameters = f"ptr %buffers, ptr %sizes, ptr {PARALLEL}, ptr {writer.status}"
    module.functions += [*writer.tasks, writer.text(f"define void @{name}({parameters})")]


def _element(writer: Writer, array: str, position: int) -> str:
    return writer.value(f"getelementptr i64, ptr {array}, i64 {position}") if position else array


def _block(writer: Writer, block: Block) -> None:
    for stmt in block:
        write = _STATEMENTS.get(type(stmt))
        if write is None:
            raise CompileError(f"there is no CPU code for the statement {type(stmt).__name__}")
        write(writer, stmt)


def _let(writer: Writer, stmt: Let) -> None:
    (writer.values[stmt.var],) = evaluate(writer, (stmt.value,))


def _store(writer: Writer, stmt: Store) -> None:
    offset, value, *mask = evaluate(writer, expressions(stmt))
    printer_memory.store(writer, stmt, offset, value.text, mask[0].text if mask else None)


def _if(writer: Writer, stmt: If) -> None:
    (condition,) = evaluate(writer, (stmt.condition,))
    then, after = writer.new_label("then"), writer.new_label("after")
    orelse = writer.new_label("else") if stmt.orelse else after
    writer.branch(condition.text, then, orelse)
    for label, block in ((then, stmt.then), (orelse, stmt.orelse)):
        if label != after:
            writer.begin(label)
            with writer.scope():
                _block(writer, block)
            writer.do(f"br label %{after}")
    writer.begin(after)


def _alloc(writer: Writer, stmt: Alloc) -> None:
    buffer = stmt.buffer
    if buffer.space not in ("thread", "register") or not isinstance(buffer.size, Const):
        raise CompileError(f"there is no CPU code for the {buffer.space} buffer {buffer.name}")
    size = buffer.size.value * buffer.dtype.size
    if writer.stack_bytes + size > _MOST_BYTES:
        raise CompileError(f"{size} bytes of {buffer.name} are too much for a thread's stack")
    writer.pointers[buffer] = writer.allocate(size, max(64, buffer.alignment))


def _guard(writer: Writer, stmt: Guard) -> None:
    ok, position = evaluate(writer, (stmt.ok, stmt.position))
    lanes = stmt.ok.type.lanes
    boolean, word = vector("i1", lanes), value_type(stmt.position.type)
    failed = writer.value(f"xor {boolean} {ok.text}, {splat('true', 'i1', lanes)}")
    some = _reduce(writer, "or", "i1", failed, lanes)
    report, after = writer.new_label("report"), writer.new_label("checked")
    writer.branch(some, report, after, f", !prof !{writer.module.unlikely_node()}")
    writer.begin(report)
    code = splat(str(stmt.code << POSITION_BITS), "i64", lanes)
    error = writer.value(f"or {word} {position.text}, {code}")
    none = splat("-1", "i64", lanes)
    errors = writer.value(f"select {boolean} {failed}, {word} {error}, {word} {none}")
    least = _reduce(writer, "umin", "i64", errors, lanes)
    writer.value(f"atomicrmw umin ptr {writer.status}, i64 {least} monotonic, align 8")
    writer.do(f"br label %{after}")
    writer.begin(after)


def _reduce(writer: Writer, name: str, element: str, text: str, lanes: int) -> str:
    """All lanes combined, as a scalar."""
    if lanes == 1:
        return text
    type_ = vector(element, lanes)
    full = f"llvm.vector.reduce.{name}.v{lanes}{element}"
    return writer.call(full, element, type_, f"{type_} {text}")


def _for(writer: Writer, stmt: For) -> None:
    write = _LOOPS.get(stmt.kind)
    if write is None:
        raise CompileError(f"there is no CPU code for the {stmt.kind} loop {stmt.index.name}")
    write(writer, stmt)


def _pooled(writer: Writer, stmt: For) -> None:
    if writer.in_task:
        _serial(writer, stmt)
        return
    begin, end = evaluate(writer, (stmt.begin, stmt.end))
    task, record = task_of(writer, stmt, begin, end)
    _block(task, stmt.body)
    run_tasks(writer, task, record, stmt, [begin, end])


def _serial(writer: Writer, stmt: For) -> None:
    """A loop with its test at the end, entered if there is an iteration at all."""
    starts = [c.start for c in stmt.carried]
    begin, end, *start = evaluate(writer, (stmt.begin, stmt.end, *starts))
    body, after, before = writer.new_label("loop"), writer.new_label("done"), writer.label
    sure = begin.facts.known and end.facts.known and begin.facts.shift < end.facts.shift
    if sure:
        writer.do(f"br label %{body}")
    else:
        some = writer.value(f"icmp slt i64 {begin.text}, {end.text}")
        writer.branch(some, body, after)
    writer.begin(body)
    index = writer.later()
    known = facts.of_index(begin.facts, end.facts, stmt.step)
    writer.values[stmt.index] = Value(index[0], facts.rooted(known, index[0]))
    phis = [writer.later() for _ in stmt.carried]
    for carried, phi in zip(stmt.carried, phis, strict=True):
        writer.values[carried.var] = _carried(carried.var.type.lanes, phi[0])
    with writer.scope():
        _block(writer, stmt.body)
        following = evaluate(writer, [c.next for c in stmt.carried])
        more = _advance(writer, stmt, index, (begin.text, end.text), (before, body))
    latch = writer.label
    writer.branch(more, body, after, f", !llvm.loop !{writer.module.loop_node()}")
    for c, phi, first, then in zip(stmt.carried, phis, start, following, strict=True):
        edges = f"[ {first.text}, %{before} ], [ {then.text}, %{latch} ]"
        writer.fill(phi, f"phi {value_type(c.var.type)} {edges}")
    writer.begin(after)
    for c, first, then in zip(stmt.carried, start, following, strict=True):
        edges = "" if sure else f"[ {first.text}, %{before} ], "
        text = writer.value(f"phi {value_type(c.var.type)} {edges}[ {then.text}, %{latch} ]")
        writer.values[c.result] = _carried(c.result.type.lanes, text)


def _carried(lanes: int, text: str) -> Value:
    return Value(text, facts.rooted(facts.UNKNOWN, text) if lanes == 1 else facts.UNKNOWN)


def _advance(
    writer: Writer,
    stmt: For,
    index: tuple[str, int],
    bounds: tuple[str, str],
    labels: tuple[str, str],
) -> str:
    """Count on; whether there is another iteration."""
    begin, end = bounds
    following = writer.value(f"add nsw i64 {index[0]}, {stmt.step}")
    more = writer.value(f"icmp slt i64 {following}, {end}")
    before, _ = labels
    writer.fill(index, f"phi i64 [ {begin}, %{before} ], [ {following}, %{writer.label} ]")
    return more


_LOOPS: Mapping[str, Callable[[Writer, For], None]] = MappingProxyType(
    {"serial": _serial, "pooled": _pooled}
)

_STATEMENTS: Mapping[type[Stmt], Callable[[Writer, Any], None]] = MappingProxyType(
    {Let: _let, Store: _store, For: _for, If: _if, Alloc: _alloc, Guard: _guard}
)
