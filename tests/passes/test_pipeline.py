"""The pipeline: switches, dumps, records, and the pass that breaks a graph."""

from dataclasses import dataclass

import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.equality import graphs_equal
from graphc.ir.errors import GraphError, VerifyError
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.ir.target import Target
from graphc.ir.text import print_graph
from graphc.passes.context import PassContext
from graphc.passes.pipeline import (
    cluster_pipeline,
    default_pipeline,
    run_pipeline,
    timings_text,
)
from graphc.passes.place import Place
from tests.passes.running import CPU

NAMES = [step.name for step in default_pipeline(CPU)]


@pytest.fixture
def graph() -> Graph:
    x = gx.placeholder(gx.float32, [4, 3], name="x")
    v = gx.Variable([1.0, 2.0, 3.0], name="v")
    y = gx.relu(gx.identity(x) * 1.0 + v)
    return extract([y], [v.assign_add(gx.reduce_sum(y, 0)).node], [x]).graph


def context(folder=None) -> PassContext:
    return PassContext(CPU, str(folder) if folder else None)


def test_every_pass_is_recorded(graph: Graph) -> None:
    seen = context()
    result = run_pipeline(graph, seen)
    assert [record.name for record in seen.records] == NAMES
    assert seen.records[0].before == len(graph)
    assert seen.records[-1].after == len(result)
    assert all(record.seconds >= 0 for record in seen.records)


def test_unchanged_passes_say_so(graph: Graph) -> None:
    seen = context()
    run_pipeline(graph, seen)
    again = context()
    once_more = run_pipeline(run_pipeline(graph, context()), again)
    assert not any(record.changed for record in again.records)
    assert any(record.changed for record in seen.records)
    assert "(unchanged)" in timings_text(again.records)
    assert len(once_more) == again.records[0].before


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"resolve_state"}))
def test_any_pass_can_be_switched_off(graph: Graph, name: str) -> None:
    seen = context()
    run_pipeline(graph, seen, frozenset({name}))
    assert name not in [record.name for record in seen.records]


def test_the_environment_switches_passes_off(graph: Graph, monkeypatch) -> None:
    monkeypatch.setenv("GRAPHC_DISABLE_PASSES", "fuse, simplify")
    seen = context()
    run_pipeline(graph, seen)
    assert {"fuse", "simplify"}.isdisjoint(record.name for record in seen.records)


def test_unknown_names_are_refused(graph: Graph) -> None:
    with pytest.raises(GraphError, match=r"'fusion'.*there are fold_constants, fuse"):
        run_pipeline(graph, context(), frozenset({"fusion"}))


def test_what_a_backend_needs_cannot_be_switched_off(graph: Graph) -> None:
    with pytest.raises(GraphError, match="'resolve_state' cannot be switched off"):
        run_pipeline(graph, context(), frozenset({"resolve_state"}))


def test_dumps_are_numbered_and_can_be_read_back(graph: Graph, tmp_path) -> None:
    folder = tmp_path / "new" / "dumps"
    result = run_pipeline(graph, context(folder))
    files = sorted(path.name for path in folder.iterdir() if "notes" not in path.name)
    wanted = ["input", *NAMES]
    assert files == [f"{n:02}-{name}.txt" for n, name in enumerate(wanted)]
    assert graphs_equal(parse_graph((folder / files[0]).read_text()), graph)
    head, _, body = (folder / files[-1]).read_text().partition("\n")
    assert head.startswith("# fuse: ")
    assert graphs_equal(parse_graph(body), result)
    assert (folder / "02-prune.txt").read_text() == "# prune: (unchanged)\n"


def test_the_environment_names_a_folder_for_dumps(graph: Graph, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    run_pipeline(graph, context())
    assert (tmp_path / "00-input.txt").exists()


def test_notes_say_why_neighbours_were_not_fused(graph: Graph, tmp_path) -> None:
    run_pipeline(graph, context(tmp_path))
    (notes,) = tmp_path.glob("*-fuse.notes.txt")
    assert "reduce_sum | " in notes.read_text()


@dataclass(frozen=True)
class Break:
    """A pass with a bug: its graph has the outputs of another."""

    name: str = "break"

    def run(self, graph: Graph, context: PassContext) -> Graph:
        broken = Graph()
        broken.outputs = graph.outputs
        return broken


def test_the_guilty_pass_is_named(graph: Graph) -> None:
    with pytest.raises(VerifyError, match="the pass break broke the graph"):
        run_pipeline(graph, context(), passes=[Break()])


def test_verification_can_be_left_out(graph: Graph) -> None:
    run_pipeline(graph, context(), verify_each=False, passes=[Break()])


def test_gpus_get_neither_epilogues_nor_updates() -> None:
    (fuse,) = [step for step in default_pipeline(Target("gpu", "sm_90")) if step.name == "fuse"]
    assert (fuse.epilogues, fuse.updates) == (False, False)


class TestCluster:
    """The passes over a graph that is to be cut."""

    ONLY = "/job:worker/task:0/cpu:0"

    def test_passes_are_the_local_ones_and_placement(self) -> None:
        names = [step.name for step in cluster_pipeline(CPU, Place((self.ONLY,), self.ONLY))]
        assert names == [*NAMES[:2], "place", *NAMES[2:]]

    def test_one_device_gets_the_graph_of_a_local_session(self, graph: Graph) -> None:
        steps = cluster_pipeline(CPU, Place((self.ONLY,), self.ONLY))
        found = print_graph(run_pipeline(graph, context(), passes=steps))
        wanted = print_graph(run_pipeline(graph, context()))
        assert "fused" in wanted
        assert found.replace(f' on "{self.ONLY}"', "") == wanted

    def test_what_a_pass_noted_is_recorded(self) -> None:
        with gx.device("/gpu:0"):
            y = gx.tanh(gx.placeholder(gx.float32, [2], name="p"), name="y")
        seen = context()
        steps = cluster_pipeline(CPU, Place((self.ONLY,), self.ONLY, soft=True))
        run_pipeline(extract([y], [], [y.node.inputs[0]]).graph, seen, passes=steps)
        (notes,) = [record.notes for record in seen.records if record.name == "place"]
        assert notes == (f"y: there is no /gpu:0, it runs on {self.ONLY}",)

    def test_placement_cannot_be_switched_off(self, graph: Graph) -> None:
        steps = cluster_pipeline(CPU, Place((self.ONLY,), self.ONLY))
        with pytest.raises(GraphError, match="'place' cannot be switched off"):
            run_pipeline(graph, context(), frozenset({"place"}), passes=steps)


def test_garbage_collection_goes_on_afterwards(graph: Graph) -> None:
    import gc

    assert gc.isenabled()
    with pytest.raises(GraphError):
        run_pipeline(graph, context(), frozenset({"no such pass"}))
    run_pipeline(graph, context())
    assert gc.isenabled()
