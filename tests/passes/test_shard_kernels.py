"""Rows followed through kernels that no op has: each rule of what a worker can compute alone."""

import pytest

from graphc.ir.compute.builder import KernelBuilder
from graphc.ir.compute.expr import apply, cast, const, select, size
from graphc.ir.dims import symbol
from graphc.ir.dtypes import float32, int32, int64
from graphc.ir.types import TensorType
from graphc.passes.sharding import Partial, Replicated, Split
from graphc.passes.sharding.stages import result_states
from graphc.passes.sharding.states import NotLinearError, RefusedError, Rows

N = symbol("n")
WHOLE, SUM, MAX = Replicated(), Partial("sum"), Partial("max")
ROWS, LAST = Split(0), Split(1)


def states(shapes, operands, body):
    """What ``body(build, *inputs)``, which returns the result, makes of operands of ``shapes``."""
    build = KernelBuilder([TensorType(float32, shape) for shape in shapes], (), {})
    kernel_result = body(build, *build.inputs)
    build.outputs = (kernel_result.type,)
    build.result(kernel_result)
    (found,) = result_states(build.finish(), operands, Rows("n"))
    return found


def mapped(shape, element):
    """A body that is one map."""
    return lambda build, *inputs: build.map(shape, lambda *i: element(*inputs, *i))


