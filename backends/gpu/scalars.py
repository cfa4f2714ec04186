"""The CUDA C of each scalar operation: tables from (op, kind of operand) to a template.

What loops says of an operation holds here bit for bit, where C++ says less: signed arithmetic
wraps, shifts by too much are defined, division by zero gives 0 (a guard has reported it), ``min``
and ``max`` keep NaN, casts saturate. Operations without an entry are not CUDA C's business:
transcendentals are expanded in loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.ir import dtypes
from graphc.ir.dtypes import DType
from graphc.ir.errors import CompileError

C_TYPES = {
    dtypes.bool_: "bool",
    dtypes.int8: "signed char",
    dtypes.int16: "short",
    dtypes.int32: "int",
    dtypes.int64: "long long",
    dtypes.uint8: "unsigned char",
    dtypes.uint16: "unsigned short",
    dtypes.uint32: "unsigned int",
    dtypes.uint64: "unsigned long long",
    dtypes.float32: "float",
    dtypes.float64: "double",
}

_SUFFIX = {dtypes.float32: "f", dtypes.float64: ""}
_INTRINSIC = {dtypes.float32: "f", dtypes.float64: "d"}

# {0}, {1}, {2}: operands (names or literals); {t}: the operands' type; {u}: the unsigned type of
# its width; {bits}: that width; {f}: "f" for float, "" for double; {d}: "f" or "d".
_TEMPLATES: dict[tuple[str, str], str] = {
    ("add", "int"): "({t})(({u}){0} + ({u}){1})",
    ("add", "uint"): "({t})({0} + {1})",
    ("add", "float"): "{0} + {1}",
    ("sub", "int"): "({t})(({u}){0} - ({u}){1})",
    ("sub", "uint"): "({t})({0} - {1})",
    ("sub", "float"): "{0} - {1}",
    ("mul", "int"): "({t})(({u}){0} * ({u}){1})",
    ("mul", "uint"): "({t})({0} * {1})",
    ("mul", "float"): "{0} * {1}",
    ("div", "float"): "{0} / {1}",
    ("floordiv", "int"): "floor_divide<{t}, {u}>({0}, {1})",
    ("floordiv", "uint"): "{1} == 0 ? ({t})0 : {0} / {1}",
    ("mod", "int"): "floor_modulo<{t}>({0}, {1})",
    ("mod", "uint"): "{1} == 0 ? ({t})0 : {0} % {1}",
    ("mulhi", "uint"): "__umulhi({0}, {1})",
    ("fma", "float"): "__fma{f}_rn({0}, {1}, {2})",
    ("min", "bool"): "{0} & {1}",
    ("min", "int"): "{0} < {1} ? {0} : {1}",
    ("min", "uint"): "{0} < {1} ? {0} : {1}",
    ("min", "float"): "{0} < {1} || {0} != {0} ? {0} : {1}",
    ("max", "bool"): "{0} | {1}",
    ("max", "int"): "{0} > {1} ? {0} : {1}",
    ("max", "uint"): "{0} > {1} ? {0} : {1}",
    ("max", "float"): "{0} > {1} || {0} != {0} ? {0} : {1}",
    ("neg", "int"): "({t})(0 - ({u}){0})",
    ("neg", "uint"): "({t})(0 - {0})",
    ("neg", "float"): "-{0}",
    ("abs", "int"): "({t})({0} < 0 ? 0 - ({u}){0} : ({u}){0})",
    ("abs", "uint"): "{0}",
    ("abs", "float"): "fabs{f}({0})",
    ("floor", "float"): "floor{f}({0})",
    ("ceil", "float"): "ceil{f}({0})",
    ("rint", "float"): "rint{f}({0})",
    ("trunc", "float"): "trunc{f}({0})",
    ("sqrt", "float"): "__{d}sqrt_rn({0})",
    ("not", "bool"): "!{0}",
    ("not", "int"): "({t})~{0}",
    ("not", "uint"): "({t})~{0}",
    ("shl", "int"): "({u}){1} < {bits} ? ({t})(({u}){0} << {1}) : ({t})0",
    ("shl", "uint"): "{1} < {bits} ? ({t})({0} << {1}) : ({t})0",
    ("shr", "int"): "{0} >> (({u}){1} < {bits} ? {1} : {bits} - 1)",
    ("shr", "uint"): "{1} < {bits} ? ({t})({0} >> {1}) : ({t})0",
}
_SYMBOLS = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
_BITWISE = ("and", "or", "xor")
_TEMPLATES |= {
    (op, kind): f"{{0}} {symbol} {{1}}"
    for op, symbol in _SYMBOLS.items()
    for kind in ("bool", "int", "uint", "float")
    if kind != "float" or op not in _BITWISE
}

# Conversions by (from, to) kind. What PTX does with NaN depends on the width of the result.
_CASTS: dict[tuple[str, str], str] = {
    ("float", "int"): "{0} != {0} ? ({r})0 : __{source}2{target}_rz({0})",
    ("float", "uint"): "{0} != {0} ? ({r})0 : __{source}2{target}_rz({0})",
    ("float", "bool"): "{0} != 0",
    ("int", "bool"): "{0} != 0",
    ("uint", "bool"): "{0} != 0",
}
_CAST_NAMES = {
    dtypes.int32: "int", dtypes.int64: "ll", dtypes.uint32: "uint", dtypes.uint64: "ull",
    dtypes.float32: "float", dtypes.float64: "double",
}  # fmt: skip

_BITCASTS: dict[tuple[str, str, int], str] = {
    ("float", "int", 4): "__float_as_int({0})",
    ("float", "uint", 4): "__float_as_uint({0})",
    ("int", "float", 4): "__int_as_float({0})",
    ("uint", "float", 4): "__uint_as_float({0})",
    ("float", "int", 8): "__double_as_longlong({0})",
    ("float", "uint", 8): "(unsigned long long)__double_as_longlong({0})",
    ("int", "float", 8): "__longlong_as_double({0})",
    ("uint", "float", 8): "__longlong_as_double((long long){0})",
}

PRELUDE = (
    "".join(
        f"typedef {c_name} {dtype.short};\n"
        for dtype, c_name in C_TYPES.items()
        if not dtype.is_bool
    )
    + """
