"""Conversions between dtypes in LLVM IR: floats saturate to integers, NaN becomes 0.

bfloat16 is converted with integer instructions on every target (rounded to nearest, ties to
even); float16 where the target has instructions for it, since elsewhere LLVM would call libgcc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from graphc.backends.cpu.printer_operation import Operation
from graphc.backends.cpu.printer_types import element, suffix
from graphc.ir.dtypes import DType, bfloat16, float16, float32, float64
from graphc.ir.errors import CompileError


def cast(op: Operation) -> str:
    """Write the operand converted to the operation's dtype.

    Raises:
        CompileError: the target cannot convert to or from float16.
    """
    return _convert(op, op.texts[0], op.dtype, op.expr.type.dtype)


def bitcast(op: Operation) -> str:
    """Write the operand's bits read as the operation's dtype."""
    text, target = op.texts[0], op.expr.type.dtype
    if op.dtype is target:
        return text
    if op.dtype.is_bool:
        return op.value(f"zext {op.type} {text} to {op.with_element('i8')}")
    if target.is_bool:
        return op.value(f"icmp ne {op.type} {text}, {op.number(0)}")
    result = op.with_element(element(target))
    return text if result == op.type else op.value(f"bitcast {op.type} {text} to {result}")


def _convert(op: Operation, text: str, source: DType, target: DType) -> str:
    if source is target:
        return text
    if source in _WIDEN:
        return _convert(op, _WIDEN[source](op, text), float32, target)
    if target in _NARROW:
        if target is float16 and source is not float32:
            raise CompileError(f"there is no CPU code for a cast from {source.name} to float16")
        return _NARROW[target](op, _convert(op, text, source, float32))
    return _BETWEEN[source.kind, target.kind](op, text, source, target)


def _instruction(op: Operation, name: str, text: str, source: DType, target: DType) -> str:
    types = (op.with_element(element(dtype)) for dtype in (source, target))
    before, after = types
    return op.value(f"{name} {before} {text} to {after}")


def _resize(extend: str) -> Callable[[Operation, str, DType, DType], str]:
    def write(op: Operation, text: str, source: DType, target: DType) -> str:
        if source.size == target.size:
            return text
        name = extend if source.size < target.size else "trunc"
        return _instruction(op, name, text, source, target)

    return write


def _named(name: str) -> Callable[[Operation, str, DType, DType], str]:
    def write(op: Operation, text: str, source: DType, target: DType) -> str:
        return _instruction(op, name, text, source, target)

    return write


def _saturate(name: str) -> Callable[[Operation, str, DType, DType], str]:
    def write(op: Operation, text: str, source: DType, target: DType) -> str:
        before, after = (op.with_element(element(dtype)) for dtype in (source, target))
        suffixes = ".".join(suffix(element(dtype), op.lanes) for dtype in (target, source))
        return op.writer.call(f"llvm.{name}.sat.{suffixes}", after, before, f"{before} {text}")

    return write


def _from_bool(op: Operation, text: str, source: DType, target: DType) -> str:
    return _instruction(op, "zext", text, source, target)


def _is_nonzero(op: Operation, text: str, source: DType, _target: DType) -> str:
    before = op.with_element(element(source))
    zero = "zeroinitializer" if op.lanes > 1 else "0.0" if source.is_float else "0"
    return op.value(f"{'fcmp une' if source.is_float else 'icmp ne'} {before} {text}, {zero}")


def _float_to_float(op: Operation, text: str, source: DType, target: DType) -> str:
    name = "fpext" if source is float32 and target is float64 else "fptrunc"
    return _instruction(op, name, text, source, target)


_BETWEEN: Mapping[tuple[str, str], Callable[[Operation, str, DType, DType], str]] = (
    MappingProxyType(
        {
            ("bool", "int"): _from_bool,
            ("bool", "uint"): _from_bool,
            ("bool", "float"): _named("uitofp"),
            ("int", "bool"): _is_nonzero,
            ("uint", "bool"): _is_nonzero,
            ("float", "bool"): _is_nonzero,
            ("int", "int"): _resize("sext"),
            ("int", "uint"): _resize("sext"),
            ("uint", "int"): _resize("zext"),
            ("uint", "uint"): _resize("zext"),
            ("int", "float"): _named("sitofp"),
            ("uint", "float"): _named("uitofp"),
            ("float", "int"): _saturate("fptosi"),
            ("float", "uint"): _saturate("fptoui"),
            ("float", "float"): _float_to_float,
        }
    )
)


def _widen_bfloat(op: Operation, text: str) -> str:
    narrow, wide = op.with_element("i16"), op.with_element("i32")
    bits = op.value(f"zext {narrow} {text} to {wide}")
    high = op.value(f"shl {wide} {bits}, {op.number_of('i32', 16)}")
    return op.value(f"bitcast {wide} {high} to {op.with_element('float')}")


def _narrow_bfloat(op: Operation, text: str) -> str:
    real, wide, narrow = (op.with_element(name) for name in ("float", "i32", "i16"))
    bits = op.value(f"bitcast {real} {text} to {wide}")
    above = op.value(f"lshr {wide} {bits}, {op.number_of('i32', 16)}")
    odd = op.value(f"and {wide} {above}, {op.number_of('i32', 1)}")
    half = op.value(f"add {wide} {odd}, {op.number_of('i32', 0x7FFF)}")
    rounded = op.value(f"add {wide} {bits}, {half}")
    shifted = op.value(f"lshr {wide} {rounded}, {op.number_of('i32', 16)}")
    sign = op.value(f"and {wide} {above}, {op.number_of('i32', 0x8000)}")
    nan = op.value(f"or {wide} {sign}, {op.number_of('i32', 0x7FC0)}")
    is_nan = op.value(f"fcmp uno {real} {text}, {text}")
    chosen = op.select_of(wide, is_nan, nan, shifted)
    return op.value(f"trunc {wide} {chosen} to {narrow}")


def _needs_half(op: Operation) -> None:
    target = op.writer.target
    if not target.triple.startswith("aarch64") and "+f16c" not in target.features.split(","):
        raise CompileError(f"{target.name} has no instruction that converts float16")


def _widen_half(op: Operation, text: str) -> str:
    _needs_half(op)
    half = op.with_element("half")
    value = op.value(f"bitcast {op.with_element('i16')} {text} to {half}")
    return op.value(f"fpext {half} {value} to {op.with_element('float')}")


def _narrow_half(op: Operation, text: str) -> str:
    _needs_half(op)
    half = op.with_element("half")
    value = op.value(f"fptrunc {op.with_element('float')} {text} to {half}")
    return op.value(f"bitcast {half} {value} to {op.with_element('i16')}")


_Convert = Callable[[Operation, str], str]
_WIDEN: Mapping[DType, _Convert] = MappingProxyType({bfloat16: _widen_bfloat, float16: _widen_half})
_NARROW: Mapping[DType, _Convert] = MappingProxyType(
    {bfloat16: _narrow_bfloat, float16: _narrow_half}
)
