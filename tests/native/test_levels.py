"""Each x86-64 level that this machine runs gives right numbers; AArch64 objects are emitted."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.cache import default_cache, kernel_name
from graphc.backends.cpu.targets import runs_here, target_named
from graphc.compiler import compile_graph, extract
from tests.native.random_graphs import LARGE, SMALL, random_graph
from tests.native.test_random_graphs import Trial

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
ELF_MACHINE = slice(18, 20)
AARCH64 = (183).to_bytes(2, "little")
"""EM_AARCH64, as the ELF header has it."""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.random_cases(quick=6, soak=100)
def test_random_graphs_on_each_level(level, case_seed):
    if not runs_here(target_named(level)):
        pytest.skip(f"this machine does not run code for {level}")
    sizes = LARGE if case_seed % 6 == 5 else SMALL
    Trial(case_seed, size=20, sizes=sizes, target=level).run()


@pytest.mark.random_cases(quick=4, soak=50)
def test_objects_for_aarch64_are_emitted(case_seed):
    made = random_graph(case_seed, size=30)
    target = target_named("aarch64")
    extracted = extract(made.tensors, made.effects, tuple(made.feeds))
    program = compile_graph(extracted, target)
    objects = default_cache().objects(program.kernels, target)
    assert len(objects) == len(program.kernels) > 5
    for name, data in objects:
        assert data[:4] == b"\x7fELF"
        assert data[ELF_MACHINE] == AARCH64
        assert name.encode() in data


def test_a_session_compiles_for_the_level_it_was_told():
    x = gx.placeholder(gx.float32, [64])
    y = gx.tanh(x)
    fed = np.linspace(-3, 3, 64, dtype=np.float32)
    found = {}
    for level in ("host", "x86-64-v2"):
        with gx.Session(options=gx.CompileOptions(target=level)) as session:
            found[level] = session.run(y, {x: fed})
            executor = session.executor(y, [x])
        (kernel,) = executor._executable.kernels
        assert kernel.name == kernel_name(executor.program.kernels[0], target_named(level))
    np.testing.assert_allclose(found["host"], np.tanh(fed), rtol=1e-6)
    np.testing.assert_allclose(found["x86-64-v2"], np.tanh(fed), rtol=1e-6)


@pytest.mark.parametrize(
    ("level", "message"), [("aarch64", "does not run code for aarch64"), ("x86-64-v9", "no CPU")]
)
def test_a_level_that_this_machine_does_not_run_is_refused(level, message):
    with (
        gx.Session(options=gx.CompileOptions(target=level)) as session,
        pytest.raises(gx.CompileError, match=message),
    ):
        session.run(gx.constant(1.0) + 1.0)
