"""Simplification: each rule as text, and the tempting rules that would change a bit."""

import pytest

from graphc.ir.parse import parse_graph
from graphc.ir.text import node_text, print_graph
from graphc.passes.prune import Prune
from graphc.passes.simplify import RULES, Simplify
from tests.passes.running import rewritten, stays, text

SOURCES = (
    "%x: f32[2, 3] = placeholder() {dtype: f32, shape: [2, 3]}",
    "%z: f32[2, 3] = placeholder() {dtype: f32, shape: [2, 3]}",
    "%b: f32[3] = placeholder() {dtype: f32, shape: [3]}",
    "%p: bool[2, 3] = placeholder() {dtype: bool, shape: [2, 3]}",
    "%i: i32[2, 3] = placeholder() {dtype: i32, shape: [2, 3]}",
    "%u: f32[2, 1, 3] = placeholder() {dtype: f32, shape: [2, 1, 3]}",
    "%one_row: f32[1, 3] = placeholder() {dtype: f32, shape: [1, 3]}",
    "%empty: f32[0, 3] = placeholder() {dtype: f32, shape: [0, 3]}",
)  # fmt: skip
INPUTS = "inputs %x, %z, %b, %p, %i, %u, %one_row, %empty"


def number(value: str, name: str = "c", dtype: str = "f32") -> str:
    return f"%{name}: {dtype}[] = constant() {{value: array({dtype}[], [{value}])}}"


def simplified(lines: list[str]) -> str:
    """What the last line's node becomes, as the lines of the graph beyond the sources."""
    (name,) = lines[-1].split(":")[:1]
    graph = parse_graph(text(*SOURCES, *lines, INPUTS, f"outputs {name}"))
    for step in (Simplify(), Prune()):
        graph = rewritten(step, graph)
    own = [node_text(node) for node in graph.nodes if node.op.name != "placeholder"]
    return "; ".join([*own, graph.outputs[0].node.name])


