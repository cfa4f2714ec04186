"""What is known of an offset or extent while it is printed: bounds, divisors, a constant part.

They choose the instructions for divisions, prove alignment, and let neighbouring accesses share
an address. Sizes and indices are taken to be less than 2**48, which is what processors can
address; a value that could then exceed 2**63 is unknown again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

LARGEST = (1 << 48) - 1
"""The largest size, and the largest index of a loop whose end says nothing."""
_SIGNED = (1 << 63) - 1
_ANY_POWER = 1 << 62


@dataclass(frozen=True, slots=True)
class Facts:
    """The value is 0..``high`` (None: anything), a multiple of ``power`` (a power of two).

    That holds for each lane. A scalar is ``root + shift`` too, where ``root`` is the text of a
    value; a constant has no root, is ``known`` and equal to ``shift``, also in vectors.
    """

    high: int | None = None
    power: int = 1
    root: str = ""
    shift: int = 0
    known: bool = False


UNKNOWN = Facts()


class Value(NamedTuple):
    """An operand: its text without the type, and what is known of it."""

    text: str
    facts: Facts = UNKNOWN


def of_constant(value: int) -> Facts:
    """A number."""
    power = value & -value if value else _ANY_POWER
    return Facts(value if value >= 0 else None, power, "", value, known=True)


def of_size() -> Facts:
    """A size parameter."""
    return Facts(LARGEST)


def of_index(begin: Facts, end: Facts, step: int) -> Facts:
    """The index of a loop."""
    power = min(begin.power, step & -step)
    if begin.high is None:
        return Facts(None, power)
    return Facts(LARGEST if end.high is None else max(0, end.high - 1), power)


def of_lanes(lanes: int) -> Facts:
    """0, 1, 2, ..."""
    return Facts(lanes - 1)


def rooted(facts: Facts, text: str) -> Facts:
    """``facts`` of a scalar that is called ``text`` if there is no better root."""
    return facts if facts.root or facts.known else Facts(facts.high, facts.power, text)


def of_op(op: str, args: Sequence[Facts]) -> Facts:
    """What is known of ``op`` over such operands, in int64."""
    rule = _RULES.get(op)
    return UNKNOWN if rule is None else rule(*args)


def _bounded(high: int | None, power: int, root: str = "", shift: int = 0) -> Facts:
    return Facts(high if high is not None and high <= _SIGNED else None, power, root, shift)


def _add(a: Facts, b: Facts) -> Facts:
    high = None if a.high is None or b.high is None else a.high + b.high
    power = min(a.power, b.power)
    if a.root and b.known:
        return _bounded(high, power, a.root, a.shift + b.shift)
    if b.root and a.known:
        return _bounded(high, power, b.root, b.shift + a.shift)
    return _bounded(high, power)


def _sub(a: Facts, b: Facts) -> Facts:
    if a.root and b.known:
        return Facts(None, min(a.power, b.power), a.root, a.shift - b.shift)
    return Facts(None, min(a.power, b.power))


def _mul(a: Facts, b: Facts) -> Facts:
    high = None if a.high is None or b.high is None else a.high * b.high
    return _bounded(high, min(a.power * b.power, _ANY_POWER))


def _floordiv(a: Facts, b: Facts) -> Facts:
    if a.high is None or b.high is None:
        return UNKNOWN
    return Facts(a.high // b.shift if b.known and b.shift else a.high)


def _mod(a: Facts, b: Facts) -> Facts:
    power = min(a.power, b.power)
    if b.high is None or (a.high is None and not b.known):
        return Facts(None, power)
    return Facts(max(0, b.high - 1), power)


def _either(choose: Callable[[int, int], int]) -> Callable[[Facts, Facts], Facts]:
    def rule(a: Facts, b: Facts) -> Facts:
        high = None if a.high is None or b.high is None else choose(a.high, b.high)
        return Facts(high, min(a.power, b.power))

    return rule


def _select(_condition: Facts, a: Facts, b: Facts) -> Facts:
    return _either(max)(a, b)


_RULES: Mapping[str, Callable[..., Facts]] = MappingProxyType(
    {
        "add": _add,
        "sub": _sub,
        "mul": _mul,
        "floordiv": _floordiv,
        "mod": _mod,
        "min": _either(min),
        "max": _either(max),
        "select": _select,
    }
)
