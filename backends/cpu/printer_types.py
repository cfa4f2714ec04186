"""How loops' types and numbers are spelled in LLVM IR.

A bool is a byte (0 or 1) in memory and ``i1`` as a value. The 16-bit floats are carried as their
bits: processors convert them but, at the levels that graphc compiles for, do not compute in them.
"""

from __future__ import annotations

import struct
from typing import Any

from graphc.backends.loops.ir import Const, ValueType
from graphc.ir import dtypes
from graphc.ir.dtypes import DType

_VALUES = {
    dtypes.bool_: "i1",
    dtypes.float16: "i16",
    dtypes.bfloat16: "i16",
    dtypes.float32: "float",
    dtypes.float64: "double",
}
_SUFFIXES = {"float": "f32", "double": "f64", "half": "f16"}
STORED_AS_BITS = (dtypes.float16, dtypes.bfloat16)


def element(dtype: DType) -> str:
    """The LLVM type of one value of ``dtype``."""
    return _VALUES.get(dtype) or f"i{dtype.bits}"


def vector(element_type: str, lanes: int) -> str:
    """``lanes`` of an LLVM type; one is a scalar."""
    return element_type if lanes == 1 else f"<{lanes} x {element_type}>"


def value_type(type_: ValueType) -> str:
    """The LLVM type of a value."""
    return vector(element(type_.dtype), type_.lanes)


def memory_type(type_: ValueType) -> str:
    """The LLVM type of a value as it lies in memory."""
    return vector("i8" if type_.dtype.is_bool else element(type_.dtype), type_.lanes)


def suffix(element_type: str, lanes: int) -> str:
    """What an overloaded intrinsic's name has for this type: ``v16f32``, ``i1``."""
    name = _SUFFIXES.get(element_type, element_type)
    return name if lanes == 1 else f"v{lanes}{name}"


def splat(text: str, element_type: str, lanes: int) -> str:
    """A constant in every lane."""
    return text if lanes == 1 else f"splat ({element_type} {text})"


def constant(const: Const) -> str:
    """A number as an operand."""
    type_ = const.type
    return splat(number(const.value, type_.dtype), element(type_.dtype), type_.lanes)


def number(value: Any, dtype: DType) -> str:
    """``value`` as LLVM reads it, to the last bit."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype in STORED_AS_BITS:
        return str(int.from_bytes(dtype.numpy.type(value).tobytes(), "little"))
    if dtype.is_float:
        # float, too, is written as the double of its value.
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return str(int(value))


def offsets(lanes: int) -> str:
    """The constant vector 0, 1, 2, ... of i64."""
    return "<" + ", ".join(f"i64 {i}" for i in range(lanes)) + ">"
