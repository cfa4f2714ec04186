"""Integer division as Python has it: the quotient is rounded down, the rest has b's sign.

Processors divide one pair at a time, slowly, and fault on b = 0. So constants become shifts, masks
and multiplications; indices, which are not negative and often small, divide unsigned and narrow;
and vectors of up to 32 bits divide as doubles, which hold every such quotient exactly enough: it
differs from an integer by at least 1/b, which is more than a double's rounding.
Division by zero gives 0.
"""

from __future__ import annotations

from graphc.backends.cpu.printer_facts import Facts
from graphc.backends.cpu.printer_operation import Operation


def floordiv(op: Operation) -> str:
    """Write ``a // b``."""
    a, divisor = op.texts[0], op.constant(1)
    if divisor == 0:
        return op.number(0)
    if _is_power(divisor):
        shift = "lshr" if op.dtype.kind == "uint" else "ashr"
        return op.value(f"{shift} {op.type} {a}, {op.number(divisor.bit_length() - 1)}")
    if _not_negative(op):
        return _unsigned(op, "udiv", divisor)
    if divisor is not None and divisor > 0:
        return _floor(op, a, op.number(divisor))
    divides = _safe_divisor(op)
    quotient = _by_doubles(op, divides.safe) if op.lanes > 1 and op.dtype.size <= 4 else None
    quotient = quotient or _floor(op, a, divides.safe)
    by_minus_one = op.select(divides.minus_one, op.negative(a), quotient)
    return op.select(divides.zero, op.number(0), by_minus_one)


def mod(op: Operation) -> str:
    """Write ``a % b``."""
    a, divisor = op.texts[0], op.constant(1)
    if divisor == 0:
        return op.number(0)
    if _is_power(divisor):
        return op.value(f"and {op.type} {a}, {op.number(divisor - 1)}")
    if _not_negative(op):
        return _unsigned(op, "urem", divisor)
    if divisor is not None and divisor > 0:
        return _rest(op, a, op.number(divisor))
    divides = _safe_divisor(op)
    if op.lanes > 1 and op.dtype.size <= 4:
        product = op.value(f"mul {op.type} {_by_doubles(op, divides.safe)}, {divides.safe}")
        return _zero_where(op, divides, op.value(f"sub {op.type} {a}, {product}"))
    return _zero_where(op, divides, _rest(op, a, divides.safe))


def _is_power(divisor: int | None) -> bool:
    return divisor is not None and divisor > 0 and divisor & (divisor - 1) == 0


def _not_negative(op: Operation) -> bool:
    known = op.args[0].facts.high is not None and op.args[1].facts.high is not None
    return op.dtype.kind == "uint" or known


def _unsigned(op: Operation, name: str, divisor: int | None) -> str:
    """``udiv`` or ``urem``, in 32 bits if both operands have no more."""
    if divisor is None:
        is_zero = op.value(f"icmp eq {op.type} {op.texts[1]}, {op.number(0)}")
        by = op.select(is_zero, op.number(1), op.texts[1])
        return op.select(is_zero, op.number(0), _divide(op, name, by))
    return _divide(op, name, op.number(divisor))


def _divide(op: Operation, name: str, by: str) -> str:
    if op.lanes > 1 and op.dtype.kind == "uint" and op.dtype.size <= 4 and by[0] == "%":
        quotient = _by_doubles(op, by)
        if name == "udiv":
            return quotient
        product = op.value(f"mul {op.type} {quotient}, {by}")
        return op.value(f"sub {op.type} {op.texts[0]}, {product}")
    if op.dtype.size < 8 or not all(_is_small(arg.facts) for arg in op.args):
        return op.value(f"{name} {op.type} {op.texts[0]}, {by}")
    narrow = op.with_element("i32")
    a = op.value(f"trunc {op.type} {op.texts[0]} to {narrow}")
    b = op.value(f"trunc {op.type} {by} to {narrow}")
    return op.value(f"zext {narrow} {op.value(f'{name} {narrow} {a}, {b}')} to {op.type}")


def _is_small(facts: Facts) -> bool:
    return facts.high is not None and facts.high < 1 << 32


class _Divisor:
    """The operand b, 1 where it is 0 or -1, and where it is which."""

    def __init__(self, zero: str, minus_one: str, safe: str) -> None:
        self.zero = zero
        self.minus_one = minus_one
        self.safe = safe


def _safe_divisor(op: Operation) -> _Divisor:
    boolean = op.with_element("i1")
    zero = op.value(f"icmp eq {op.type} {op.texts[1]}, {op.number(0)}")
    minus_one = op.value(f"icmp eq {op.type} {op.texts[1]}, {op.number(-1)}")
    either = op.value(f"or {boolean} {zero}, {minus_one}")
    return _Divisor(zero, minus_one, op.select(either, op.number(1), op.texts[1]))


def _zero_where(op: Operation, divides: _Divisor, rest: str) -> str:
    boolean = op.with_element("i1")
    either = op.value(f"or {boolean} {divides.zero}, {divides.minus_one}")
    return op.select(either, op.number(0), rest)


def _by_doubles(op: Operation, by: str) -> str:
    double = op.with_element("double")
    prefix = "u" if op.dtype.kind == "uint" else "s"
    a, b = (op.value(f"{prefix}itofp {op.type} {x} to {double}") for x in (op.texts[0], by))
    exact = op.value(f"fdiv {double} {a}, {b}")
    name = f"llvm.floor.{'v' + str(op.lanes)}f64"
    whole = op.writer.call(name, double, double, f"{double} {exact}")
    return op.value(f"fpto{prefix}i {double} {whole} to {op.type}")


def _truncated(op: Operation, a: str, by: str) -> tuple[str, str, str]:
    """The quotient rounded to zero, the rest, and where that rest and ``by`` differ in sign."""
    quotient = op.value(f"sdiv {op.type} {a}, {by}")
    product = op.value(f"mul {op.type} {quotient}, {by}")
    rest = op.value(f"sub {op.type} {a}, {product}")
    signs = op.value(f"xor {op.type} {rest}, {by}")
    differ = op.value(f"icmp slt {op.type} {signs}, {op.number(0)}")
    some = op.value(f"icmp ne {op.type} {rest}, {op.number(0)}")
    return quotient, rest, op.value(f"and {op.with_element('i1')} {differ}, {some}")


def _floor(op: Operation, a: str, by: str) -> str:
    quotient, _, wrong = _truncated(op, a, by)
    correction = op.value(f"sext {op.with_element('i1')} {wrong} to {op.type}")
    return op.value(f"add {op.type} {quotient}, {correction}")


def _rest(op: Operation, a: str, by: str) -> str:
    _, rest, wrong = _truncated(op, a, by)
    correction = op.select(wrong, by, op.number(0))
    return op.value(f"add {op.type} {rest}, {correction}")
