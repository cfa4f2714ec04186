"""Graphs as text: what pass tests compare, dumps contain, and workers and artifacts are given.

One line is one node: its types, op, inputs (``%x``, or ``%x:1`` for a later output), attributes,
and what else there is to know of it. A graph that is an attribute comes before its node::

    graph {
        %x: f32[n, 4] = placeholder() {dtype: f32, shape: [size(n), 4]} at "train.py":3
        body @b0 {
            ...
        }
        %y: f32[n] = fused(%x) {body: @b0} after %x on "/cpu:0" at "train.py":4 forward "z"
        inputs %x
        outputs %y
    }

Numbers are exact. Arrays of more than ``INLINE`` elements are named by the SHA-256 of their bytes
and kept aside.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.dims import Expression
from graphc.ir.dtypes import DType, as_dtype, float64
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.notation import number_text
from graphc.ir.types import Constraint, TensorType, shape_text

INLINE = 64
"""Arrays of so many elements are printed whole."""

Constants = MutableMapping[str, npt.NDArray[Any]]
"""Large arrays by the SHA-256 of their bytes, in hexadecimal."""

_PLAIN = re.compile(r"[\w.\\/>-]+")


def print_graph(graph: Graph, constants: Constants | None = None) -> str:
    """The text of ``graph``; its large arrays are added to ``constants``, if given."""
    printer = _Printer({} if constants is None else constants)
    printer.graph(graph, "graph")
    return "\n".join(printer.lines) + "\n"


def node_text(node: Node) -> str:
    """One node, as an error shows it: its bodies are left out."""
    return _Printer({}).node(node, dict.fromkeys(_bodies(node), "@..."))


def digest(array: npt.NDArray[Any]) -> str:
    """The SHA-256 of an array's bytes."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(data.data).hexdigest()


def name_text(name: str) -> str:
    """A node's name as texts refer to it."""
    return f"%{name}" if _PLAIN.fullmatch(name) else f"%{json.dumps(name)}"


def tensor_text(tensor: Tensor) -> str:
    name = name_text(tensor.node.name)
    return f"{name}:{tensor.index}" if tensor.index else name


class _Printer:
    """Holds the lines so far; ``constants`` receives large arrays."""

    def __init__(self, constants: Constants) -> None:
        self.lines: list[str] = []
        self.indent = ""
        self.constants = constants
        self.types: dict[TensorType, str] = {}

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def graph(self, graph: Graph, head: str) -> None:
        symbols = f" symbols {graph.symbol_count}" if graph.symbol_count else ""
        self.line(f"{head}{symbols} {{")
        self.indent += "    "
        bodies = 0
        for node in graph.nodes:
            names: dict[str, str] = {}
            for key in _bodies(node):
                names[key] = f"@b{bodies}"
                bodies += 1
                self.graph(node.attrs[key], f"body {names[key]}")
            self.line(self.node(node, names))
        ends = (
            ("inputs", map(tensor_text, graph.inputs)),
            ("outputs", map(tensor_text, graph.outputs)),
            ("targets", (name_text(target.name) for target in graph.targets)),
        )
        for word, found in ends:
            if text := ", ".join(found):
                self.line(f"{word} {text}")
        self.indent = self.indent[4:]
        self.line("}")

    def node(self, node: Node, bodies: Mapping[str, str]) -> str:
        name = name_text(node.name)
        types = ", ".join(self.type(output.type) for output in node.outputs)
        inputs = ", ".join(map(tensor_text, node.inputs))
        parts = [f"{name}: {types}" if types else name, f"= {node.op.name}({inputs})"]
        if node.attrs:
            attrs = [
                f"{key}: {bodies.get(key) or self.value(value)}"
                for key, value in sorted(node.attrs.items())
                if key not in node.op.defaults or value != node.op.defaults[key]
            ]
            parts.append("{" + ", ".join(attrs) + "}")
        if node.controls:
            parts.append("after " + ", ".join(name_text(c.name) for c in node.controls))
        if node.constraints:
            parts.append("where " + ", ".join(map(_constraint, node.constraints)))
        if node.device:
            parts.append(f"on {json.dumps(node.device)}")
        if node.source is not None:
            parts.append(f"at {json.dumps(node.source.file)}:{node.source.line}")
        if node.forward is not None:
            parts.append(f"forward {json.dumps(node.forward)}")
        return " ".join(parts)

    def type(self, type_: TensorType) -> str:
        text = self.types.get(type_)
        if text is None:
            text = self.types[type_] = str(type_)
        return text

    def value(self, value: Any) -> str:
        """An attribute's value."""
        if isinstance(value, tuple):
            return "[" + ", ".join(map(self.value, value)) + "]"
        if isinstance(value, np.ndarray):
            return self.array(value)
        return _VALUES[type(value)](value)

    def array(self, array: npt.NDArray[Any]) -> str:
        dtype = as_dtype(array.dtype)
        type_ = f"{dtype.short}{shape_text(array.shape)}"
        if array.size <= INLINE:
            numbers = ", ".join(number_text(n, dtype) for n in array.reshape(-1).tolist())
            return f"array({type_}, [{numbers}])"
        key = digest(array)
        self.constants.setdefault(key, array)
        return f'array({type_}, sha256 "{key}")'


def _bodies(node: Node) -> list[str]:
    """The attributes that are graphs."""
    return [key for key, value in node.attrs.items() if isinstance(value, Graph)]


def _constraint(constraint: Constraint) -> str:
    return f"{constraint} {json.dumps(constraint.rule)}"


_VALUES: dict[type[Any], Callable[[Any], str]] = {
    bool: lambda value: "true" if value else "false",
    int: str,
    float: lambda value: number_text(value, float64),
    str: json.dumps,
    type(None): lambda _: "none",
    DType: lambda value: value.short,
    Expression: lambda value: f"size({value})",
    TensorType: str,
}
