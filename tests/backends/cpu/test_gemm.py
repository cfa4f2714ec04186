"""Matrix products of all layouts, shapes and dtypes, against NumPy and against their definition.

Operands are small integers, so that every order of summation gives the same bits; one test has
ordinary numbers and demands the chain of fused additions that the schedule promises.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.backends.cpu.executable import aligned
from graphc.backends.cpu.host import LEVELS, host_cpu, named_cpu
from graphc.backends.cpu.jit import compile_object, link
from graphc.backends.cpu.pool import default_pool
from graphc.backends.cpu.printer import print_llvm
from graphc.backends.cpu.schedules import gemm
from graphc.backends.cpu.schedules.gemm_blocking import Shape, choose_grid, choose_tile
from graphc.backends.cpu.schedules.general import schedule
from graphc.backends.loops.interpreter import run
from graphc.backends.loops.ir import Function
from graphc.backends.loops.program import evaluate_size
from graphc.backends.loops.text import print_function
from graphc.backends.loops.verify import verify_function
from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.expr import Expr, apply
from graphc.ir.compute.kernel import Kernel
from graphc.ir.compute.scalar import evaluate
from graphc.ir.dims import Dim, symbol, symbols_of
from graphc.ir.dims import evaluate as size_of
from graphc.ir.dtypes import DType, bool_, float32, float64, int32, int64
from graphc.ir.target import Target
from graphc.ir.types import TensorType

Array = np.ndarray[Any, Any]
Epilogue = Callable[[KernelBuilder, Buffer], Sequence[Buffer]]

TARGETS = {name: LEVELS[name].target for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4")}
PRODUCTS = (
    "mk,kn->mn",
    "km,kn->mn",
    "mk,nk->mn",
    "km,nk->mn",
    "mk,kn->nm",
    "bmk,bkn->bmn",
    "bmk,bnk->bmn",
    "bmk,kn->bmn",
    "mk,bkn->bmn",
    "bshd,bthd->bhst",
    "bhst,bthd->bshd",
    "bsk,khe->bshe",
    "mkl,kln->mn",
    "mkl,lkn->mn",
    "mk,k->m",
    "k,kn->n",
    "m,n->mn",
)


def einsum(
    spec: str,
    extents: Mapping[str, Dim],
    dtype: DType = float32,
    epilogue: Epilogue | None = None,
    extra: Sequence[TensorType] = (),
    factors: Callable[[Expr, Expr], Expr] = lambda a, b: a * b,
) -> Kernel:
    """The kernel of ``np.einsum(spec, a, b)``, its ``factors``, and what follows it."""
    left, right, out = spec.replace("->", ",").split(",")
    over = [c for c in dict.fromkeys(left + right) if c not in out]

    def shape(letters: str) -> tuple[Dim, ...]:
        return tuple(extents[c] for c in letters)

    types = [TensorType(dtype, shape(left)), TensorType(dtype, shape(right)), *extra]
    build = KernelBuilder(types, (), {})
    a, b = build.inputs[:2]

    def element(*index: Expr) -> Expr:
        at = dict(zip((*out, *over), index, strict=True))
        return factors(a[[at[c] for c in left]], b[[at[c] for c in right]])

    product = build.reduce("sum", shape(out), shape("".join(over)), element)
    results = [product] if epilogue is None else epilogue(build, product)
    build.result(*results)
    build.outputs = tuple(result.type for result in results)
    return build.finish()


def interpret(
    kernel: Kernel, inputs: Sequence[Array], target: Target, reverse: bool = False
) -> list[Array]:
    """The kernel's results, by the interpreter of loops, from a verified function."""
    function, sizes, found = prepared(kernel, inputs, target)
    assert run(function, [*inputs, *found], sizes, reverse=reverse) == -1
    return found


