"""Graphs as text: exact, readable, and read back as an equal graph, or refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gx
from graphc.ir.dtypes import DTYPES, float32
from graphc.ir.equality import graphs_equal
from graphc.ir.errors import ParseError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.source import Source
from graphc.ir.text import print_graph
from graphc.ir.verify import verify
from tests.ir.random_graphs import random_graph

rngs = st.randoms(use_true_random=False)

TEXT = """\
graph symbols 2 {
    %x: f32[_1, 4] = placeholder() {dtype: f32, shape: [size(_1), 4]} at "train.py":1
    %y: f32[_2, 4] = placeholder() {dtype: f32, shape: [size(_2), 4]} at "train.py":2
    body @b0 {
        %a: f32[_1, 4] = placeholder() {dtype: f32, shape: [size(_1), 4]}
        %b: f32[_1, 4] = tanh(%a)
        inputs %a
        outputs %b
    }
    %f: f32[_1, 4] = fused(%x) {body: @b0} on "/cpu:0"
    %add: f32[_2, 4] = add(%f, %y) where _1 == _2 "shapes must broadcast: sizes are equal or 1, aligned from the right" forward "loss"
    %parts: f32[_2, 1], f32[_2, 3] = split(%add) {axis: 1, sizes: [1, 3]} after %f, %y
    %c: f32[2] = constant() {value: array(f32[2], [0.5, nan])}
    %"odd name" = no_op() after %parts
    inputs %x, %y
    outputs %parts:1, %c
    targets %"odd name"
}
"""  # noqa: E501


def example() -> Graph:
    def placeholder(graph: Graph, name: str, size, line: int | None = None):
        source = None if line is None else Source("train.py", line)
        attrs = {"dtype": float32, "shape": (size, 4)}
        return graph.add("placeholder", (), attrs, name=name, source=source).outputs[0]

    graph, body = Graph(), Graph()
    first, second = graph.fresh_symbol(), graph.fresh_symbol()
    x, y = placeholder(graph, "x", first, 1), placeholder(graph, "y", second, 2)
    a = placeholder(body, "a", first)
    body.inputs, body.outputs = (a,), body.add("tanh", (a,), name="b").outputs
    fused = graph.add("fused", (x,), {"body": body}, name="f", device="/cpu:0")
    total = graph.add("add", (fused.outputs[0], y), forward="loss").outputs[0]
    attrs = {"axis": 1, "sizes": (1, 3)}
    parts = graph.add("split", (total,), attrs, name="parts", controls=(fused, y.node))
    value = np.array([0.5, np.nan], np.float32)
    constant = graph.add("constant", (), {"value": value}, name="c")
    graph.targets = (graph.add("no_op", name="odd name", controls=(parts,)),)
    graph.inputs, graph.outputs = (x, y), (parts.outputs[1], constant.outputs[0])
    return graph


def test_the_text_of_a_graph() -> None:
    assert print_graph(example()) == TEXT
    parsed = parse_graph(TEXT)
    assert graphs_equal(parsed, example())
    assert print_graph(parsed) == TEXT
    assert str(parsed.fresh_symbol()) == "_3"


@given(rngs)
def test_random_graphs_survive_the_text(rng: random.Random) -> None:
    graph = random_graph(rng, depth=2)
    verify(graph)
    constants: dict[str, np.ndarray] = {}
    text = print_graph(graph, constants)
    parsed = parse_graph(text, constants)
    assert graphs_equal(graph, parsed)
    assert print_graph(parsed) == text
    verify(parsed)


def test_what_a_user_writes_survives_the_text() -> None:
    x = gx.placeholder(gx.float32, [None, 4], name="x")
    w = gx.Variable(np.ones((4, 30), np.float32), name="w")
    loss = gx.reduce_mean(gx.square(gx.relu(x @ w + 1.5)))
    gx.train.GradientDescentOptimizer(0.1).minimize(loss)
    graph = x.graph
    constants: dict[str, np.ndarray] = {}
    text = print_graph(graph, constants)
    assert graphs_equal(parse_graph(text, constants), graph)
    assert len(constants) == 1
    assert 'test_text.py":' in text


def constant_graph(value: np.ndarray) -> Graph:
    graph = Graph()
    graph.outputs = graph.add("constant", (), {"value": value}, name="c").outputs
    return graph


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("large", [False, True])
def test_arrays_are_exact(dtype, large: bool) -> None:
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 2 if dtype.is_bool else 256, (80 if large else 6) * dtype.size)
    value = bytes_.astype(np.uint8).view(dtype.numpy).reshape(2, -1)
    if dtype.is_float:
        value = np.where(np.isnan(value), dtype.numpy.type(np.nan), value)
    constants: dict[str, np.ndarray] = {}
    parsed = parse_graph(print_graph(constant_graph(value), constants), constants)
    found = parsed.node("c").attrs["value"]
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert found.tobytes() == value.tobytes()
    assert not found.flags.writeable
    assert len(constants) == large


def test_equal_constants_are_kept_once() -> None:
    graph = Graph()
    for shape in ((100,), (10, 10)):
        graph.add("constant", (), {"value": np.zeros(shape, np.float32)})
    constants: dict[str, np.ndarray] = {}
    text = print_graph(graph, constants)
    assert len(constants) == 1
    assert graphs_equal(parse_graph(text, constants), graph)


def test_constants_that_are_not_what_they_were() -> None:
    value = np.arange(100, dtype=np.float32)
    constants: dict[str, np.ndarray] = {}
    text = print_graph(constant_graph(value), constants)
    (key,) = constants
    with pytest.raises(ParseError, match=f"line 2: the constant with the SHA-256 {key} is missing"):
        parse_graph(text)
    with pytest.raises(ParseError, match="has other bytes"):
        parse_graph(text, {key: value + 1})
    with pytest.raises(ParseError, match=r"does not have the size of f32\[100\]"):
        parse_graph(text, {key: value[1:]})


def test_a_chain_of_many_nodes() -> None:
    graph = Graph()
    x = graph.add("placeholder", (), {"dtype": float32, "shape": (4,)}).outputs[0]
    for _ in range(20_000):
        x = graph.add("tanh", (x,)).outputs[0]
    graph.outputs = (x,)
    assert graphs_equal(parse_graph(print_graph(graph)), graph)


REFUSED = {
    "nothing": ("", "line 1: the text ends too early"),
    "no graph": ("kernel f() {\n}\n", "line 1: expected 'graph', not 'kernel'"),
    "truncated": (TEXT[: TEXT.index(" on ") + 3], "line 10: the line ends too early"),
    "more": (TEXT + "}\n", "line 19: the graph has ended"),
    "unknown op": (TEXT.replace("= split(", "= jump("), "line 12: there is no op called 'jump'"),
    "unknown input": (TEXT.replace("tanh(%a)", "tanh(%z)"), "line 6: there is no node %z before"),
    "later input": (TEXT.replace("fused(%x)", "fused(%add)"), "line 10: there is no node %add"),
    "no such output": (TEXT.replace("%parts:1", "%parts:2"), "has 2 outputs, none is number 2"),
    "twice": (TEXT.replace("%c:", "%add:"), "line 13: there are two nodes called 'add'"),
    "type": (TEXT.replace("%b: f32", "%b: f64"), "line 6: 4. the types are f64"),
    "shape": (TEXT.replace("%b: f32[_1, 4]", "%b: f32[_1, 5]"), "where the op's rule gives"),
    "arity": (TEXT.replace("tanh(%a)", "tanh(%a, %a)"), "line 6: 3. tanh takes the operands"),
    "attribute": (TEXT.replace("axis: 1", "axis: 1.0"), "attribute axis must be int, not 1.0"),
    "unknown attribute": (TEXT.replace("axis: 1", "axes: 1"), r"unknown attributes ['axes']"),
    "axis": (TEXT.replace("axis: 1", "axis: 7"), "line 12: 4. split: axis 7 is not in a tensor"),
    "rubbish": (TEXT.replace("sizes: [1, 3]", 'sizes: [none, "3"]'), "split has no types"),
    "constraint": (TEXT.replace("_1 == _2", "_1 == _1"), "line 11: 4. the constraint _1 == _2 is"),
    "device": (TEXT.replace("/cpu:0", "/tpu:0"), "line 10: 5. '/tpu:0' is no device"),
    "body": (TEXT.replace("@b0}", "@b1}"), "line 10: there is no body @b1"),
    "listed twice": (TEXT.replace("inputs %x, %y", "inputs %x, %x"), "line 1: 6. an input"),
    "numbers": (TEXT.replace("[0.5, nan]", "[0.5]"), "line 13: f32[2] does not have 1 numbers"),
    "number": (TEXT.replace("[0.5, nan]", "[0.5, 1]"), "line 13: 1 is no f32"),
    "range": (TEXT.replace("f32[2], [0.5, nan]", "u8[2], [1, 256]"), "these are no numbers of u8"),
    "size": (TEXT.replace("f32[2], [0.5, nan]", f"f32[0, {10**30}], []"), "these are no numbers"),
    "digits": (TEXT.replace('"train.py":1', '"train.py":' + "1" * 5000), "expected an integer"),
    "deep": (TEXT.replace("[1, 3]", "[" * 500 + "]" * 500), "line 12: nested too deeply"),
    "bodies": ("graph {\n" + "body @b0 {\n" * 500, "nested too deeply"),
    "terms": (
        "graph {\n%x: f32[" + ", ".join(["a + b + c + d + e"] * 20) + "] = placeholder()\n}\n",
        "line 2: the number of elements has too many terms",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_texts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph(text)
    assert message in str(caught.value)


SPOILERS = (
    "", "(", ")", "[", "]", "{", "}", "\n", "-", "7", "9" * 5000, "%x", "%y:1", "@b0", "_1", "nan",
    "none", "f32", "&", '"', "//", "%", "\x00", "²", "\\", "size(", "array(", "true", ", ",
    "\u2028",
)  # fmt: skip


@given(st.data())
def test_no_text_makes_the_reader_fail_otherwise(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(SPOILERS)) + text[at + cut :]
    try:
        parsed = parse_graph(text)
    except ParseError as error:
        assert str(error).startswith("line ")  # noqa: PT017, a text may still be a graph
    else:
        verify(parsed)
        assert graphs_equal(parse_graph(print_graph(parsed)), parsed)


@given(st.integers(0, len(TEXT) - 2))
def test_every_truncation_is_refused(end: int) -> None:
    with pytest.raises(ParseError, match=r"^line \d+: "):
        parse_graph(TEXT[:end])


def test_every_exchange_of_words_is_refused_or_a_graph(rng) -> None:
    """Words of the text in places of other words: closer to the grammar than noise."""
    words = TEXT.split(" ")
    for _ in range(300):
        changed = list(words)
        to, from_ = rng.integers(0, len(words), 2)
        changed[to] = words[from_]
        try:
            parsed = parse_graph(" ".join(changed))
        except ParseError:
            continue
        verify(parsed)


CHANGES = (
    ("train.py", "other.py"),
    ("/cpu:0", "/cpu:1"),
    ("0.5, nan", "0.5, 1.0"),
    ("0.5, nan", "-0.5, nan"),
    (' forward "loss"', ""),
    ("after %f, %y", "after %y, %f"),
    ("inputs %x, %y", "inputs %y, %x"),
    ('    targets %"odd name"\n', ""),
    ("add(%f, %y)", "multiply(%f, %y)"),
    ("tanh", "exp"),
    ('_2 "shapes', '_2 "", _1 == _2 "shapes'),
    ('%"odd name"', "%other"),
)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_graphs_that_differ_are_not_equal(old: str, new: str) -> None:
    changed = TEXT.replace(old, new)
    assert changed != TEXT
    assert not graphs_equal(parse_graph(changed), example())


def test_attributes_differ_by_type_and_bits() -> None:
    def padded(value) -> Graph:
        graph = constant_graph(np.ones(2, np.float32))
        x = graph.node("c").outputs[0]
        graph.add("pad", (x,), {"low": (1,), "high": (1,), "value": value})
        return graph

    values = [0, 0.0, -0.0, False, float("nan"), 1.0]
    for a in values:
        for b in values:
            same = repr(a) == repr(b)
            assert graphs_equal(padded(a), padded(b)) == same, (a, b)
