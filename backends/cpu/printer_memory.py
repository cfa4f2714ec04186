"""Loads and stores in LLVM IR: consecutive, masked, gathered and scattered."""

from __future__ import annotations

from graphc.backends.cpu.printer_facts import Facts, Value
from graphc.backends.cpu.printer_types import (
    element,
    memory_type,
    splat,
    suffix,
    value_type,
    vector,
)
from graphc.backends.cpu.printer_writer import Writer
from graphc.backends.loops.ir import Buffer, Load, Store, ValueType


def load(writer: Writer, expr: Load, offset: Value, mask: str | None) -> str:
    """Write a load; its name, as a value."""
    type_, lanes = expr.type, expr.type.lanes
    if expr.offset.type.lanes > 1:
        loaded = _gather(writer, expr, offset, mask)
    elif mask is None:
        loaded = _load(writer, expr.buffer, offset, type_)
    elif lanes == 1:
        loaded = _load_if(writer, expr, offset, mask)
    else:
        pointer = address(writer, expr.buffer, offset)
        memory = memory_type(type_)
        boolean = vector("i1", lanes)
        align = alignment(expr.buffer, offset.facts)
        name = f"llvm.masked.load.{_suffix(type_)}.p0"
        writer.module.declare(name, memory, f"ptr, i32, {boolean}, {memory}")
        loaded = writer.value(
            f"call {memory} @{name}(ptr {pointer}, i32 {align}, {boolean} {mask}, "
            f"{memory} zeroinitializer){writer.aliasing.suffix(expr.buffer)}"
        )
    return _from_memory(writer, type_, loaded)


def store(writer: Writer, stmt: Store, offset: Value, value: str, mask: str | None) -> None:
    """Write a store."""
    type_, lanes = stmt.value.type, stmt.value.type.lanes
    value = _to_memory(writer, type_, value)
    if stmt.offset.type.lanes > 1:
        _scatter(writer, stmt, offset, value, mask)
    elif mask is None:
        _store(writer, stmt.buffer, offset, type_, value)
    elif lanes == 1:
        then, after = writer.new_label("store"), writer.new_label("stored")
        writer.branch(mask, then, after)
        writer.begin(then)
        with writer.scope():
            _store(writer, stmt.buffer, offset, type_, value)
        writer.do(f"br label %{after}")
        writer.begin(after)
    else:
        pointer = address(writer, stmt.buffer, offset)
        memory, boolean = memory_type(type_), vector("i1", lanes)
        align = alignment(stmt.buffer, offset.facts)
        name = f"llvm.masked.store.{_suffix(type_)}.p0"
        writer.module.declare(name, "void", f"{memory}, ptr, i32, {boolean}")
        writer.do(
            f"call void @{name}({memory} {value}, ptr {pointer}, i32 {align}, "
            f"{boolean} {mask}){writer.aliasing.suffix(stmt.buffer)}"
        )


def address(writer: Writer, buffer: Buffer, offset: Value) -> str:
    """The address of the element at a scalar offset.

    Offsets that differ by constants share an address, from which each is a displacement.
    """
    memory = memory_type(ValueType(buffer.dtype))
    base, root, shift = writer.pointers[buffer], offset.facts.root, offset.facts.shift
    if not root and not offset.facts.known:
        root, shift = offset.text, 0
    if root:
        base = _address(writer, memory, base, root)
    return _address(writer, memory, base, str(shift)) if shift else base


def _address(writer: Writer, memory: str, base: str, offset: str) -> str:
    key = (memory, base, offset)
    if key not in writer.addresses:
        pointer = writer.value(f"getelementptr {memory}, ptr {base}, i64 {offset}")
        writer.addresses[key] = pointer
    return writer.addresses[key]


def alignment(buffer: Buffer, facts: Facts) -> int:
    """What is sure of the alignment of an element, in bytes."""
    size = buffer.dtype.size
    return max(size, min(buffer.alignment, facts.power * size))


