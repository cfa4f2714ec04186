"""What the texts of graphs, kernels and loops have in common: tokens, numbers, sizes, types.

Texts come from files and from other processes: whatever is in them, a reader raises a
``ParseError`` that names the line. Nothing is evaluated, and no nesting is followed far.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from graphc.ir.dims import Atom, Dim, Expression, Monomial, Quotient, Symbol, symbol
from graphc.ir.dtypes import DTYPES, DType
from graphc.ir.errors import ParseError
from graphc.ir.types import TensorType

T = TypeVar("T")

_TOKEN = re.compile(
    r"""
    -?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|inf\b|nan\b(?:\(0x[0-9a-f]{1,16}\))?)  # numbers
    | "(?:[^"\\]|\\.)*"                                                     # strings
    | %(?:[\w.\\/>-]+|"(?:[^"\\]|\\.)*") | @?[A-Za-z_]\w*                      # names
    | \+: | \.\. | -> | //                                                  # signs
    | \S
    """,
    re.VERBOSE,
)
_NAN = re.compile(r"nan\((0x[0-9a-f]+)\)")
_BOOLS = {"true": True, "false": False}
_QUIET_NAN = 0x7FF8000000000000
_NESTING = 60
_TERMS = 100_000
_MESSAGE = 400

_BY_SHORT = {dtype.short: dtype for dtype in DTYPES}


class Line:
    """The tokens of one line, read from left to right; '' stands for its end."""

    __slots__ = ("_depth", "_position", "_tokens", "number")

    def __init__(self, text: str, number: int) -> None:
        self.number = number
        self._tokens: list[str] = _TOKEN.findall(text)
        self._tokens.append("")
        self._position = 0
        self._depth = 0

    def peek(self) -> str:
        return self._tokens[self._position]

    def ahead(self) -> str:
        """The token after the next."""
        position = self._position + 1
        return self._tokens[position] if position < len(self._tokens) else ""

    def next(self) -> str:
        token = self._tokens[self._position]
        if not token:
            self.fail("the line ends too early")
        self._position += 1
        return token

    def accept(self, token: str) -> bool:
        """Whether ``token`` comes next; then it is read."""
        if self._tokens[self._position] != token:
            return False
        self._position += 1
        return True

    def expect(self, *tokens: str) -> None:
        for token in tokens:
            if not self.accept(token):
                self.fail(f"expected {token!r}, not {self.peek() or 'the end of the line'!r}")

    def end(self) -> None:
        if self.peek():
            self.fail(f"nothing should follow, but {self.peek()!r} does")

    def word(self) -> str:
        """A name made of letters, digits and underscores."""
        token = self.next()
        return token if token.isidentifier() else self.fail(f"expected a name, not {token!r}")

    def integer(self) -> int:
        token = self.next()
        try:
            return int(token)
        except ValueError:
            return self.fail(f"expected an integer, not {_short(token)!r}")

    def dtype(self) -> DType:
        token = self.next()
        return _BY_SHORT.get(token) or self.fail(f"expected a dtype, not {token!r}")

    def listed(self, item: Callable[[], T], close: str) -> list[T]:
        """Items between commas, up to and including ``close``."""
        found: list[T] = []
        if self.accept(close):
            return found
        found.append(item())
        while not self.accept(close):
            self.expect(",")
            found.append(item())
        return found

    def nested(self, read: Callable[[], T]) -> T:
        """``read()``, one level further down; texts that graphc writes are never deep."""
        self._depth += 1
        if self._depth > _NESTING:
            self.fail("nested too deeply")
        result = read()
        self._depth -= 1
        return result

    def fail(self, message: str) -> NoReturn:
        raise ParseError(f"line {self.number}: {_short(message, _MESSAGE)}")


def number_text(value: Any, dtype: DType) -> str:
    """A number of ``dtype``, exact to the last bit (a NaN's are shown unless they are usual)."""
    if dtype.is_bool:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    value = float(value)
    if value == value:  # noqa: PLR0124, not NaN
        return repr(value)
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return "nan" if bits == _QUIET_NAN else f"nan({bits:#x})"


def read_number(line: Line, dtype: DType | None = None) -> Any:
    """A number as ``number_text`` writes it, of ``dtype``; without one, what it looks like."""
    token = line.next()
    if token in _BOOLS:
        value: Any = _BOOLS[token]
    elif found := _NAN.fullmatch(token):
        value = struct.unpack("<d", struct.pack("<Q", int(found[1], 16)))[0]
    else:
        try:
            value = int(token) if token.lstrip("-").isdigit() else float(token)
        except ValueError:
            line.fail(f"expected a number, not {_short(token)!r}")
    kinds = {"bool": bool, "float": float}
    if dtype is not None and type(value) is not kinds.get(dtype.kind, int):
        line.fail(f"{_short(token)} is no {dtype.short}")
    return value


def read_type(line: Line) -> TensorType:
    """A tensor's type: ``f32[2, n]``, with ``&`` before it for a resource."""
    resource = line.accept("&")
    dtype = line.dtype()
    return TensorType(dtype, read_shape(line), resource)


def read_shape(line: Line) -> tuple[Dim, ...]:
    line.expect("[")
    shape = tuple(line.listed(lambda: read_dim(line), "]"))
    terms = math.prod(len(dim.terms) for dim in shape if isinstance(dim, Expression))
    return shape if terms <= _TERMS else line.fail("the number of elements has too many terms")


def read_dim(line: Line) -> Dim:
    """A size as ``str`` prints it: a sum of products of numbers, symbols and quotients."""
    if line.ahead() in (",", "]"):
        return line.integer() if line.peek().isdecimal() else symbol(line.word())
    terms: dict[Monomial, int] = {}
    sign = 1
    while True:
        factor, monomial = _read_term(line)
        if monomial in terms:
            line.fail("a size has two terms that are one")
        terms[monomial] = sign * factor
        if line.accept("+"):
            sign = 1
        elif line.accept("-"):
            sign = -1
        else:
            break
    if terms.keys() == {()}:
        return terms[()]
    if 0 in terms.values():
        line.fail("a size has a term that is 0")
    return Expression(terms)


def _read_term(line: Line, first: Atom | None = None) -> tuple[int, Monomial]:
    """A product; ``first`` is a factor of it that was read before."""
    atoms: list[Atom] = []
    factor = 1
    if first is None:
        factor = _read_factor(line, atoms)
    else:
        atoms.append(first)
    while line.accept("*"):
        factor *= _read_factor(line, atoms)
    return factor, tuple(sorted(atoms, key=str))


def _read_factor(line: Line, atoms: list[Atom]) -> int:
    """A number, or 1 or -1 with an atom that is added to ``atoms``."""
    if line.peek().lstrip("-").isdigit():
        return line.integer()
    sign = -1 if line.accept("-") else 1
    if line.accept("("):
        atoms.append(_read_quotient(line, line.nested(lambda: _read_operand(line))))
    else:
        atoms.append(Symbol(line.word()))
    return sign


def _read_quotient(line: Line, dividend: Dim) -> Quotient:
    """The rest of ``(dividend // divisor)`` or ``(dividend % divisor)``."""
    sign = line.next()
    if sign not in ("//", "%"):
        line.fail(f"expected // or %, not {sign!r}")
    divisor = line.nested(lambda: _read_operand(line))
    line.expect(")")
    atom = Quotient(dividend, divisor, remainder=sign == "%")
    if isinstance(divisor, int) and divisor < 1:
        line.fail(f"{_short(str(atom))} divides by less than 1")
    if (dividend % divisor if atom.remainder else dividend // divisor) != Expression.of(atom):
        line.fail(f"{_short(str(atom))} is not in its lowest form")
    return atom


def _read_operand(line: Line) -> Dim:
    """What a quotient is made of: a product, or a sum in parentheses."""
    first: Atom | None = None
    if line.accept("("):
        inner = line.nested(lambda: read_dim(line))
        if line.accept(")"):
            return inner
        first = _read_quotient(line, inner)
    factor, monomial = _read_term(line, first)
    return Expression({monomial: factor}) if monomial else factor


def _short(text: str, length: int = 40) -> str:
    return text if len(text) < length else text[:length] + "..."
