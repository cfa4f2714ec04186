"""The LLVM IR of each scalar operation: a table from (op, kind of operand) to what writes it.

``graphc.ir.compute.scalar`` says what the operations mean; here that holds to the last bit, where
LLVM would say less: shifts by too much, division by zero (0; a guard has reported it) and by -1
are defined, ``min(a, b)`` is ``a`` if ``a < b`` or ``a`` is NaN, else ``b`` (so of zeros with
different signs it is ``b``, on every target), rounding is to nearest, ties to even. There are no
fast-math flags. What has no entry is expanded in loops before printing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from graphc.backends.cpu import printer_casts
from graphc.backends.cpu.printer_division import floordiv, mod
from graphc.backends.cpu.printer_facts import Facts, Value, of_op
from graphc.backends.cpu.printer_operation import Operation
from graphc.backends.cpu.printer_types import STORED_AS_BITS
from graphc.backends.cpu.printer_writer import Writer
from graphc.backends.loops.ir import Op
from graphc.ir.dtypes import int64
from graphc.ir.errors import CompileError

Write = Callable[[Operation], str]


def write_op(writer: Writer, expr: Op, args: Sequence[Value]) -> Value:
    """Write ``expr`` over operands.

    Raises:
        CompileError: processors have no such operation for these dtypes.
    """
    source = expr.args[-1].type.dtype
    write = _TABLE.get((expr.op, source.kind))
    if write is None or (source in STORED_AS_BITS and expr.op not in _OF_BITS):
        raise CompileError(f"there is no CPU code for {expr.op} of {source.name}")
    facts = of_op(expr.op, [a.facts for a in args]) if expr.type.dtype is int64 else Facts()
    return Value(write(Operation(writer, expr, tuple(args), facts)), facts)


_OF_BITS = ("select", "cast", "bitcast")


def _template(text: str) -> Write:
    """An instruction over the operands: ``{0}``, ``{1}``, ``{t}`` their type."""

    def write(op: Operation) -> str:
        return op.value(text.format(*op.texts, t=op.type))

    return write


def _plain(name: str) -> Write:
    return _template(f"{name} {{t}} {{0}}, {{1}}")


def _compare(predicate: str) -> Write:
    return _template(f"{predicate} {{t}} {{0}}, {{1}}")


def _intrinsic(name: str, tail: str = "") -> Write:
    """A call of ``llvm.name`` over the operands; ``tail`` is a further constant argument."""

    def write(op: Operation) -> str:
        return op.call(name, *op.texts, tail=tail)

    return write


def _index_sum(name: str) -> Write:
    """Integer arithmetic, which wraps unless what is known of the result forbids it."""

    def write(op: Operation) -> str:
        flags = " nuw nsw" if op.facts.high is not None else ""
        return op.value(f"{name}{flags} {op.type} {op.texts[0]}, {op.texts[1]}")

    return write


def _fma(op: Operation) -> str:
    if op.writer.target.has_fma:
        return op.call("fma", *op.texts)
    product = op.value(f"fmul {op.type} {op.texts[0]}, {op.texts[1]}")
    return op.value(f"fadd {op.type} {product}, {op.texts[2]}")


def _extreme(predicate: str) -> Write:
    """``min`` or ``max`` of floats; x86's own instructions give ``b`` if either is NaN."""

    def write(op: Operation) -> str:
        a, b = op.texts
        if not op.may_be_nan(0):
            return op.select(op.value(f"fcmp o{predicate} {op.type} {a}, {b}"), a, b)
        if not op.may_be_nan(1):
            return op.select(op.value(f"fcmp u{predicate} {op.type} {a}, {b}"), a, b)
        ordered = op.select(op.value(f"fcmp o{predicate} {op.type} {a}, {b}"), a, b)
        return op.select(op.value(f"fcmp uno {op.type} {a}, {a}"), a, ordered)

    return write


def _shift(name: str) -> Write:
    """Shifts by the width or more (taken as unsigned) give 0."""

    def write(op: Operation) -> str:
        a, b = op.texts
        amount = op.constant(1)
        if amount is not None:
            inside = 0 <= amount < op.dtype.bits
            return op.value(f"{name} {op.type} {a}, {b}") if inside else op.number(0)
        inside = op.value(f"icmp ult {op.type} {b}, {op.number(op.dtype.bits)}")
        return op.select(inside, op.value(f"{name} {op.type} {a}, {b}"), op.number(0))

    return write


