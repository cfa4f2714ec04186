"""Element types of tensors.

A ``DType`` is a value, compared by identity: there is one object per type, listed in ``DTYPES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from graphc.ir.errors import DTypeError
from graphc.ir.source import located, user_source

KINDS = ("bool", "int", "uint", "float")


@dataclass(frozen=True, eq=False)
class DType:
    """One element type: ``name`` as users write it, ``short`` as texts print it."""

    name: str
    short: str
    kind: str
    size: int

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype; bfloat16 is ``ml_dtypes``'."""
        if self.name == "bfloat16":
            import ml_dtypes

            return cast("np.dtype[Any]", np.dtype(ml_dtypes.bfloat16))
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_bool(self) -> bool:
        return self.kind == "bool"

    @property
    def bits(self) -> int:
        return self.size * 8

    @property
    def as_numpy_dtype(self) -> type:
        """TensorFlow's name for the NumPy scalar type."""
        return self.numpy.type

    @property
    def min(self) -> Any:
        """The smallest finite value."""
        return self._limits()[0]

    @property
    def max(self) -> Any:
        """The largest finite value."""
        return self._limits()[1]

    def _limits(self) -> tuple[Any, Any]:
        if self.is_bool:
            return False, True
        if self.is_integer:
            info = np.iinfo(self.numpy)
            return int(info.min), int(info.max)
        if self.name == "bfloat16":
            import ml_dtypes

            limits: Any = ml_dtypes.finfo(self.numpy)  # type: ignore[no-untyped-call]
        else:
            limits = np.finfo(self.numpy)
        return float(limits.min), float(limits.max)

    def __repr__(self) -> str:
        return f"graphc.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))


bool_ = DType("bool", "bool", "bool", 1)
int8 = DType("int8", "i8", "int", 1)
int16 = DType("int16", "i16", "int", 2)
int32 = DType("int32", "i32", "int", 4)
int64 = DType("int64", "i64", "int", 8)
uint8 = DType("uint8", "u8", "uint", 1)
uint16 = DType("uint16", "u16", "uint", 2)
uint32 = DType("uint32", "u32", "uint", 4)
uint64 = DType("uint64", "u64", "uint", 8)
float16 = DType("float16", "f16", "float", 2)
bfloat16 = DType("bfloat16", "bf16", "float", 2)
float32 = DType("float32", "f32", "float", 4)
float64 = DType("float64", "f64", "float", 8)

DTYPES = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64,
)  # fmt: skip
COMPUTED = frozenset({bool_, int32, int64, float32, float64})
"""The dtypes that ops compute in today; the type system knows the others."""

_BY_NAME: dict[str, DType] = {d.name: d for d in DTYPES} | {d.short: d for d in DTYPES}


def as_dtype(value: Any) -> DType:
    """The dtype that a user means by a ``DType``, a name, or anything NumPy takes as a dtype.

    Raises:
        DTypeError: there is no such dtype.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, type) and value in (float, int, bool):
        return {float: float32, int: int32, bool: bool_}[value]
    try:
        return dtype_named(value)
    except DTypeError as error:
        raise DTypeError(located(str(error), user_source())) from None


def dtype_named(name: Any) -> DType:
    """The dtype of this name, ours or NumPy's, as files have them.

    Raises:
        DTypeError: there is no such dtype.
    """
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    try:
        found = "" if name is None else np.dtype(name).name  # NumPy takes None for float64
    except (TypeError, ValueError, SyntaxError):
        found = ""
    if not found:
        raise DTypeError(f"{name!r} is not a dtype")
    if found not in _BY_NAME:
        raise DTypeError(f"graphc has no dtype for NumPy's {found}")
    return _BY_NAME[found]