SPLIT = {
    "itself": ([(N, 2)], (N, 2), lambda x, i, j: x[i, j], ROWS),
    "shared columns": ([(2,)], (N, 2), lambda x, i, j: x[j], ROWS),
    "taken apart": ([(4 * N,)], (N, 4), lambda x, i, j: x[i * 4 + j], ROWS),
    "put together": ([(N, 4)], (4 * N,), lambda x, i: x[i // 4, i % 4], ROWS),
    "by an unknown size": (
        [(N, symbol("k"))],
        (N * symbol("k"),),
        lambda x, i: x[i // size(symbol("k")), i % size(symbol("k"))],
        ROWS,
    ),
    "no load": ([(N,)], (3, N), lambda x, i, j: const(1.0, float32), LAST),
}


@pytest.mark.parametrize("name", SPLIT)
def test_own_rows(name) -> None:
    shapes, shape, element, wanted = SPLIT[name]
    operands = [WHOLE if shape == (2,) else ROWS for shape in shapes]
    assert states(shapes, operands, mapped(shape, element)) == wanted


REFUSED = {
    "a row above": ([(N,)], (N,), lambda x, i: x.load(i, i < size(symbol("k")))),
    "one row for all": ([(N, 2)], (2,), lambda x, j: x[const(0, int64), j]),
    "every other row": ([(2 * N,)], (N,), lambda x, i: x[i]),
    "a table by place": ([(9,)], (N,), lambda x, i: x[i]),
    "a row by another place": ([(N,)], (2, N), lambda x, i, j: x[i]),
    "parts of rows": ([(N,)], (N,), lambda x, i: x[(i // 2) * 2]),
    "a place modulo": ([(N, 2)], (N,), lambda x, i: x[i, i % 2]),
    "the place as a number": ([(N,)], (N,), lambda x, i: x[i] * cast(i, float32)),
    "the place alone": ([(N,)], (N,), lambda x, i: i),
    "a narrow place": ([(N,)], (N,), lambda x, i: x[cast(cast(i, int32), int64)]),
    "the number of rows": ([(N,)], (N,), lambda x, i: x[i] / cast(size(N), float32)),
    "a place that is tested": ([(N,)], (N,), lambda x, i: select(i > 3, x[i], 0.0)),
    "two places at once": ([(N,)], (N, N), lambda x, i, j: x[i] * x[j]),
    "an odd number of rows": ([(N,)], (N + 1,), lambda x, i: const(1.0, float32)),
    "rows beyond a quotient": ([(N,)], (N // 2,), lambda x, i: const(1.0, float32)),
    "a squared number of rows": ([(N,)], (N * N,), lambda x, i: const(1.0, float32)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_of_others(name) -> None:
    shapes, shape, element = REFUSED[name]
    operands = [WHOLE if shape == (9,) else ROWS for shape in shapes]
    with pytest.raises(RefusedError, match="rows of the batch are needed from other workers"):
        states(shapes, operands, mapped(shape, element))


def scattered(shape, over, at):
    return lambda build, x: build.scatter("sum", shape, over, at, lambda *i: x[i])


def test_a_scatter_over_rows_is_partial_or_stays_with_them() -> None:
    place = const(1, int64)
    assert states([(N, 2)], [ROWS], scattered((5,), (N, 2), lambda i, j: [j])) == SUM
    assert states([(N, 2)], [ROWS], scattered((N, 5), (N, 2), lambda i, j: [i, j])) == ROWS
    for shape, at in (((9,), lambda i, j: [i]), ((N,), lambda i, j: [place]),
                      ((2 * N,), lambda i, j: [i])):  # fmt: skip
        with pytest.raises(RefusedError):
            states([(N, 2)], [ROWS], scattered(shape, (N, 2), at))


@pytest.mark.parametrize("combiner", ["sum", "max", "argmax"])
def test_a_reduction_over_rows_is_partial_if_it_can_be_combined(combiner) -> None:
    def body(build, x):
        return build.reduce(combiner, (2,), (N,), lambda j, i: x[i, j])

    if combiner == "argmax":
        with pytest.raises(RefusedError):
            states([(N, 2)], [ROWS], body)
    else:
        assert states([(N, 2)], [ROWS], body) == Partial(combiner)


LINEAR = {
    "x + y": lambda x, y, w: x + y,
    "x - y": lambda x, y, w: x - y,
    "-x": lambda x, y, w: -x,
    "x * w": lambda x, y, w: x * w,
    "w * x": lambda x, y, w: w * x,
    "x / w": lambda x, y, w: x / w,
    "x where w": lambda x, y, w: select(w > 0, x, 0.0),
    "x + 0": lambda x, y, w: x + 0.0,
}
NOT_LINEAR = {
    "x * y": lambda x, y, w: x * y,
    "x + w": lambda x, y, w: x + w,
    "w - x": lambda x, y, w: w - x,
    "x + 1": lambda x, y, w: x + 1.0,
    "w / x": lambda x, y, w: w / x,
    "x / y": lambda x, y, w: x / y,
    "exp(x)": lambda x, y, w: apply("exp", x),
    "max(x, y)": lambda x, y, w: apply("max", x, y),
    "w where x": lambda x, y, w: select(x > 0, w, w),
    "x or 1": lambda x, y, w: select(w > 0, x, 1.0),
}
OPERANDS = [(2,), (2,), (2,)]


def elementwise(element):
    return mapped((2,), lambda x, y, w, i: element(x[i], y[i], w[i]))


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_in_sums_stays_partial(name) -> None:
    assert states(OPERANDS, [SUM, SUM, WHOLE], elementwise(LINEAR[name])) == SUM
    with pytest.raises(NotLinearError):
        states(OPERANDS, [MAX, MAX, WHOLE], elementwise(LINEAR[name]))


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_linear_needs_whole_operands(name) -> None:
    with pytest.raises(NotLinearError):
        states(OPERANDS, [SUM, SUM, WHOLE], elementwise(NOT_LINEAR[name]))


def test_partial_sums_are_not_read_row_by_row() -> None:
    with pytest.raises(NotLinearError):
        states([(N,), (2,)], [ROWS, SUM], mapped((N, 2), lambda x, p, i, j: x[i] * p[j]))


def test_moves_keep_every_combiner() -> None:
    turned = mapped((3, 2), lambda x, i, j: x[j, i])
    assert states([(2, 3)], [MAX], turned) == MAX
    padded = mapped((3,), lambda x, i: x.load([i], i < 2))
    assert states([(2,)], [SUM], padded) == SUM
    with pytest.raises(NotLinearError):
        states([(2,)], [MAX], padded)


def test_a_stage_that_is_partial_is_not_read_as_if_it_were_whole() -> None:
    def softmax(build, x):
        total = build.reduce("sum", (), (N,), lambda i: x[i])
        return build.map((N,), lambda i: x[i] / total[()])

    with pytest.raises(NotLinearError):
        states([(N,)], [ROWS], softmax)