def execute(
    kernel: Kernel, inputs: Sequence[Array], level: str, parallel: bool = False
) -> list[Array]:
    """The kernel's results, by machine code for ``level``, alone or with the thread pool."""
    target = named_cpu(level).target
    function, sizes, found = prepared(kernel, inputs, target)
    library = link({"kernel": compile_object(print_llvm(function, target, "kernel"), target)})
    workspace = [
        aligned(evaluate_size(b.size, sizes) if b.size else 0, b.dtype.numpy)
        for b in function.workspace
    ]
    arrays = [*inputs, *found, *workspace]
    buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    numbers = (ctypes.c_int64 * (len(sizes) + 1))(*(sizes[v.name] for v in function.sizes))
    pool = default_pool()
    threads = (ctypes.c_void_p * 2)(pool.parallel_address, pool.address)
    status = ctypes.c_int64(-1)
    code = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(library.address("kernel"))
    code(buffers, numbers, threads if parallel else None, ctypes.byref(status))
    assert status.value == -1
    return found


def prepared(
    kernel: Kernel, inputs: Sequence[Array], target: Target
) -> tuple[Function, dict[str, int], list[Array]]:
    """The verified schedule, the sizes it is told, and results that hold rubbish."""
    sizes: dict[str, int] = {}
    for param, array in zip(kernel.params, inputs, strict=True):
        for dim, size in zip(param.type.shape, array.shape, strict=True):
            sizes |= dict.fromkeys(symbols_of(dim), size)
    stages = [kernel.stage(name) for name in kernel.results]
    shapes = [tuple(size_of(dim, sizes) for dim in stage.shape) for stage in stages]
    found = [np.full(s, 77, stage.dtype.numpy) for s, stage in zip(shapes, stages, strict=True)]
    function = schedule(kernel, target)
    verify_function(function)
    return function, {size.name: sizes[size.name] for size in function.sizes}, found


def integers(shape: Sequence[int], dtype: DType = float32, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).integers(-9, 10, shape).astype(dtype.numpy)


def operands(spec: str, extents: Mapping[str, int], dtype: DType = float32) -> tuple[Array, Array]:
    left, right, _ = spec.replace("->", ",").split(",")
    a, b = ([extents[c] for c in letters] for letters in (left, right))
    return integers(a, dtype, 1), integers(b, dtype, 2)


EXTENTS = st.fixed_dictionaries(
    {c: st.sampled_from([0, 1, 2, 3, 5, 8, 9, 17]) for c in "mnkstlhde"}
    | {"b": st.sampled_from([0, 1, 3])}
)


@settings(max_examples=60)
@given(
    spec=st.sampled_from(PRODUCTS),
    extents=EXTENTS,
    unknown=st.sets(st.sampled_from("bmnkst")),
    target=st.sampled_from(sorted(TARGETS)),
    dtype=st.sampled_from([float32, float64, int32, int64]),
    reverse=st.booleans(),
)
def test_any_layout_shape_and_dtype(
    spec: str,
    extents: dict[str, int],
    unknown: set[str],
    target: str,
    dtype: DType,
    reverse: bool,
) -> None:
    used = {c: n for c, n in extents.items() if c in spec}
    dims: dict[str, Dim] = {c: symbol(c) if c in unknown else n for c, n in used.items()}
    a, b = operands(spec, used, dtype)
    (found,) = interpret(einsum(spec, dims, dtype), [a, b], TARGETS[target], reverse)
    want = np.einsum(spec, a.astype(np.int64), b.astype(np.int64))
    np.testing.assert_array_equal(found, want.astype(dtype.numpy))


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 13, 31])
@pytest.mark.parametrize("cols", [1, 10, 16, 37, 70])
def test_edges_of_tiles(rows: int, cols: int) -> None:
    extents = {"m": rows, "k": 3, "n": cols}
    a, b = operands("mk,kn->mn", extents)
    for dims in (extents, {"m": symbol("m"), "k": 3, "n": symbol("n")}):
        (found,) = interpret(einsum("mk,kn->mn", dims), [a, b], TARGETS["x86-64-v4"])
        np.testing.assert_array_equal(found, a @ b)


def test_every_element_is_one_chain_over_increasing_k() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((9, 23), (23, 70)))
    want = np.zeros((9, 70), np.float32)
    for k in range(23):
        want = evaluate("fma", (a[:, k : k + 1], b[k : k + 1], want), float32)
    for spec, right in (("mk,kn->mn", b), ("mk,nk->mn", b.T.copy())):
        kernel = einsum(spec, {"m": symbol("m"), "k": 23, "n": 70})
        for level in ("x86-64-v3", "x86-64-v4"):
            (found,) = interpret(kernel, [a, right], TARGETS[level])
            assert found.tobytes() == want.tobytes()


