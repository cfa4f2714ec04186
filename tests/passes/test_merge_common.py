"""Common subexpressions: what is the same is computed once, what is not is told apart."""

import pytest

from graphc.ir.parse import parse_graph
from graphc.passes.merge_common import MergeCommon
from tests.passes.running import becomes, rewritten, stays, text

XY = (
    "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}",
    "%y: f32[3] = placeholder() {dtype: f32, shape: [3]}",
)
ENDS = ("inputs %x, %y", "outputs %c")


def test_equal_nodes_become_one() -> None:
    before = text(
        *XY, "%a: f32[3] = tanh(%x)", "%b: f32[3] = tanh(%x)", "%c: f32[3] = add(%a, %b)", *ENDS
    )
    after = text(*XY, "%a: f32[3] = tanh(%x)", "%c: f32[3] = add(%a, %a)", *ENDS)
    becomes(before, after, MergeCommon())


def test_merging_goes_on_through_chains() -> None:
    lines = [f"%{n}{i}: f32[3] = {op}(%{n if i else 'x'}{i - 1 if i else ''})"
             for n in "ab" for i, op in enumerate(["tanh", "relu", "exp"])]  # fmt: skip
    graph = parse_graph(text(*XY, *lines, "%c: f32[3] = add(%a2, %b2)", *ENDS))
    assert len(rewritten(MergeCommon(), graph)) == 6


def test_operands_of_commutative_ops_may_be_swapped() -> None:
    before = text(
        *XY,
        "%a: f32[3] = multiply(%x, %y)",
        "%b: f32[3] = multiply(%y, %x)",
        "%c: f32[3] = add(%a, %b)",
        *ENDS,
    )
    after = text(*XY, "%a: f32[3] = multiply(%x, %y)", "%c: f32[3] = add(%a, %a)", *ENDS)
    becomes(before, after, MergeCommon())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("subtract(%x, %y)", "subtract(%y, %x)"),
        ("maximum(%x, %y)", "maximum(%y, %x)"),  # which of 0.0 and -0.0 is larger
        ("tanh(%x)", "tanh(%y)"),
        ('tanh(%x) on "/cpu:0"', 'tanh(%x) on "/cpu:1"'),
        ("constant() {value: array(f32[3], [0.0, 1.0, 1.0])}",
         "constant() {value: array(f32[3], [-0.0, 1.0, 1.0])}"),
        ("pad(%x) {high: [0], low: [0], value: 0.0}", "pad(%x) {high: [0], low: [0], value: -0.0}"),
    ],
)  # fmt: skip
def test_what_differs_stays(first: str, second: str) -> None:
    lines = f"%a: f32[3] = {first}", f"%b: f32[3] = {second}", "%c: f32[3] = subtract(%a, %b)"
    stays(text(*XY, *lines, *ENDS), MergeCommon())


def test_large_constants_are_compared_by_content() -> None:
    numbers = ", ".join(["1.0"] * 64)
    equal = f"constant() {{value: array(f32[64], [{numbers}])}}"
    other = f"constant() {{value: array(f32[64], [{numbers[:-3]}2.0])}}"
    graph = parse_graph(text(
        f"%a: f32[64] = {equal}", f"%b: f32[64] = {equal}", f"%d: f32[64] = {other}",
        "outputs %a, %b, %d",
    ))  # fmt: skip
    merged = rewritten(MergeCommon(), graph)
    assert [t.name for t in merged.outputs] == ["a:0", "a:0", "d:0"]


RANDOM = "random_uniform(%n) {{dtype: f32, op_seed: {}, seed: 1, shape: [3]}}"
COUNTER = "%n: i64[] = placeholder() {dtype: i64, shape: []}"


@pytest.mark.parametrize("seeds", [(1, 2), (1, 1)])
def test_random_numbers_are_the_same_if_their_seeds_are(seeds) -> None:
    lines = [
        f"%{name}: f32[3] = {RANDOM.format(seed)}" for name, seed in zip("ab", seeds, strict=True)
    ]
    before = text(COUNTER, *lines, "inputs %n", "outputs %a, %b")
    if seeds[0] == seeds[1]:
        becomes(before, text(COUNTER, lines[0], "inputs %n", "outputs %a, %a"), MergeCommon())
    else:
        stays(before, MergeCommon())


def test_reads_of_a_variable_are_left_alone() -> None:
    stays(
        text(
            '%v: &f32[3] = variable() {dtype: f32, shape: [3], shared_name: "v"}',
            "%a: f32[3] = read_variable(%v)",
            "%b: f32[3] = read_variable(%v)",
            "%c: f32[3] = add(%a, %b)",
            "outputs %c",
        ),
        MergeCommon(),
    )