def _load(writer: Writer, buffer: Buffer, offset: Value, type_: ValueType) -> str:
    pointer = address(writer, buffer, offset)
    align = alignment(buffer, offset.facts)
    suffix_ = writer.aliasing.suffix(buffer)
    return writer.value(f"load {memory_type(type_)}, ptr {pointer}, align {align}{suffix_}")


def _store(writer: Writer, buffer: Buffer, offset: Value, type_: ValueType, value: str) -> None:
    pointer = address(writer, buffer, offset)
    align = alignment(buffer, offset.facts)
    suffix_ = writer.aliasing.suffix(buffer)
    writer.do(f"store {memory_type(type_)} {value}, ptr {pointer}, align {align}{suffix_}")


def _load_if(writer: Writer, expr: Load, offset: Value, mask: str) -> str:
    """One element that may be out of bounds where the mask is false: a branch."""
    then, after, before = writer.new_label("load"), writer.new_label("loaded"), writer.label
    writer.branch(mask, then, after)
    writer.begin(then)
    with writer.scope():
        loaded = _load(writer, expr.buffer, offset, expr.type)
    writer.do(f"br label %{after}")
    writer.begin(after)
    memory = memory_type(expr.type)
    zero = "0.0" if memory in ("float", "double") else "0"
    return writer.value(f"phi {memory} [ {zero}, %{before} ], [ {loaded}, %{then} ]")


def _gather(writer: Writer, expr: Load, offset: Value, mask: str | None) -> str:
    lanes, memory, boolean = expr.type.lanes, memory_type(expr.type), vector("i1", expr.type.lanes)
    pointers = _addresses(writer, expr.buffer, offset, lanes)
    name = f"llvm.masked.gather.{_suffix(expr.type)}.v{lanes}p0"
    writer.module.declare(name, memory, f"<{lanes} x ptr>, i32, {boolean}, {memory}")
    lanes_read = mask if mask is not None else splat("true", "i1", lanes)
    return writer.value(
        f"call {memory} @{name}(<{lanes} x ptr> {pointers}, i32 {expr.buffer.dtype.size}, "
        f"{boolean} {lanes_read}, {memory} zeroinitializer){writer.aliasing.suffix(expr.buffer)}"
    )


def _scatter(writer: Writer, stmt: Store, offset: Value, value: str, mask: str | None) -> None:
    type_, lanes = stmt.value.type, stmt.value.type.lanes
    memory, boolean = memory_type(type_), vector("i1", lanes)
    pointers = _addresses(writer, stmt.buffer, offset, lanes)
    name = f"llvm.masked.scatter.{_suffix(type_)}.v{lanes}p0"
    writer.module.declare(name, "void", f"{memory}, <{lanes} x ptr>, i32, {boolean}")
    lanes_written = mask if mask is not None else splat("true", "i1", lanes)
    writer.do(
        f"call void @{name}({memory} {value}, <{lanes} x ptr> {pointers}, "
        f"i32 {stmt.buffer.dtype.size}, {boolean} {lanes_written})"
        f"{writer.aliasing.suffix(stmt.buffer)}"
    )


def _addresses(writer: Writer, buffer: Buffer, offset: Value, lanes: int) -> str:
    memory = memory_type(ValueType(buffer.dtype))
    base = writer.pointers[buffer]
    return writer.value(f"getelementptr {memory}, ptr {base}, <{lanes} x i64> {offset.text}")


def _suffix(type_: ValueType) -> str:
    return suffix("i8" if type_.dtype.is_bool else element(type_.dtype), type_.lanes)


def _from_memory(writer: Writer, type_: ValueType, text: str) -> str:
    if not type_.dtype.is_bool:
        return text
    zero = splat("0", "i8", type_.lanes)
    return writer.value(f"icmp ne {memory_type(type_)} {text}, {zero}")


def _to_memory(writer: Writer, type_: ValueType, text: str) -> str:
    if not type_.dtype.is_bool:
        return text
    return writer.value(f"zext {value_type(type_)} {text} to {memory_type(type_)}")
