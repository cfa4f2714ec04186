"""How operations are written and read: shared by the texts of kernels and of loops.

Sums and products are written between their operands, other operations as calls. What is used
twice, or nested deeply, is written once, on a line before, as ``t0``, ``t1``...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from graphc.ir.compute.expr import T, postorder
from graphc.ir.compute.scalar import SCALAR_OPS
from graphc.ir.dtypes import DType
from graphc.ir.notation import Line

DEPTH = 6
"""An expression nested deeper is split over lines; so no reader needs to recurse far."""

INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2)}
"""Operations written between their operands, with their precedence."""

ATOM = 3
CONVERSIONS = ("cast", "bitcast")

Text: TypeAlias = tuple[str, int]
"""A text and its precedence."""

_SIGNS = {sign: (op, precedence) for op, (sign, precedence) in INFIX.items()}
E = TypeVar("E")


def write_values(
    roots: Iterable[T],
    write: Callable[[T, Sequence[Text]], Text],
    line: Callable[[str], None],
) -> list[str]:
    """The texts of ``roots``; ``line`` is given those of what they share, first.

    ``write`` gives the text of an expression over those of its operands.
    """
    roots = list(roots)
    order = postorder(roots)
    uses: dict[int, int] = {}
    for expr in order:
        for operand in expr.operands:
            uses[id(operand)] = uses.get(id(operand), 0) + 1
    for root in roots:
        uses[id(root)] = uses.get(id(root), 0) + 1
    texts: dict[int, Text] = {}
    depths: dict[int, int] = {}
    temporaries = 0
    for expr in order:
        operands = expr.operands
        text = write(expr, [texts[id(o)] for o in operands])
        depth = 1 + max(depths[id(o)] for o in operands) if operands else 0
        if depth and (uses[id(expr)] > 1 or depth > DEPTH):
            line(f"t{temporaries} = {text[0]}")
            text, depth = (f"t{temporaries}", ATOM), 0
            temporaries += 1
        texts[id(expr)], depths[id(expr)] = text, depth
    return [texts[id(root)][0] for root in roots]


def is_temporary(token: str) -> bool:
    return token[:1] == "t" and token[1:].isdecimal()


def write_operation(op: str, operands: Sequence[Text], dtype: DType) -> Text:
    """A scalar operation; ``dtype`` is the result's, which conversions show."""
    if op in INFIX and len(operands) == 2:
        sign, precedence = INFIX[op]
        (a, left), (b, right) = operands
        a = a if left >= precedence else f"({a})"
        b = b if right > precedence else f"({b})"
        return f"{a} {sign} {b}", precedence
    args = [text for text, _ in operands]
    if op in CONVERSIONS:
        args.append(dtype.short)
    return f"{op}({', '.join(args)})", ATOM


class OperationReader(ABC, Generic[E]):
    """Reads expressions; a subclass knows what they are made of."""

    @abstractmethod
    def operation(self, line: Line, op: str, args: tuple[E, ...], given: DType | None) -> E:
        """An operation over ``args``; ``given`` is the dtype that a conversion names."""

    @abstractmethod
    def atom(self, line: Line) -> E:
        """What is neither an operation nor in parentheses."""

    def value(self, line: Line, level: int = 1) -> E:
        """An expression of operations of at least this precedence."""
        if level >= ATOM:
            return line.nested(lambda: self._single(line))
        left = self.value(line, level + 1)
        while True:
            op, precedence = _SIGNS.get(line.peek(), ("", 0))
            if precedence != level:
                return left
            line.next()
            left = self.operation(line, op, (left, self.value(line, level + 1)), None)

    def _single(self, line: Line) -> E:
        if line.accept("("):
            inner = self.value(line)
            line.expect(")")
            return inner
        token = line.peek()
        if token not in SCALAR_OPS or line.ahead() != "(":
            return self.atom(line)
        line.expect(token, "(")
        if token in CONVERSIONS:
            args = (self.value(line),)
            line.expect(",")
            given = line.dtype()
            line.expect(")")
            return self.operation(line, token, args, given)
        return self.operation(line, token, tuple(line.listed(lambda: self.value(line), ")")), None)
