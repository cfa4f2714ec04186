"""What a manifest must be, whoever wrote it.

Each check raises a ``ValueError`` that says where it is and what is wrong there. What passes can
be used without further questions: names that are files of the artifact, types that are types,
sizes that some input has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from graphc.ir.dims import Dim, linear, symbols_of
from graphc.ir.dtypes import DTYPES
from graphc.ir.errors import ParseError
from graphc.ir.notation import Line, read_dim

Check = Callable[[Any, str], None]

_C_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DTYPES = frozenset(dtype.name for dtype in DTYPES)
_LARGEST_SIZE = 1 << 62
_DEEPEST = 50
_SHOWN = 40


def check_content(content: Mapping[str, Any]) -> None:
    """Check what the JSON of a manifest holds, without its checksum.

    Raises:
        ValueError: it is no manifest.
    """
    _record(_MANIFEST)(content, "it")
    for title in ("inputs", "variables"):
        _distinct([port["name"] for port in content[title]], title)
    _distinct([target["name"] for target in content["targets"]], "targets")
    _distinct(content["dims"], "dims")
    if not content["targets"]:
        raise ValueError("it names no target")
    _check_sizes(content)
    check_structure(content["structure"], len(content["outputs"]))
    for target in content["targets"]:
        for role in ("object", "pool", "constants", "library"):
            if target[role] is not None and target[role] not in content["files"]:
                raise ValueError(f"{_short(target[role])} is none of its files")


def check_structure(structure: Any, count: int, depth: int = 0) -> None:
    """Check a nesting of ``count`` outputs, see ``graphc.runtime.fetches``.

    Raises:
        ValueError: it is none, or one that JSON cannot keep.
    """
    if depth > _DEEPEST:
        raise ValueError(f"the outputs are nested more than {_DEEPEST} deep")
    if structure is None or (type(structure) is int and 0 <= structure < count):
        return
    parts = structure if isinstance(structure, list) else None
    if isinstance(structure, dict) and structure.keys() == {"dict"}:
        parts = _values_of_dict(structure["dict"])
    elif isinstance(structure, dict) and structure.keys() - {"named"} == {"tuple"}:
        parts = structure["tuple"]
    if not isinstance(parts, list):
        _refuse(structure, "the structure", f"nesting of {count} outputs")
    for part in parts:
        check_structure(part, count, depth + 1)


def is_c_name(text: str) -> bool:
    """Whether functions in C can be called so: letters, digits and underscores."""
    return _C_NAME.fullmatch(text) is not None


def dim_of(text: str) -> Dim:
    """The size that a text stands for.

    Raises:
        ValueError: it is no size.
    """
    line = Line(f"{text}]", 1)
    try:
        dim = read_dim(line)
        line.expect("]")
        line.end()
    except ParseError as error:
        reason = str(error).removeprefix("line 1: ")
        raise ValueError(f"{_short(text)} is no dimension: {reason[:200]}") from None
    return dim


def _values_of_dict(items: Any) -> list[Any] | None:
    if not isinstance(items, list):
        return None
    for item in items:
        if not (isinstance(item, list) and len(item) == 2):
            raise ValueError(f"{_short(item)} is no key with its outputs")
        key = item[0]
        if type(key) not in (str, int, bool, float, type(None)) or key != key:  # noqa: PLR0124, NaN
            raise ValueError(f"the key {_short(key)} of a dict is no text, number or None")
        if type(key) is float and not math.isfinite(key):
            raise ValueError(f"the key {_short(key)} of a dict cannot be written")
    return [value for _, value in items]


def _check_sizes(content: Mapping[str, Any]) -> None:
    """Every size that is used is one that an input tells, or computed from such."""
    told = {
        found[0]
        for port in content["inputs"]
        for text in port["shape"]
        if (found := linear(dim_of(text))) is not None
    }
    used = [(name, frozenset((name,))) for name in content["dims"]]
    texts = [text for port in content["inputs"] + content["outputs"] for text in port["shape"]]
    texts += [rule[side] for rule in content["rules"] for side in ("left", "right")]
    used += [(text, symbols_of(dim_of(text))) for text in texts]
    for text, symbols in used:
        if unknown := symbols - told:
            raise ValueError(f"no input has the size {_short(min(unknown))} in {_short(text)}")
    for port in content["variables"]:
        if any(symbols_of(dim_of(text)) for text in port["shape"]):
            raise ValueError(f"variable {_short(port['name'])} has a size that is not known")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        _refuse(value, where, "a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(ascii(value), where, "a text")


def _line(value: Any, where: str) -> None:
    _text(value, where)
    if not value or not value.isprintable():
        _refuse(value, where, "a name")


def _natural(value: Any, where: str) -> None:
    if type(value) is not int or not 0 <= value < _LARGEST_SIZE:
        _refuse(value, where, "a number of bytes")


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            _refuse(value, where, what)

    return check


def _dtype(value: Any, where: str) -> None:
    if not isinstance(value, str) or value not in _DTYPES:
        _refuse(value, where, "a dtype")


def _size(value: Any, where: str) -> None:
    _line(value, where)
    dim = dim_of(value)
    if isinstance(dim, int) and not 0 <= dim < _LARGEST_SIZE:
        _refuse(value, where, "a size")


def _flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _refuse(value, where, "true or false")


def _file(value: Any, where: str) -> None:
    _line(value, where)
    if value in (".", "..", "manifest.json") or "/" in value or "\\" in value:
        _refuse(value, where, "a file of an artifact")


def _file_or_none(value: Any, where: str) -> None:
    if value is not None:
        _file(value, where)


def _anything(value: Any, where: str) -> None:
    """Checked elsewhere."""


def _record(fields: Mapping[str, Check]) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, where, "a record")
        for name in sorted(fields.keys() ^ value.keys()):
            problem = "lacks" if name in fields else "has an unknown"
            raise ValueError(f"{where} {problem} {_short(name)}")
        for name, field in fields.items():
            field(value[name], f"{where}.{name}" if where != "it" else name)

    return check


def _each(item: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            _refuse(value, where, "a list")
        for position, part in enumerate(value):
            item(part, f"{where}[{position}]")

    return check


def _files(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        _refuse(value, where, "a record")
    for name, facts in value.items():
        _file(name, where)
        _record({"bytes": _natural, "sha256": _matching(_SHA256, "a checksum")})(
            facts, f"{where}.{name}"
        )


def _distinct(names: list[str], where: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two {where} have one name")


def _refuse(value: Any, where: str, what: str) -> NoReturn:
    raise ValueError(f"{where} is {_short(value)}, which is no {what.removeprefix('a ')}")


def _short(value: Any) -> str:
    """A value in an error message: in one line, and not all of it."""
    try:
        text = ascii(value)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_PORT = _record({"name": _line, "dtype": _dtype, "shape": _each(_size)})
_RULE = _record({"left": _size, "right": _size, "at_least": _flag, "message": _text})
_TARGET = _record({
    "name": _line, "triple": _line, "cpu": _text, "features": _text, "object": _file,
    "pool": _file, "constants": _file, "library": _file_or_none,
})  # fmt: skip
_MANIFEST: Mapping[str, Check] = {
    "name": _matching(_C_NAME, "a name of C functions"), "inputs": _each(_PORT),
    "outputs": _each(_PORT), "variables": _each(_PORT), "dims": _each(_line),
    "rules": _each(_RULE), "errors": _each(_text), "targets": _each(_TARGET),
    "structure": _anything, "files": _files, "format": _natural, "graphc": _line,
}  # fmt: skip