Y = "%y: f32[2, 3] = "
CASES = {
    "x + -0.0": ([number("-0.0"), Y + "add(%x, %c)"], "x"),
    "-0.0 + x": ([number("-0.0"), Y + "add(%c, %x)"], "x"),
    "i + 0": ([number("0", dtype="i32"), "%y: i32[2, 3] = add(%i, %c)"], "i"),
    "x + -z": (["%n: f32[2, 3] = negative(%z)", Y + "add(%x, %n)"], Y + "subtract(%x, %z); y"),
    "-x + z": (["%n: f32[2, 3] = negative(%x)", Y + "add(%n, %z)"], Y + "subtract(%z, %x); y"),
    "x - 0.0": ([number("0.0"), Y + "subtract(%x, %c)"], "x"),
    "x - -z": (["%n: f32[2, 3] = negative(%z)", Y + "subtract(%x, %n)"], Y + "add(%x, %z); y"),
    "-0.0 - x": ([number("-0.0"), Y + "subtract(%c, %x)"], Y + "negative(%x); y"),
    "x * 1": ([number("1.0"), Y + "multiply(%x, %c)"], "x"),
    "x * -1": ([number("-1.0"), Y + "multiply(%x, %c)"], Y + "negative(%x); y"),
    "i * 0": (
        [number("0", dtype="i32"), "%y: i32[2, 3] = multiply(%i, %c)"],
        number("0", "y/0", "i32") + "; %y: i32[2, 3] = broadcast_to(%y/0) {shape: [2, 3]}; y",
    ),
    "-x * -z": (
        ["%m: f32[2, 3] = negative(%x)", "%n: f32[2, 3] = negative(%z)", Y + "multiply(%m, %n)"],
        Y + "multiply(%x, %z); y",
    ),
    "x / 1": ([number("1.0"), Y + "divide(%x, %c)"], "x"),
    "x / 4": ([number("4.0"), Y + "divide(%x, %c)"],
              number("0.25", "y/1") + "; " + Y + "multiply(%x, %y/1); y"),
    "i // 1": ([number("1", dtype="i32"), "%y: i32[2, 3] = floordiv(%i, %c)"], "i"),
    "--x": (["%n: f32[2, 3] = negative(%x)", Y + "negative(%n)"], "x"),
    "not not p": (["%n: bool[2, 3] = logical_not(%p)", "%y: bool[2, 3] = logical_not(%n)"], "p"),
    "||x||": (["%n: f32[2, 3] = abs(%x)", Y + "abs(%n)"], "%n: f32[2, 3] = abs(%x); n"),
    "|-x|": (["%n: f32[2, 3] = negative(%x)", Y + "abs(%n)"], Y + "abs(%x); y"),
    "relu relu": (["%n: f32[2, 3] = relu(%x)", Y + "relu(%n)"], "%n: f32[2, 3] = relu(%x); n"),
    "max(x, x)": ([Y + "maximum(%x, %x)"], "x"),
    "p and true": ([number("true", dtype="bool"), "%y: bool[2, 3] = logical_and(%p, %c)"], "p"),
    "p or false": ([number("false", dtype="bool"), "%y: bool[2, 3] = logical_or(%p, %c)"], "p"),
    "x ** 1": ([number("1.0"), Y + "pow(%x, %c)"], "x"),
    "x ** 2": ([number("2.0"), Y + "pow(%x, %c)"], Y + "square(%x); y"),
    "x ** -1": ([number("-1.0"), Y + "pow(%x, %c)"], Y + "reciprocal(%x); y"),
    "x ** 0": (
        [number("0.0"), Y + "pow(%x, %c)"],
        number("1.0", "y/0") + "; " + Y + "broadcast_to(%y/0) {shape: [2, 3]}; y",
    ),
    "where(true, x, z)": ([number("true", dtype="bool"), Y + "where(%c, %x, %z)"], "x"),
    "where(false, x, b)": (
        [number("false", dtype="bool"), Y + "where(%c, %x, %b)"],
        Y + "broadcast_to(%b) {shape: [2, 3]}; y",
    ),
    "where(p, x, x)": ([Y + "where(%p, %x, %x)"], "x"),
    "cast to itself": ([Y + "cast(%x) {dtype: f32}"], "x"),
    "cast there and back": (
        ["%n: f64[2, 3] = cast(%x) {dtype: f64}", Y + "cast(%n) {dtype: f32}"], "x",
    ),
    "identity": ([Y + "identity(%x)"], "x"),
    "stop_gradient": ([Y + "stop_gradient(%x)"], "x"),
    "reshape to its shape": ([Y + "reshape(%x) {shape: [2, 3]}"], "x"),
    "reshape of reshape": (
        ["%n: f32[6] = reshape(%x) {shape: [6]}", "%y: f32[3, 2] = reshape(%n) {shape: [3, 2]}"],
        "%y: f32[3, 2] = reshape(%x) {shape: [3, 2]}; y",
    ),
    "reshape there and back": (
        ["%n: f32[6] = reshape(%x) {shape: [6]}", Y + "reshape(%n) {shape: [2, 3]}"], "x",
    ),
    "reshape of one number": (
        [number("7.0"), "%n: f32[6] = broadcast_to(%c) {shape: [6]}",
         Y + "reshape(%n) {shape: [2, 3]}"],
        number("7.0") + "; " + Y + "broadcast_to(%c) {shape: [2, 3]}; y",
    ),
    "broadcast of broadcast": (
        ["%n: f32[1, 3] = broadcast_to(%b) {shape: [1, 3]}",
         Y + "broadcast_to(%n) {shape: [2, 3]}"],
        # The first is a reshape already, which costs nothing.
        "%n: f32[1, 3] = reshape(%b) {shape: [1, 3]}; "
        + Y + "broadcast_to(%n) {shape: [2, 3]}; y",
    ),
    "transpose of transpose": (
        ["%n: f32[3, 2] = transpose(%x) {perm: [1, 0]}", Y + "transpose(%n) {perm: [1, 0]}"], "x",
    ),
    "transpose of unit axes": (
        ["%y: f32[1, 2, 3] = transpose(%u) {perm: [1, 0, 2]}"],
        "%y: f32[1, 2, 3] = reshape(%u) {shape: [1, 2, 3]}; y",
    ),
    "transposed operand": (
        ["%n: f32[3, 2] = transpose(%x) {perm: [1, 0]}",
         "%y: f32[2, 2] = matmul(%x, %n) {transpose_a: false, transpose_b: false}"],
        "%y: f32[2, 2] = matmul(%x, %x) {transpose_a: false, transpose_b: true}; y",
    ),
    "concat of one": ([Y + "concat(%x) {axis: 0}"], "x"),
    "concat with nothing": ([Y + "concat(%x, %empty) {axis: 0}"], "x"),
    "split into one": ([Y + "split(%x) {axis: 0, sizes: [2]}"], "x"),
    "slice of all": ([Y + "strided_slice(%x) {sizes: [2, 3], starts: [0, 0], strides: [1, 1]}"],
                     "x"),
    "no padding": ([Y + "pad(%x) {high: [0, 0], low: [0, 0], value: 1.0}"], "x"),
    "max over one element": (
        ["%y: f32[2, 3] = reduce_max(%u) {axes: [1], keepdims: false}"],
        Y + "reshape(%u) {shape: [2, 3]}; y",
    ),
    "sum over one element": (
        ["%y: f32[2, 3] = reduce_sum(%u) {axes: [1], keepdims: false}"],
        "%y/0: f32[2, 3] = reshape(%u) {shape: [2, 3]}; " + number("0.0", "y/1")
        + "; " + Y + "add(%y/0, %y/1); y",
    ),
    "sum over no axes of integers": (
        ["%y: i32[2, 3] = reduce_sum(%i) {axes: [], keepdims: false}"], "i",
    ),
    "operand repeated by its reader": (
        ["%n: f32[2, 3] = broadcast_to(%b) {shape: [2, 3]}", Y + "add(%x, %n)"],
        Y + "add(%x, %b); y",
    ),
    "repeated result": (
        ["%n: f32[2, 3] = broadcast_to(%b) {shape: [2, 3]}", Y + "tanh(%n)"],
        "%y/0: f32[3] = tanh(%b); " + Y + "broadcast_to(%y/0) {shape: [2, 3]}; y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    lines, wanted = CASES[name]
    assert simplified(lines) == wanted


REFUSALS = {
    "x + 0.0 makes 0.0 of -0.0": [number("0.0"), Y + "add(%x, %c)"],
    "x - -0.0 makes 0.0 of -0.0": [number("-0.0"), Y + "subtract(%x, %c)"],
    "0.0 - x is not -x for 0.0": [number("0.0"), Y + "subtract(%c, %x)"],
    "x * 0.0 may be NaN or -0.0": [number("0.0"), Y + "multiply(%x, %c)"],
    "x - x may be NaN": [Y + "subtract(%x, %x)"],
    "x / x may be NaN": [Y + "divide(%x, %x)"],
    "x / 3 is not x * (1 / 3)": [number("3.0"), Y + "divide(%x, %c)"],
    "1 / 2**-130 is subnormal's inverse": [number("7.346839692639297e-40"),
                                          Y + "divide(%x, %c)"],
    "x ** 0.5 of -0.0 and -inf": [number("0.5"), Y + "pow(%x, %c)"],
    "a factor that repeats x": [
        "%c: f32[2, 3] = constant() {value: array(f32[2, 3], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])}",
        Y + "multiply(%one_row, %c)",
    ],
    "casts that lose bits": [
        "%n: i32[2, 3] = cast(%x) {dtype: i32}", Y + "cast(%n) {dtype: f32}",
    ],
    "a transpose of more than the matrix": [
        "%n: f32[3, 1, 2] = transpose(%u) {perm: [2, 1, 0]}",
        "%y: f32[3, 1, 1] = matmul(%n, %n) {transpose_a: false, transpose_b: true}",
    ],
    "a reversed axis": [
        Y + "strided_slice(%x) {sizes: [2, 3], starts: [-1, 0], strides: [-1, 1]}",
    ],
    "less is not the negation of greater or equal": [
        "%n: bool[2, 3] = greater_equal(%x, %z)", "%y: bool[2, 3] = logical_not(%n)",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    lines = REFUSALS[name]
    (output,) = lines[-1].split(":")[:1]
    stays(text(*SOURCES, *lines, INPUTS, f"outputs {output}"), Simplify())


GUARDED = [
    "%k: i32[2, 3] = floordiv(%i, %i)",
    number("0", dtype="i32"),
    "%y: i32[2, 3] = multiply(%k, %c)",
]


def test_zero_times_what_can_fail_is_computed() -> None:
    """The step has to fail where ``i`` is 0."""
    stays(text(*SOURCES, *GUARDED, INPUTS, "outputs %y"), Simplify())


def test_the_branch_not_taken_is_computed_if_it_can_fail() -> None:
    lines = [
        "%k: i32[2, 3] = floordiv(%i, %i)",
        number("true", dtype="bool"),
        "%y: i32[2, 3] = where(%c, %i, %k)",
    ]
    stays(text(*SOURCES, *lines, INPUTS, "outputs %y"), Simplify())


def test_custom_gradients_are_gone_once_taken() -> None:
    line = "%g: f32[2, 3], f32[3] = custom_gradient(%x, %b, %z) {results: 2}"
    assert simplified([line, Y + "add(%g, %g:1)"]) == Y + "add(%x, %b); y"


def test_provenance_is_inherited() -> None:
    where = ' on "/cpu:0" at "train.py":3 forward "loss"'
    graph = parse_graph(
        text(*SOURCES, number("4.0"), Y + "divide(%x, %c)" + where, INPUTS, "outputs %y")
    )
    found = rewritten(Simplify(), graph)
    for name in ("y", "y/1"):
        node = found.node(name)
        assert (node.device, str(node.source), node.forward) == ("/cpu:0", "train.py:3", "loss")


HERE, AWAY = (f'on "/job:worker/task:{i}/cpu:0"' for i in (0, 1))
CARRIED = {
    "what is as large": (
        [f"%n: f32[3, 2] = transpose(%x) {{perm: [1, 0]}} {AWAY}",
         f"%y: f32[3, 3] = matmul(%n, %z) {{transpose_a: false, transpose_b: false}} {HERE}"],
        False,
    ),
    "what is repeated": (
        [f"%n: f32[2, 3] = broadcast_to(%b) {{shape: [2, 3]}} {AWAY}", f"{Y}add(%n, %n) {HERE}"],
        True,
    ),
    "what is wider": (
        [f"%n: f32[2, 3] = cast(%d) {{dtype: f32}} {AWAY}",
         f"%y: f64[2, 3] = cast(%n) {{dtype: f64}} {HERE}"],
        False,
    ),
    "what comes anyway": ([f"{Y}identity(%x) {HERE}"], True),
    "what lies here": (
        [f"%n: f32[2, 3] = negative(%x) {HERE}", f"{Y}negative(%n) {HERE}"], True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CARRIED)
def test_no_device_comes_to_read_more_of_another(name: str) -> None:
    """Of two nodes the second is rewritten only if its device does not have to be sent more."""
    nodes, is_rewritten = CARRIED[name]
    sources = [f"{line} {AWAY}" for line in SOURCES]
    sources.append(f"%d: f64[2, 3] = placeholder() {{dtype: f64, shape: [2, 3]}} {AWAY}")
    if name == "what lies here":
        sources = [line.replace(AWAY, HERE) for line in sources]
    graph = parse_graph(text(*sources, *nodes, "outputs %y"))
    found = rewritten(Simplify(), graph)
    assert (print_graph(found) != print_graph(graph)) is is_rewritten


def test_no_rule_is_for_an_op_that_does_not_exist() -> None:
    from graphc.ir.op import OPS

    assert not RULES.keys() - OPS.keys()
