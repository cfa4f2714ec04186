"""Each invariant of a graph, broken."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc.ops  # noqa: F401, it fills the registry
from graphc.ir.dims import symbol
from graphc.ir.dtypes import float32, float64
from graphc.ir.errors import VerifyError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.op import op_named
from graphc.ir.types import TensorType
from graphc.ir.verify import verify
from tests.ir.random_graphs import random_graph

F32 = TensorType(float32, (2,))


def placeholder(graph: Graph, name: str = "x", size=2) -> Tensor:
    attrs = {"dtype": float32, "shape": (size,)}
    return graph.add("placeholder", (), attrs, name=name).outputs[0]


def node(graph: Graph, op: str, inputs=(), attrs=None, types=(F32,), **changes) -> Node:
    """A node that nothing was checked of."""
    return Node(graph, op_named(op), "n", tuple(inputs), attrs or {}, types, **changes)


def of_another_graph(graph: Graph) -> None:
    graph.append(node(Graph(), "no_op", types=()))


def foreign_output(graph: Graph) -> None:
    made = node(graph, "no_op", types=())
    made.outputs = (placeholder(graph),)
    graph.append(made)


def later_input(graph: Graph) -> None:
    later = node(graph, "placeholder", (), {"dtype": float32, "shape": (2,)})
    graph.add("tanh", (later.outputs[0],))


def foreign_input(graph: Graph) -> None:
    graph.append(node(graph, "tanh", (placeholder(Graph()),)))


def forged_input(graph: Graph) -> None:
    graph.append(node(graph, "tanh", (Tensor(placeholder(graph).node, 1, F32),)))


def foreign_control(graph: Graph) -> None:
    graph.append(node(graph, "no_op", types=(), controls=(placeholder(Graph()).node,)))


def too_few_inputs(graph: Graph) -> None:
    graph.append(node(graph, "add", (placeholder(graph),)))


def missing_attribute(graph: Graph) -> None:
    graph.append(node(graph, "placeholder", (), {"dtype": float32}))


def writeable_array(graph: Graph) -> None:
    graph.append(node(graph, "constant", (), {"value": np.zeros(2, np.float32)}))


def wrong_type(graph: Graph) -> None:
    graph.append(node(graph, "tanh", (placeholder(graph),), types=(TensorType(float64, (2,)),)))


def too_many_types(graph: Graph) -> None:
    graph.append(node(graph, "tanh", (placeholder(graph),), types=(F32, F32)))


def broken_rule(graph: Graph) -> None:
    graph.append(node(graph, "add", (placeholder(graph), placeholder(graph, "y", 3))))


def lost_constraint(graph: Graph) -> None:
    pair = (placeholder(graph, "x", symbol("n")), placeholder(graph, "y", symbol("m")))
    graph.append(node(graph, "add", pair, types=(TensorType(float32, (symbol("m"),)),)))


def no_device(graph: Graph) -> None:
    graph.add("no_op", device="/tpu:0")


def foreign_output_of_graph(graph: Graph) -> None:
    graph.outputs = (placeholder(Graph()),)


def double_input(graph: Graph) -> None:
    graph.inputs = (placeholder(graph),) * 2


def foreign_target(graph: Graph) -> None:
    graph.targets = (Graph().add("no_op"),)


def broken_body(graph: Graph) -> None:
    body = Graph()
    body.inputs = (placeholder(body),)
    wrong_type(body)
    body.outputs = body.inputs
    graph.add("fused", (placeholder(graph),), {"body": body})


BROKEN = {
    of_another_graph: "1. 'n' is not the graph's node of that name, in\n    %n = no_op()",
    foreign_output: "1. output 0 is not the node's own",
    later_input: "2. the input n:0 does not come from an earlier node, in\n    %tanh: f32",
    foreign_input: "2. the input x:0 does not come from an earlier node",
    forged_input: "2. the input x:1 does not come from an earlier node",
    foreign_control: "2. the control input x is no earlier node",
    too_few_inputs: "3. add takes the operands ('a', 'b'), not 1",
    missing_attribute: "3. placeholder: missing attributes ['shape']",
    writeable_array: "3. the array value can be written to",
    wrong_type: "4. the types are f64[2], where the op's rule gives f32[2]",
    too_many_types: "4. the types are f32[2], f32[2], where the op's rule gives f32[2]",
    broken_rule: "4. add: shapes must broadcast",
    lost_constraint: "4. the constraint n == m is missing",
    no_device: "5. '/tpu:0' is no device",
    foreign_output_of_graph: "6. the graph's output x:0 is not its own",
    double_input: "6. an input of the graph is listed twice",
    foreign_target: "6. the graph's target no_op is not its own",
    broken_body: "4. the types are f64[2]",
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda f: f.__name__)
def test_broken_invariants(spoil) -> None:
    graph = Graph()
    if spoil is later_input:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Graph, "_check_inputs", lambda *_: None)
            spoil(graph)
    else:
        spoil(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert BROKEN[spoil] in str(caught.value)


@given(st.randoms(use_true_random=False))
def test_graphs_that_are_built_hold_every_invariant(rng: random.Random) -> None:
    verify(random_graph(rng, depth=2))
    verify(Graph())
