"""Reads the text of graphs (``text.py``) back, from files and from other processes.

Whatever the text is, the result is a graph that holds every invariant of ``verify.py``, or one
``ParseError`` that names the line. Nothing in it is evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.attributes import check_attributes
from graphc.ir.dims import product
from graphc.ir.dtypes import DTYPES, DType
from graphc.ir.errors import GraphError, ParseError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.notation import Line, read_dim, read_number, read_shape, read_type
from graphc.ir.op import Op, op_named
from graphc.ir.source import Source
from graphc.ir.text import INLINE, digest
from graphc.ir.types import Constraint, TensorType
from graphc.ir.verify import violation

_SHORTS = frozenset(dtype.short for dtype in DTYPES)
_DEEPEST = 20
Arrays = Mapping[str, npt.NDArray[Any]]


def parse_graph(text: str, constants: Arrays | None = None) -> Graph:
    """The graph whose text this is; ``constants`` holds what ``print_graph`` kept aside.

    Raises:
        ParseError: it is no such text, a constant is missing or has other bytes, or the graph
            breaks an invariant; the message names the line.
    """
    reader = _Reader(text, constants or {})
    line = reader.line()
    line.expect("graph")
    graph = reader.graph(line)
    if reader.number != len(reader.lines):
        reader.line().fail("the graph has ended")
    found = violation(graph)
    if found is not None:
        number = reader.places.get(found.node, 1) if found.node is not None else 1
        raise ParseError(f"line {number}: {found.rule}")
    return graph


class _Reader:
    """The lines, and where each node was read."""

    def __init__(self, text: str, constants: Arrays) -> None:
        self.lines = text.splitlines()
        self.number = 0
        self.constants = constants
        self.depth = 0
        self.places: dict[Node, int] = {}

    def line(self) -> Line:
        self.number += 1
        if self.number > len(self.lines):
            raise ParseError(f"line {self.number}: the text ends too early")
        return Line(self.lines[self.number - 1], self.number)

    def graph(self, line: Line) -> Graph:
        """The rest of a graph whose first line this is."""
        self.depth += 1
        if self.depth > _DEEPEST:
            line.fail("nested too deeply")
        body = _Body(self)
        if line.accept("symbols"):
            body.graph.symbol_count = line.integer()
        line.expect("{")
        line.end()
        while True:
            line = self.line()
            token = line.next()
            if token == "}":  # noqa: S105, a sign
                break
            body.statement(line, token)
        line.end()
        self.depth -= 1
        return body.graph


class _Body:
    """One graph that is being read."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.graph = Graph()
        self.bodies: dict[str, Graph] = {}
        self.sources: dict[tuple[str, int], Source] = {}

    def statement(self, line: Line, token: str) -> None:
        """A line that begins with ``token``."""
        if token[0] == "%":
            self.node(line, _unquoted(line, token))
            return
        read = _STATEMENTS.get(token)
        if read is None:
            line.fail(f"expected a node, not {token!r}")
        read(self, line)
        line.end()

    def body(self, line: Line) -> None:
        name = line.next()
        if name[0] != "@" or name in self.bodies:
            line.fail(f"expected the name of a new body, not {name!r}")
        self.bodies[name] = self.reader.graph(line)

    def inputs(self, line: Line) -> None:
        self.graph.inputs = tuple(self.tensors(line))

    def outputs(self, line: Line) -> None:
        self.graph.outputs = tuple(self.tensors(line))

    def targets(self, line: Line) -> None:
        self.graph.targets = tuple(self.nodes(line))

    def tensors(self, line: Line) -> list[Tensor]:
        found = [self.tensor(line)]
        while line.accept(","):
            found.append(self.tensor(line))
        return found

    def nodes(self, line: Line) -> list[Node]:
        found = [self.known(line)]
        while line.accept(","):
            found.append(self.known(line))
        return found

    def known(self, line: Line) -> Node:
        """A node that was read before."""
        token = line.next()
        name = _unquoted(line, token)
        if name not in self.graph:
            line.fail(f"there is no node {token} before this line")
        return self.graph.node(name)

    def tensor(self, line: Line) -> Tensor:
        node = self.known(line)
        index = line.integer() if line.accept(":") else 0
        if not 0 <= index < len(node.outputs):
            line.fail(f"{node.name} has {len(node.outputs)} outputs, none is number {index}")
        return node.outputs[index]

    def node(self, line: Line, name: str) -> None:
        types: list[TensorType] = []
        if line.accept(":"):
            types.append(read_type(line))
            while line.accept(","):
                types.append(read_type(line))
        line.expect("=")
        op = self.op(line)
        line.expect("(")
        inputs = line.listed(lambda: self.tensor(line), ")")
        attrs = self.attributes(line, op)
        controls = self.nodes(line) if line.accept("after") else ()
        constraints = self.constraints(line) if line.accept("where") else ()
        device = _string(line) if line.accept("on") else ""
        source = self.source(line) if line.accept("at") else None
        forward = _string(line) if line.accept("forward") else None
        line.end()
        if name in self.graph:
            line.fail(f"there are two nodes called {name!r}")
        node = Node(
            self.graph, op, name, tuple(inputs), attrs, types, controls=tuple(controls),
            constraints=tuple(constraints), device=device, source=source, forward=forward,
        )  # fmt: skip
        self.reader.places[self.graph.append(node)] = line.number

    def op(self, line: Line) -> Op:
        name = line.word()
        try:
            return op_named(name)
        except GraphError as error:
            line.fail(str(error))

    def attributes(self, line: Line, op: Op) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        if line.accept("{"):
            attrs.update(line.listed(lambda: self.attribute(line), "}"))
        try:
            return check_attributes(op, attrs, None)
        except GraphError as error:
            line.fail(str(error))

    def attribute(self, line: Line) -> tuple[str, Any]:
        key = line.word()
        line.expect(":")
        return key, self.value(line)

    def value(self, line: Line) -> Any:
        token = line.peek()
        if token in _VALUES:
            line.next()
            return line.nested(lambda: _VALUES[token](self, line))
        if token in _SHORTS:
            dtype = line.dtype()
            return TensorType(dtype, read_shape(line)) if line.peek() == "[" else dtype
        if token[:1] == "@":
            line.next()
            return self.bodies.get(token) or line.fail(f"there is no body {token}")
        if token[:1] == '"':
            return _string(line)
        return read_number(line)

    def constraints(self, line: Line) -> list[Constraint]:
        found = [self.constraint(line)]
        while line.accept(","):
            found.append(self.constraint(line))
        return found

    def constraint(self, line: Line) -> Constraint:
        left = read_dim(line)
        at_least = line.accept(">")
        if not at_least:
            line.expect("=")
        line.expect("=")
        return Constraint(left, read_dim(line), _string(line), at_least)

    def source(self, line: Line) -> Source:
        file = _string(line)
        line.expect(":")
        key = (file, line.integer())
        return self.sources.setdefault(key, Source(*key))

    def listed(self, line: Line) -> tuple[Any, ...]:
        return tuple(line.listed(lambda: self.value(line), "]"))

    def size(self, line: Line) -> Any:
        line.expect("(")
        dim = read_dim(line)
        line.expect(")")
        return dim

    def resource(self, line: Line) -> TensorType:
        return TensorType(line.dtype(), read_shape(line), resource=True)

    def array(self, line: Line) -> npt.NDArray[Any]:
        """The rest of ``array(type, numbers)`` or ``array(type, sha256 "digest")``."""
        line.expect("(")
        type_ = read_type(line)
        shape = tuple(dim for dim in type_.shape if isinstance(dim, int) and dim >= 0)
        if len(shape) != type_.rank or type_.resource:
            line.fail(f"{type_} is no array")
        line.expect(",")
        if line.accept("sha256"):
            array = self.constant(line, type_, shape)
        else:
            line.expect("[")
            numbers = line.listed(lambda: read_number(line, type_.dtype), "]")
            if len(numbers) != product(shape) or len(numbers) > INLINE:
                line.fail(f"{type_} does not have {len(numbers)} numbers")
            array = _array(line, numbers, type_.dtype, shape)
        line.expect(")")
        return array

    def constant(self, line: Line, type_: TensorType, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        key = _string(line)
        found = self.reader.constants.get(key)
        if found is None:
            line.fail(f"the constant with the SHA-256 {key} is missing")
        data = np.ascontiguousarray(found).reshape(-1).view(np.uint8)
        if data.size != product(shape) * type_.dtype.size:
            line.fail(f"the constant with the SHA-256 {key} does not have the size of {type_}")
        if digest(data) != key:
            line.fail(f"the constant with the SHA-256 {key} has other bytes")
        return _array(line, data.view(type_.dtype.numpy), type_.dtype, shape)


def _array(line: Line, numbers: Any, dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(numbers, dtype.numpy).reshape(shape)
    except (OverflowError, ValueError):
        line.fail(f"these are no numbers of {dtype.short} in a shape of {list(shape)}")


def _string(line: Line) -> str:
    token = line.next()
    try:
        value = json.loads(token)
    except ValueError:
        value = None
    return value if isinstance(value, str) else line.fail(f"expected a string, not {token!r}")


def _unquoted(line: Line, token: str) -> str:
    """The name that ``%name`` or ``%"name"`` refers to."""
    if token[0] != "%" or len(token) == 1:
        line.fail(f"expected a node, not {token!r}")
    if token[1] != '"':
        return token[1:]
    try:
        return str(json.loads(token[1:]))
    except ValueError:
        line.fail(f"{token} is no name")


_STATEMENTS: dict[str, Callable[[_Body, Line], None]] = {
    "body": _Body.body,
    "inputs": _Body.inputs,
    "outputs": _Body.outputs,
    "targets": _Body.targets,
}
_VALUES: dict[str, Callable[[_Body, Line], Any]] = {
    "[": _Body.listed,
    "size": _Body.size,
    "&": _Body.resource,
    "array": _Body.array,
    "none": lambda _body, _line: None,
}