NATIVE = [name for name in (*TARGETS, "host") if host_cpu().runs(named_cpu(name))]


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize(
    ("spec", "dtype"),
    [
        ("mk,kn->mn", float32),
        ("bmk,bnk->bmn", float32),
        ("km,kn->mn", float64),
        ("bshd,bthd->bhst", int32),
        ("mk,nk->mn", int64),
    ],
)
def test_machine_code(level: str, dtype: DType, spec: str) -> None:
    extents = {"b": 3, "m": 37, "k": 45, "n": 70, "s": 19, "t": 23, "h": 2, "d": 20}
    used = {c: n for c, n in extents.items() if c in spec}
    a, b = operands(spec, used, dtype)
    for parallel, unknown in ((False, ""), (True, "bmkst")):
        dims: dict[str, Dim] = {c: symbol(c) if c in unknown else n for c, n in used.items()}
        (found,) = execute(einsum(spec, dims, dtype), [a, b], level, parallel)
        np.testing.assert_array_equal(found, np.einsum(spec, a, b))


@pytest.mark.parametrize("spec", ["mk,kn->mn", "mk,nk->mn"])
def test_machine_code_of_many_tasks(spec: str) -> None:
    """Large enough for panels, packed by tasks of their own."""
    extents = {"m": 300, "k": 400, "n": 500}
    a, b = operands(spec, extents)
    for parallel in (False, True):
        (found,) = execute(einsum(spec, extents), [a, b], "host", parallel)
        np.testing.assert_array_equal(found, np.einsum(spec, a, b))


def test_machine_code_gives_the_bits_of_the_interpreter() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((13, 29), (29, 37)))
    kernel = einsum("mk,kn->mn", {"m": symbol("m"), "k": 29, "n": 37})
    for level in NATIVE:
        (want,) = interpret(kernel, [a, b], named_cpu(level).target)
        (found,) = execute(kernel, [a, b], level)
        assert found.tobytes() == want.tobytes()


def test_epilogue_of_several_results() -> None:
    """Bias and relu, the pre-activation, the mask for the backward pass, and a residual."""
    bias, residual = TensorType(float32, (21,)), TensorType(float32, (symbol("m"), 21))

    def epilogue(build: KernelBuilder, z: Buffer) -> list[Buffer]:
        shift, rest = build.inputs[2:]
        y = build.map(z.shape, lambda i, j: z[i, j] + shift[j])
        positive = build.map(z.shape, lambda i, j: apply("gt", y[i, j], 0.0), bool_)
        out = build.map(z.shape, lambda i, j: apply("max", y[i, j], 0.0) + rest[i, j])
        return [z, positive, out]

    dims = {"m": symbol("m"), "k": 5, "n": 21}
    kernel = einsum("mk,kn->mn", dims, float32, epilogue, (bias, residual))
    a, b = operands("mk,kn->mn", {"m": 11, "k": 5, "n": 21})
    shift, rest = integers((21,)), integers((11, 21))
    product, positive, out = interpret(kernel, [a, b, shift, rest], TARGETS["x86-64-v3"])
    np.testing.assert_array_equal(product, a @ b)
    np.testing.assert_array_equal(positive, a @ b + shift > 0)
    np.testing.assert_array_equal(out, np.maximum(a @ b + shift, 0) + rest)


def test_last_result_may_lie_over_a_residual() -> None:
    residual = TensorType(float32, (6, 7))

    def epilogue(build: KernelBuilder, z: Buffer) -> list[Buffer]:
        rest = build.inputs[2]
        return [build.map(z.shape, lambda i, j: z[i, j] + rest[i, j])]

    kernel = einsum("mk,kn->mn", {"m": 6, "k": 4, "n": 7}, float32, epilogue, (residual,))
    function = schedule(kernel, TARGETS["x86-64-v2"])
    assert function.in_place == ((3, 2),)
    a, b = operands("mk,kn->mn", {"m": 6, "k": 4, "n": 7})
    rest = integers((6, 7))
    want = a @ b + rest
    run(function, [a, b, rest, rest])
    np.testing.assert_array_equal(rest, want)


