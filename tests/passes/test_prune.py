"""Prune: what nobody needs goes, inputs and effects stay."""

from graphc.ir.parse import parse_graph
from graphc.passes.prune import Prune
from tests.passes.running import becomes, rewritten, stays, text

X = "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}"


def test_unneeded_nodes_go() -> None:
    before = text(
        X,
        "%a: f32[3] = relu(%x)",
        "%dead: f32[3] = tanh(%a)",
        "%deader: f32[3] = tanh(%dead)",
        'inputs %x', "outputs %a",
    )  # fmt: skip
    after = text(X, "%a: f32[3] = relu(%x)", "inputs %x", "outputs %a")
    becomes(before, after, Prune())


def test_inputs_that_nobody_reads_stay() -> None:
    stays(text(X, "inputs %x"), Prune())


def test_needed_over_controls_and_targets() -> None:
    stays(
        text(
            X,
            "%first: f32[3] = relu(%x)",
            "%second: f32[3] = tanh(%x) after %first",
            "inputs %x",
            "targets %second",
        ),
        Prune(),
    )


def test_provenance_survives() -> None:
    line = '%a: f32[3] = relu(%x) on "/cpu:0" at "train.py":7 forward "loss"'
    before = text(X, "%dead: f32[3] = tanh(%x)", line, "inputs %x", "outputs %a")
    becomes(before, text(X, line, "inputs %x", "outputs %a"), Prune())


def test_long_chains_are_ordinary() -> None:
    lines = [X, *(f"%a{i}: f32[3] = relu(%{f'a{i - 1}' if i else 'x'})" for i in range(5000))]
    graph = parse_graph(text(*lines, "inputs %x", "outputs %a2500"))
    assert len(rewritten(Prune(), graph)) == 2502
