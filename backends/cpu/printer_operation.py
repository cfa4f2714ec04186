"""One scalar operation on its way into LLVM IR: operands, their type, and short ways to write."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from graphc.backends.cpu.printer_facts import Facts, Value
from graphc.backends.cpu.printer_types import element, number, splat, suffix, vector
from graphc.backends.cpu.printer_writer import Writer
from graphc.backends.loops.ir import Broadcast, Const, Op
from graphc.ir.dtypes import DType


@dataclass(slots=True)
class Operation:
    """``expr`` with its operands written; ``facts`` are those of the result."""

    writer: Writer
    expr: Op
    args: tuple[Value, ...]
    facts: Facts
    dtype: DType = field(init=False)
    """The dtype of the (last) operand; ``type`` is its LLVM type, with all lanes."""
    lanes: int = field(init=False)
    type: str = field(init=False)
    texts: list[str] = field(init=False)

    def __post_init__(self) -> None:
        operand = self.expr.args[-1].type
        self.dtype, self.lanes = operand.dtype, operand.lanes
        self.type = vector(element(operand.dtype), operand.lanes)
        self.texts = [arg.text for arg in self.args]

    def value(self, text: str) -> str:
        """Write an instruction."""
        return self.writer.value(text)

    def with_element(self, element_type: str) -> str:
        """An LLVM type with the operation's lanes."""
        return vector(element_type, self.lanes)

    def number(self, value: Any) -> str:
        """A number of the operands' dtype in every lane."""
        return splat(number(value, self.dtype), element(self.dtype), self.lanes)

    def number_of(self, element_type: str, value: int) -> str:
        """An integer of another type in every lane."""
        return splat(str(value), element_type, self.lanes)

    def constant(self, position: int) -> Any:
        """The number that an operand is in every lane; None if it is not constant."""
        arg = self.expr.args[position]
        if isinstance(arg, Broadcast):
            arg = arg.value
        if isinstance(arg, Const):
            return arg.value
        facts = self.args[position].facts
        return facts.shift if facts.known else None

    def may_be_nan(self, position: int) -> bool:
        value = self.constant(position)
        return value is None or math.isnan(value)

    def select(self, condition: str, a: str, b: str) -> str:
        """``a`` where ``condition`` holds, else ``b``, of the operands' type."""
        return self.select_of(self.type, condition, a, b)

    def select_of(self, type_: str, condition: str, a: str, b: str) -> str:
        boolean = self.with_element("i1")
        return self.value(f"select {boolean} {condition}, {type_} {a}, {type_} {b}")

    def negative(self, text: str) -> str:
        """The negative of an integer."""
        return self.value(f"sub {self.type} {self.number(0)}, {text}")

    def inverse(self) -> str:
        """All bits of the operand flipped."""
        ones = splat("true" if self.dtype.is_bool else "-1", element(self.dtype), self.lanes)
        return self.value(f"xor {self.type} {self.texts[0]}, {ones}")

    def call(self, name: str, *texts: str, tail: str = "") -> str:
        """The intrinsic ``llvm.name`` over values of the operands' type."""
        types = [self.type] * len(texts) + ([tail.split(maxsplit=1)[0]] if tail else [])
        arguments = [f"{self.type} {text}" for text in texts] + ([tail] if tail else [])
        full = f"llvm.{name}.{suffix(element(self.dtype), self.lanes)}"
        return self.writer.call(full, self.type, ", ".join(types), ", ".join(arguments))