@pytest.mark.parametrize("spec", ["mk,kn->mn", "mk,nk->mn", "bmk,bkn->bmn", "km,kn->mn"])
def test_factors_that_have_to_be_computed_first(spec: str) -> None:
    def factors(a: Expr, b: Expr) -> Expr:
        return apply("max", a, 0.0) * apply("neg", b)

    extents = {"b": 2, "m": 9, "k": 6, "n": 21}
    used = {c: n for c, n in extents.items() if c in spec}
    a, b = operands(spec, used)
    for dims in (used, used | {"m": symbol("m"), "k": symbol("k")}):
        kernel = einsum(spec, dims, factors=factors)
        (found,) = interpret(kernel, [a, b], TARGETS["x86-64-v3"])
        np.testing.assert_array_equal(found, np.einsum(spec, np.maximum(a, 0), -b))


def test_valid_convolution_is_a_product_over_overlapping_windows() -> None:
    x, w = TensorType(float32, (2, 9, 3)), TensorType(float32, (4, 3, 10))
    build = KernelBuilder([x, w], [TensorType(float32, (2, 6, 10))], {})
    image, taps = build.inputs
    build.result(
        build.reduce(
            "sum",
            (2, 6, 10),
            (4, 3),
            lambda n, i, o, r, c: image[n, i + r, c] * taps[r, c, o],
        )
    )
    a, b = integers((2, 9, 3)), integers((4, 3, 10))
    (found,) = interpret(build.finish(), [a, b], TARGETS["x86-64-v4"])
    want = sum(a[:, r : r + 6] @ b[r] for r in range(4))
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("spec", "is_product"),
    [
        ("mk,kn->mn", True),
        ("m,n->mn", True),
        ("k,kn->n", True),
        ("km,k->m", True),
        ("mk,k->m", False),  # rows along k: a reduction for each
        ("k,k->", False),
        ("mk,mk->m", False),
        ("mkb,knb->mnb", False),  # the batch is contiguous
    ],
)
def test_what_is_a_matrix_product(
    spec: str, is_product: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    original = gemm.match

    def spy(*args: Any) -> Any:
        found = original(*args)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(gemm, "match", spy)
    schedule(einsum(spec, dict.fromkeys("mnkb", 5)), TARGETS["x86-64-v2"])
    assert any(taken) == is_product


@pytest.mark.parametrize(
    ("target", "shape", "tile"),
    [
        ("x86-64-v4", (64, 256, 784), (6, 4, 16)),
        ("x86-64-v4", (64, 10, 128), (8, 1, 16)),
        ("x86-64-v4", (1, 256, 784), (1, 8, 16)),
        ("x86-64-v3", (512, 512, 512), (6, 2, 8)),
        ("x86-64-v2", (512, 512, 512), (6, 2, 4)),
    ],
)
def test_tiles(target: str, shape: tuple[int, int, int], tile: tuple[int, int, int]) -> None:
    found = choose_tile(Shape(*shape, 1, float32), TARGETS[target])
    assert (found.rows, found.vectors, found.lanes) == tile


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("rows", [1, 3, 64, 1000, symbol("m")])
@pytest.mark.parametrize("cols", [1, 10, 256, 4096, symbol("n")])
def test_tiles_fit_the_registers(target: str, rows: Dim, cols: Dim) -> None:
    machine = TARGETS[target]
    tile = choose_tile(Shape(rows, cols, symbol("k"), 1, float32), machine)
    assert tile.rows * tile.vectors + tile.vectors + 1 <= machine.vector_registers
    grid = choose_grid(Shape(rows, cols, 64, 1, float32), tile, whole_rows=False)
    assert grid.rows % tile.rows == 0
    assert grid.panels >= 1


def test_small_products_are_one_task() -> None:
    function = schedule(einsum("mk,kn->mn", {"m": 8, "k": 8, "n": 8}), TARGETS["x86-64-v4"])
    assert "pooled" not in kinds(function)
    function = schedule(einsum("mk,kn->mn", {"m": 64, "k": 784, "n": 256}), TARGETS["x86-64-v4"])
    assert "pooled" in kinds(function)


def kinds(function: Function) -> set[str]:
    return {line.split()[0] for line in print_function(function).splitlines() if line.strip()}