template <class T, class U>
__device__ T floor_divide(T a, T b) {
    if (b == 0) return 0;
    if (b == -1) return (T)(0 - (U)a);
    T quotient = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

template <class T>
__device__ T floor_modulo(T a, T b) {
    if (b == 0 || b == -1) return 0;
    T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
"""
)
"""What a source starts with: loops' names of types, and what the templates call."""


def c_type(dtype: DType) -> str:
    """The name of ``dtype`` in a source that starts with ``PRELUDE``.

    Raises:
        CompileError: generated CUDA C does not compute in ``dtype``.
    """
    if dtype not in C_TYPES:
        raise CompileError(f"the GPU backend does not compute in {dtype.name}")
    return dtype.short


def operation(op: str, dtype: DType, operands: Sequence[tuple[str, DType]]) -> str:
    """The C expression of ``op`` with a result of ``dtype``; operands are (text, dtype).

    Raises:
        CompileError: ``op`` has no CUDA C for these dtypes.
    """
    texts = [text for text, _ in operands]
    if op == "select":
        return "{} ? {} : {}".format(*texts)
    source = operands[0][1]
    if op == "cast":
        return _cast(texts[0], source, dtype)
    if op == "bitcast":
        return _bitcast(texts[0], source, dtype)
    template = _TEMPLATES.get((op, source.kind))
    if template is None or (op == "mulhi" and source.size != 4):
        raise CompileError(f"there is no CUDA C for {op} of {source.name}")
    return template.format(
        *texts,
        t=c_type(source),
        u=f"u{source.bits}",
        bits=source.bits,
        f=_SUFFIX.get(source),
        d=_INTRINSIC.get(source),
    )


def literal(value: Any, dtype: DType) -> str:
    """``value`` as a C literal of exactly that value."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_float:
        return _float_literal(float(value), dtype)
    suffix = {"int": "", "uint": "u"}[dtype.kind] + ("ll" if dtype.size == 8 else "")
    number = int(value)
    if number == dtype.min < 0:
        return f"({number + 1}{suffix} - 1)"  # C has no negative literals
    return f"{number}{suffix}" if number >= 0 else f"({number}{suffix})"


def _float_literal(value: float, dtype: DType) -> str:
    suffix = _SUFFIX[dtype]
    if math.isfinite(value):
        text = value.hex() + suffix
        return f"({text})" if text.startswith("-") else text
    if dtype is dtypes.float32:
        bits = 0x7FC00000 if math.isnan(value) else 0x7F800000 | (value < 0) << 31
        return f"__uint_as_float({bits:#x}u)"
    bits = 0x7FF8 << 48 if math.isnan(value) else 0x7FF << 52 | (value < 0) << 63
    return f"__longlong_as_double((long long){bits:#x}ull)"


def _cast(text: str, source: DType, target: DType) -> str:
    result = c_type(target)
    template = _CASTS.get((source.kind, target.kind), "({r}){0}")
    if "_rz" in template and not {source, target} <= _CAST_NAMES.keys():
        raise CompileError(f"there is no CUDA C for a cast from {source.name} to {target.name}")
    names = {"source": _CAST_NAMES.get(source), "target": _CAST_NAMES.get(target)}
    return template.format(text, r=result, **names)


def _bitcast(text: str, source: DType, target: DType) -> str:
    if source.is_float == target.is_float:
        return f"({c_type(target)}){text}"
    key = (source.kind, target.kind, source.size)
    if source.size != target.size or key not in _BITCASTS:
        raise CompileError(f"there is no CUDA C for the bits of {source.name} as {target.name}")
    return _BITCASTS[key].format(text)
