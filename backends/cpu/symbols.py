"""What an object file refers to and does not define: for compiled kernels, nothing.

Reads ELF of 64 bits, little-endian (System V ABI, chapter 4); that is what objects are made in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_SYMBOL_TABLE = 2
_UNDEFINED = 0


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def undefined_symbols(data: bytes) -> frozenset[str]:
    """The names that the object ``data`` needs from elsewhere.

    Raises:
        ValueError: it is no ELF object of 64 bits, little-endian.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not an ELF object of 64 bits, little-endian")
    sections = list(_sections(data))
    return frozenset(
        name
        for section in sections
        if section.kind == _SYMBOL_TABLE
        for name, index in _symbols(data, section, sections[section.link])
        if index == _UNDEFINED and name
    )


def _sections(data: bytes) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    for number in range(count):
        yield _Section(*struct.unpack_from("<IIQQQQIIQQ", data, start + number * size))


def _symbols(data: bytes, table: _Section, names: _Section) -> Iterator[tuple[str, int]]:
    """Name and section index of each symbol."""
    for offset in range(table.offset, table.offset + table.size, table.entry_size):
        name, _info, _other, index = struct.unpack_from("<IBBH", data, offset)
        begin = names.offset + name
        yield data[begin : data.index(b"\0", begin)].decode(), index