def _arithmetic_shift(op: Operation) -> str:
    amount = op.call("umin", op.texts[1], op.number(op.dtype.bits - 1))
    return op.value(f"ashr {op.type} {op.texts[0]}, {amount}")


def _mulhi(extend: str) -> Write:
    """The upper half of a 32-bit product."""

    def write(op: Operation) -> str:
        if op.dtype.size != 4:
            raise CompileError(f"there is no CPU code for mulhi of {op.dtype.name}")
        wide = op.with_element("i64")
        a, b = (op.value(f"{extend} {op.type} {text} to {wide}") for text in op.texts)
        product = op.value(f"mul {wide} {a}, {b}")
        high = op.value(f"lshr {wide} {product}, {op.number_of('i64', 32)}")
        return op.value(f"trunc {wide} {high} to {op.type}")

    return write


def _select(op: Operation) -> str:
    condition, a, b = op.texts
    return op.select(condition, a, b)


@dataclass(frozen=True)
class _Kinds:
    """The entries of the table for operations that differ by kind: bool, int, uint, float."""

    bool: Write | None = None
    int: Write | None = None
    uint: Write | None = None
    float: Write | None = None


def _integers(write: Write, of_float: Write | None = None, of_bool: Write | None = None) -> _Kinds:
    return _Kinds(of_bool, write, write, of_float)


def _floats(write: Write) -> _Kinds:
    return _Kinds(float=write)


def _all(write: Write) -> _Kinds:
    return _Kinds(write, write, write, write)


def _ordering(predicate: str) -> _Kinds:
    unsigned, signed = _compare(f"icmp u{predicate}"), _compare(f"icmp s{predicate}")
    return _Kinds(unsigned, signed, unsigned, _compare(f"fcmp o{predicate}"))


_OPS: Mapping[str, _Kinds] = MappingProxyType(
    {
        "add": _integers(_index_sum("add"), _plain("fadd")),
        "sub": _integers(_plain("sub"), _plain("fsub")),
        "mul": _integers(_index_sum("mul"), _plain("fmul")),
        "div": _floats(_plain("fdiv")),
        "floordiv": _integers(floordiv),
        "mod": _integers(mod),
        "mulhi": _Kinds(int=_mulhi("sext"), uint=_mulhi("zext")),
        "fma": _floats(_fma),
        "min": _Kinds(_plain("and"), _intrinsic("smin"), _intrinsic("umin"), _extreme("lt")),
        "max": _Kinds(_plain("or"), _intrinsic("smax"), _intrinsic("umax"), _extreme("gt")),
        "neg": _integers(lambda op: op.negative(op.texts[0]), _template("fneg {t} {0}")),
        "abs": _Kinds(
            int=_intrinsic("abs", "i1 false"),
            uint=lambda op: op.texts[0],
            float=_intrinsic("fabs"),
        ),
        "floor": _floats(_intrinsic("floor")),
        "ceil": _floats(_intrinsic("ceil")),
        "rint": _floats(_intrinsic("roundeven")),
        "trunc": _floats(_intrinsic("trunc")),
        "sqrt": _floats(_intrinsic("sqrt")),
        "lt": _ordering("lt"),
        "le": _ordering("le"),
        "gt": _ordering("gt"),
        "ge": _ordering("ge"),
        "eq": _integers(_compare("icmp eq"), _compare("fcmp oeq"), _compare("icmp eq")),
        "ne": _integers(_compare("icmp ne"), _compare("fcmp une"), _compare("icmp ne")),
        "and": _integers(_plain("and"), of_bool=_plain("and")),
        "or": _integers(_plain("or"), of_bool=_plain("or")),
        "xor": _integers(_plain("xor"), of_bool=_plain("xor")),
        "not": _integers(lambda op: op.inverse(), of_bool=lambda op: op.inverse()),
        "shl": _integers(_shift("shl")),
        "shr": _Kinds(int=_arithmetic_shift, uint=_shift("lshr")),
        "select": _all(_select),
        "cast": _all(printer_casts.cast),
        "bitcast": _all(printer_casts.bitcast),
    }
)

_TABLE: Mapping[tuple[str, str], Write] = MappingProxyType(
    {
        (name, kind): write
        for name, kinds in _OPS.items()
        for kind in ("bool", "int", "uint", "float")
        if (write := getattr(kinds, kind)) is not None
    }
)
