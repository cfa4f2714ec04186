"""Reductions in programs: operands are computed in their bucket, which nothing else uses."""

import random

import numpy as np
import pytest

from graphc.backends.cpu.executable import POISON, address_of
from graphc.backends.loops.instructions import Commit, Reduced, Run
from graphc.backends.loops.program import lifetimes_of
from graphc.ir.parse import parse_graph
from graphc.passes.unroll import Unroll
from graphc.runtime.compiled import target_here
from graphc.runtime.engine import Engine
from graphc.runtime.part import Part, printed
from graphc.runtime.state import VariableStore
from tests.passes.running import text

X = "%x: f32[n, 4] = placeholder() {dtype: f32, shape: [size(n), 4]}"
C = "%c: f32[16] = placeholder() {dtype: f32, shape: [16]}"
KEEP = "{axes: [0], keepdims: false}"
SUM = '{combiner: "sum"}'
S = f"%s: f32[4] = reduce_sum(%x) {KEEP}"
T = "%t: f32[16] = tanh(%c)"
R = f"%r: f32[4], f32[16] = all_reduce(%s, %t) {SUM}"


def loaded(*lines, shards=None):
    """The compiled part of a member; unrolled for ``shards`` logical shards, if it says so."""
    graph = parse_graph(text(*lines))
    if shards is not None:
        graph = Unroll(("n",), shards).run(graph)
    dims = {dim for tensor in graph.inputs for dim in tensor.shape if not isinstance(dim, int)}
    engine = Engine(target_here("host"), VariableStore())
    return engine.load(Part(*printed(graph), tuple(sorted(map(str, dims)))), 0)


def copies(part):
    """How many calls only copy an operand to its bucket."""
    names = {reduction.name for reduction in part.program.reductions}
    kinds = [part.program.storages[call.writes[0]].kind for call in part.program.calls
             if call.name in names]  # fmt: skip
    return kinds.count("temporary")


def run(part, sizes, feeds):
    """A step of a lone member in poisoned memory: row 0 of each bucket becomes the sum of all."""
    binding, program = part.bind(sizes), part.program
    fetched = binding.begin([address_of(feed) for feed in feeds])
    binding.arena[:] = POISON
    for instruction in part.instructions:
        if isinstance(instruction, Run):
            run_calls(binding, instruction.first, instruction.last)
        elif isinstance(instruction, Commit):
            run_calls(binding, program.commit, len(program.calls))
        elif isinstance(instruction, Reduced):
            first, *others = [
                np.frombuffer(binding.memory(row), np.float32) for row in instruction.reduction.rows
            ]
            for row in others:
                first += row
                row[:] = np.nan
    return fetched


def run_calls(binding, first, last):
    """Call by call; what is not needed any more is poisoned."""
    for number in range(first, last):
        binding.run_calls(number, number + 1)
        for offset, interval in zip(binding.layout.offsets, binding.intervals, strict=True):
            if interval.last == number:
                binding.arena[offset : offset + interval.bytes] = POISON


def test_what_nobody_else_reads_is_computed_in_its_bucket():
    part = loaded(X, C, S, T, R, "%u: f32[4] = tanh(%r)", "inputs %x, %c", "outputs %u, %r:1")
    (reduction,) = part.program.reductions
    assert copies(part) == 0
    inside = [s.inside for s in part.program.storages if s.inside is not None]
    assert {place.storage for place in inside} == set(reduction.rows)
    assert sorted(place.first for place in inside) == [0, 0, 16, 16]  # whole cache lines first


