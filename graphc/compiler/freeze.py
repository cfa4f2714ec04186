"""Variables that a program only reads, as constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphc.compiler.extract import Extract
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ops.state import is_assign


def freeze(extracted: Extract, values: Mapping[str, Any]) -> Extract:
    """``extracted`` with reads of variables that nothing writes replaced by their ``values``."""
    old = extracted.graph
    written = {n.inputs[0].node.attrs["shared_name"] for n in old.nodes if is_assign(n)}
    new = Graph()
    tensors: dict[Tensor, Tensor] = {}
    nodes: dict[Node, Node] = {}
    for node in old.nodes:
        name = node.inputs[0].node.attrs["shared_name"] if node.op.name == "read_variable" else ""
        if name and name not in written:
            copied = new.add(
                "constant", (), {"value": values[name].copy()}, name=node.name,
                device=node.device, source=node.source, forward=node.forward,
            )  # fmt: skip
        else:
            controls = [nodes[c] for c in node.controls]
            copied = new.copy_node(node, [tensors[t] for t in node.inputs], controls)
        nodes[node] = copied
        tensors |= dict(zip(node.outputs, copied.outputs, strict=True))
    new.inputs = tuple(tensors[t] for t in old.inputs)
    new.outputs = tuple(tensors[t] for t in old.outputs)
    new.targets = tuple(nodes[n] for n in old.targets)
    return replace(extracted, graph=new)