@pytest.mark.parametrize(
    ("lines", "ends", "count"),
    [
        ((S, T, R, "%q: f32[4] = tanh(%s)"), "outputs %r, %q", 1),
        ((S, T, R), "outputs %s", 1),
        ((S, T, f"%r: f32[4], f32[4] = all_reduce(%s, %s) {SUM}"), "outputs %t", 2),
        (
            (S, T, "%v: f32[2, 2] = reshape(%s) {shape: [2, 2]}",
             f"%r: f32[2, 2], f32[16] = all_reduce(%v, %t) {SUM}"), "outputs %c", 0,
        ),
        (
            (S, T, "%v: f32[2, 2] = reshape(%s) {shape: [2, 2]}",
             f"%r: f32[2, 2], f32[16] = all_reduce(%v, %t) {SUM}"), "outputs %s", 1,
        ),
        ((T, f"%r: f32[16], f32[16] = all_reduce(%c, %t) {SUM}"), "outputs %x", 1),
        (
            (S, f"%r: f32[4] = all_reduce(%s) {SUM}", f"%m: f32[4] = all_reduce(%r) {SUM}"),
            "outputs %c", 1,
        ),
    ],
    ids=["read", "fetched", "twice", "a view", "a view of what is fetched", "fed", "reduced"],
)  # fmt: skip
def test_copies_of_operands(lines, ends, count):
    assert copies(loaded(X, C, *lines, "inputs %x, %c", ends, "targets %r")) == count


TRAINING = (
    X, C,
    '%w: &f32[16] = variable() {dtype: f32, shape: [16], shared_name: "w"}',
    "%v: f32[16] = read_variable(%w)",
    S, "%d: f32[n, 4] = subtract(%x, %s)", f"%q: f32[4] = reduce_sum(%d) {KEEP}", T,
    f"%r: f32[4], f32[4], f32[16] = all_reduce(%s, %q, %t) {SUM}",
    "%z: f32[n, 4] = multiply(%d, %r)", f"%g: f32[4] = reduce_max(%z) {KEEP}",
    "%h: f32[4] = add(%g, %r:1)", "%u: f32[16] = subtract(%v, %r:2)",
    f"%e: f32[4] = all_reduce(%h) {SUM}",
    "%a: f32[16] = assign(%w, %u) {initializer: false}",
    "inputs %x, %c", "outputs %e, %z, %h, %r:2", "targets %a",
)  # fmt: skip


def test_memory_lives_as_long_as_it_is_needed():
    """With one row all reductions are identities: what is computed is what the reference says."""
    part, rng = loaded(*TRAINING), np.random.default_rng(0)
    for rows in (5, 1, 0, 64):
        feeds = [rng.normal(size=(rows, 4)).astype("f4"), rng.normal(size=16).astype("f4")]
        part.variables["w"][:] = 1.0
        x, c = feeds
        e, z, h, r = run(part, (rows,), feeds)
        s = x.sum(0)
        d = x - s
        np.testing.assert_allclose(z, d * s, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(r, np.tanh(c), rtol=1e-5)
        top = (d * s).max(0, initial=-np.inf)
        np.testing.assert_allclose(h, top + d.sum(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(e, h)
        np.testing.assert_allclose(part.variables["w"], 1 - np.tanh(c), rtol=1e-5)


def test_rows_of_shards_are_combined():
    lines = (
        X, C, S, f"%q: f32[4] = reduce_max(%x) {KEEP}",
        f"%r: f32[4], f32[4] = all_reduce(%s, %q) {SUM}",
        "%z: f32[n, 4] = add(%x, %r)", "%u: f32[4] = tanh(%r:1)",
        "inputs %x, %c", "outputs %z, %u",
    )  # fmt: skip
    part, rng = loaded(*lines, shards=3), np.random.default_rng(1)
    assert len(part.program.reductions[0].rows) == 3
    counts = (4, 1, 7)
    parts = [rng.normal(size=(count, 4)).astype("f4") for count in counts]
    *found, u = run(part, counts, [*parts, np.zeros(16, np.float32)])
    for z, x in zip(found, parts, strict=True):
        np.testing.assert_allclose(z, x + np.concatenate(parts).sum(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(u, np.tanh(sum(x.max(0) for x in parts)), rtol=1e-5)


def test_shards_share_their_kernels():
    once, thrice = (len(loaded(*TRAINING, shards=n).program.kernels) for n in (1, 3))
    assert once == thrice


def test_workspaces_have_the_size_of_their_shard():
    """Shards share a kernel, whose workspace each call sizes by its own rows."""
    total = "%s: f32[] = reduce_sum(%x) {axes: [0, 1], keepdims: false}"
    part = loaded(
        X, total, f"%r: f32[] = all_reduce(%s) {SUM}", "inputs %x", "outputs %r", shards=2
    )

    def workspaces(*counts):
        sizes = dict(zip(part.part.symbols, counts, strict=True))
        return sorted(s.bytes(sizes) for s in part.program.storages if s.workspace is not None)

    (small, _), (large, _) = workspaces(1, 1), workspaces(10**6, 10**6)
    assert small < large
    assert workspaces(1, 10**6) == workspaces(10**6, 1) == [small, large]
    for counts in ((1, 10**5), (10**5, 1)):
        (found,) = run(part, counts, [np.ones((count, 4), np.float32) for count in counts])
        assert found == 4 * (10**5 + 1)


def test_buckets_of_sizes_that_a_run_tells():
    lines = (
        X, C, "%m: f32[m] = placeholder() {dtype: f32, shape: [size(m)]}",
        "%p: f32[m] = tanh(%m)", S,
        f"%r: f32[m], f32[4], f32[m] = all_reduce(%p, %s, %m) {SUM}", "%q: f32[m] = add(%r, %r:2)",
        "inputs %x, %c, %m", "outputs %q, %r:1",
    )  # fmt: skip
    part, rng = loaded(*lines), np.random.default_rng(3)
    for m, n in ((3, 5), (0, 2), (100, 1)):
        values = rng.normal(size=m).astype("f4")
        x = rng.normal(size=(n, 4)).astype("f4")
        q, s = run(part, (m, n), [x, np.zeros(16, np.float32), values])
        np.testing.assert_allclose(q, np.tanh(values) + values, rtol=1e-5)
        np.testing.assert_allclose(s, x.sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.random_cases(quick=15, soak=500)
def test_random_nets_of_reductions(case_seed):
    """Whatever is reduced, read, viewed and fetched: in poisoned memory the values are right."""
    rng = random.Random(case_seed)
    lines, names = [C], ["c"]
    for number in range(14):
        a, b, name = rng.choice(names[-5:]), rng.choice(names), f"v{number}"
        kinds = [
            f"%{name}: f32[16] = tanh(%{a})",
            f"%{name}: f32[16] = subtract(%{a}, %{b})",
            f"%{name}: f32[16] = reshape(%{a}) {{shape: [16]}}",
            f"%{name}: f32[16] = all_reduce(%{a}) {SUM}",
            f"%{name}: f32[16], f32[16] = all_reduce(%{a}, %{b}) {SUM}",
        ]
        lines.append(rng.choice(kinds))
        names += [name] + [f"{name}:1"] * ("], f32" in lines[-1])
    ends = "inputs %c", "outputs " + ", ".join(f"%{n}" for n in rng.sample(names, 4))
    part = loaded(*lines, *ends)
    value = np.random.default_rng(case_seed).normal(size=16).astype(np.float32)
    for found, wanted in zip(run(part, (), [value]), identities(lines, ends, value), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def identities(lines, ends, value):
    """The values in NumPy, where a reduction gives its operands."""
    graph = parse_graph(text(*lines, *ends))
    known = dict(zip(graph.inputs, [value], strict=True))
    rules = {"tanh": np.tanh, "subtract": np.subtract, "reshape": np.array}
    for node in graph.nodes:
        operands = [known[t] for t in node.inputs]
        if node.op.name == "all_reduce":
            known.update(zip(node.outputs, operands, strict=True))
        elif operands:
            known[node.outputs[0]] = rules[node.op.name](*operands)
    return [known[t] for t in graph.outputs]


def test_nothing_is_written_in_place_of_a_bucket():
    part = loaded(*TRAINING)
    homes = {row for reduction in part.program.reductions for row in reduction.rows}
    storages = part.program.storages
    for call in part.program.calls:
        for storage in call.writes:
            place = storages[storage].inside
            if place is not None and place.storage in homes:
                assert storage not in call.reads
    assert homes <= lifetimes_of(part.program).keys()
