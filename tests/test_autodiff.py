"""`gradients` against central differences of the reference backend, and its rules."""

import numpy as np
import pytest

import graphc as gx
from graphc.backends.reference import run
from graphc.ir.op import OPS, Op, register
from graphc.ir.scope import create
from tests.ops.cases import all_cases
from tests.random_graphs import graphc_ops, random_recipe, torch_ops

STEP = 1e-5
SMOOTH = [case for case in all_cases() if case.smooth]


def placeholders(arrays):
    return [gx.placeholder(gx.as_dtype(a.dtype), a.shape) for a in arrays]


def slope(y, feeds, directions):
    """The change of scalar `y` when `feeds` move along `directions`, by central differences."""
    ends = []
    for step in (STEP, -STEP):
        moved = {x: np.asarray(feeds[x] + step * way) for x, way in directions.items()}
        ends += run(y.graph, {**feeds, **moved}, [y])
    return (ends[0] - ends[1]) / (2 * STEP)


def check_slope(y, xs, feeds, rng, rel=1e-5):
    """Hold the gradients of scalar `y` by `xs`, and theirs, against differences."""
    directions = {x: rng.standard_normal(feeds[x].shape) for x in xs}
    grads = gx.gradients(y, xs)
    along = gx.constant(0.0, gx.float64)
    for x, grad in zip(xs, grads, strict=True):
        if grad is not None:
            along += gx.reduce_sum(grad * directions[x])
    (found,) = run(y.graph, feeds, [along])
    assert found == pytest.approx(slope(y, feeds, directions), rel=rel, abs=1e-6)
    return along


@pytest.mark.parametrize("op", sorted({case.op for case in SMOOTH}))
def test_gradients_of_every_op_are_slopes(op, rng):
    for case in (case for case in SMOOTH if case.op == op):
        with gx.Graph().as_default():
            node = case.node()
            ys = [y for y in node.outputs if y.dtype.is_float]
            weights = [rng.standard_normal(y.shape) for y in ys]
            total = sum((gx.reduce_sum(y * w) for y, w in zip(ys, weights, strict=True)),
                        gx.constant(0.0, gx.float64))  # fmt: skip
            feeds = dict(zip(node.inputs, case.inputs, strict=True))
            check_slope(total, [x for x in node.inputs if x.dtype.is_float], feeds, rng)


@pytest.mark.random_cases(quick=25, soak=500)
def test_gradients_of_random_graphs_are_slopes(case_seed, rng):
    recipe, values = random_recipe(case_seed)
    leaves = placeholders(values)
    feeds = dict(zip(leaves, values, strict=True))
    first = check_slope(recipe.build(graphc_ops(), leaves), leaves, feeds, rng, rel=1e-4)
    check_slope(first, leaves, feeds, rng, rel=1e-3)


@pytest.mark.random_cases(quick=25, soak=200)
def test_gradients_of_random_graphs_are_those_of_torch(case_seed):
    torch = pytest.importorskip("torch")
    recipe, values = random_recipe(case_seed)
    leaves = placeholders(values)
    grads = gx.gradients(recipe.build(graphc_ops(), leaves), leaves)
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    recipe.build(torch_ops(torch), theirs).backward()
    for leaf, grad, other in zip(leaves, grads, theirs, strict=True):
        expected = np.zeros(leaf.shape) if other.grad is None else other.grad.numpy()
        if grad is None:
            assert not expected.any()
            continue
        (found,) = run(leaf.graph, dict(zip(leaves, values, strict=True)), [grad])
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_second_derivatives_of_a_known_function():
    x = gx.placeholder(gx.float64, [])
    y = x**3.0 + gx.exp(x) * x
    (first,) = gx.gradients(y, x)
    (second,) = gx.gradients(first, x)
    (third,) = gx.gradients(second, x)
    e = np.exp(0.7)
    found = run(x.graph, {x: 0.7}, [first, second, third])
    np.testing.assert_allclose(
        found, [3 * 0.49 + e * 1.7, 6 * 0.7 + e * 2.7, 6 + e * 3.7], rtol=1e-12
    )


def test_hessian_of_the_sparse_cross_entropy_is_that_of_log_sum_exp():
    logits = gx.placeholder(gx.float64, [3])
    loss = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=1, logits=logits)
    (gradient,) = gx.gradients(loss, logits)
    rows = [gx.gradients(gradient[i], logits)[0] for i in range(3)]
    values = np.array([0.1, -0.4, 2.0])
    p = np.exp(values) / np.exp(values).sum()
    found = run(logits.graph, {logits: values}, [gradient, *rows])
    np.testing.assert_allclose(found[0], p - [0, 1, 0], rtol=1e-12)
    np.testing.assert_allclose(found[1:], np.diag(p) - np.outer(p, p), rtol=1e-12)


def test_what_is_not_connected_has_no_gradient():
    x, y = gx.placeholder(gx.float32, [2]), gx.placeholder(gx.float32, [2])
    through_integers = gx.cast(gx.cast(x, gx.int32), gx.float32)
    assert gx.gradients(y * 2.0, [x, y])[0] is None
    assert gx.gradients(through_integers, x) == [None]
    assert gx.gradients(gx.stop_gradient(x), x) == [None]


def test_a_tensor_that_is_asked_for_itself_and_twice():
    x = gx.placeholder(gx.float32, [2])
    y = x * 3.0
    found = gx.gradients([y, y], [y, x, x])
    np.testing.assert_array_equal(
        run(x.graph, {x: np.ones(2, np.float32)}, found), [[2, 2], [6, 6], [6, 6]]
    )


def test_grad_ys_weigh_and_are_checked():
    x = gx.placeholder(gx.float32, [2])
    found = gx.gradients([x * 2.0, x * x], x, grad_ys=[[1.0, 10.0], None])
    (value,) = run(x.graph, {x: np.float32([3, 4])}, found)
    np.testing.assert_array_equal(value, [2 + 6, 20 + 8])
    free = gx.placeholder(gx.float32, [None])
    (value,) = run(x.graph, {x: np.zeros(2, np.float32), free: np.float32([5, 6])},
                   gx.gradients(x, x, grad_ys=free))  # fmt: skip
    np.testing.assert_array_equal(value, [5, 6])
    with pytest.raises(gx.GraphError, match="as many grad_ys"):
        gx.gradients([x, x], x, grad_ys=[x])
    with pytest.raises(gx.ShapeError, match=r"test_autodiff\.py"):
        gx.gradients(x, x, grad_ys=[[1.0, 2.0, 3.0]])


def test_stop_gradients_makes_partial_derivatives():
    x = gx.placeholder(gx.float32, [])
    a = x * 2.0
    b = a * a
    total = gx.gradients(a + b, [x, a, b])
    partial = gx.gradients(a + b, [a, b, x], stop_gradients=[a, b])
    assert partial[2] is None
    found = run(x.graph, {x: 3.0}, [*total, *partial[:2]])
    assert found == [2 + 2 * 6 * 2, 1 + 12, 1, 1, 1]


def test_all_reads_of_a_variable_count():
    v = gx.Variable([1.0, 2.0])
    with gx.control_dependencies([gx.no_op()]):
        again = v * 3.0
    y = v * 2.0 + again
    (grad,) = gx.gradients(y, v)
    (only_first,) = gx.gradients(y, v.value())
    np.testing.assert_array_equal(run(v.graph, {}, [grad, only_first]), [[5, 5], [2, 2]])


def test_gradients_know_their_forward_node_and_device():
    x = gx.placeholder(gx.float32, [2, 2])
    with gx.device("/job:worker/task:1"):
        y = gx.matmul(x, x, name="product")
    with gx.device("/job:ps/task:0"), gx.name_scope("elsewhere"):
        gx.gradients(y, x)
    made = [node for node in x.graph.nodes if node.forward == "product"]
    assert {node.op.name for node in made} >= {"matmul", "broadcast_to"}
    assert {node.device for node in made} == {"/job:worker/task:1"}
    # The gradient of a gradient belongs to the same forward node.
    (second,) = gx.gradients(made[-1].outputs[0], x)
    assert second.node.forward == "product"


def test_sizes_that_are_not_known_are_no_obstacle():
    a = gx.placeholder(gx.float64, [None, 3])
    b = gx.placeholder(gx.float64, [None, 3])
    row = gx.placeholder(gx.float64, [3])
    y = gx.reduce_mean(gx.tanh(a * b + row), axis=0)
    found = gx.gradients(y, [a, b, row])
    feeds = {a: np.ones((2, 3)), b: np.full((2, 3), 0.5), row: np.zeros(3)}
    slope = (1 - np.tanh(0.5) ** 2) / 2
    expected = [np.full((2, 3), slope / 2), np.full((2, 3), slope), np.full(3, 2 * slope)]
    for value, wanted in zip(run(a.graph, feeds, found), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12)


def test_a_chain_of_many_nodes():
    x = y = gx.placeholder(gx.float64, [])
    for _ in range(20_000):
        y = gx.negative(y)
    (grad,) = gx.gradients(y, x)
    assert run(x.graph, {x: 5.0}, [grad]) == [1.0]


def test_what_is_no_float_cannot_be_differentiated():
    i, x = gx.placeholder(gx.int32, [2]), gx.placeholder(gx.float32, [2])
    with pytest.raises(gx.DTypeError, match=r"(?s)no float.*test_autodiff\.py"):
        gx.gradients(gx.reduce_sum(i), x)
    with pytest.raises(gx.DTypeError, match="no float"):
        gx.gradients(gx.reduce_sum(x), i)


@pytest.fixture
def opaque():
    """An op that nobody can differentiate."""

    class Opaque(Op):
        name, operands = "opaque_for_test", ("x",)

        def infer(self, typing):
            return typing.inputs

    register(Opaque)
    yield lambda x: create("opaque_for_test", [x]).outputs[0]
    del OPS["opaque_for_test"]


def test_an_op_without_a_gradient_is_named_with_the_users_line(opaque):
    x, z = gx.placeholder(gx.float32, [2]), gx.placeholder(gx.float32, [2])
    y = opaque(x * 2.0) + z
    with pytest.raises(gx.GraphError, match=r"(?s)opaque_for_test.*no gradient.*test_autodiff\.py"):
        gx.gradients(y, x)
    assert gx.gradients(y, z)[0] is not None  # the op is not on this way


def test_custom_gradient():
    @gx.custom_gradient
    def clipped(x, limit):
        def gradient(dy):
            return gx.minimum(dy * gx.square(x), limit), None

        return x * 100.0, gradient

    x, limit = gx.placeholder(gx.float64, [2]), gx.constant(7.0, gx.float64)
    y = clipped(x, limit)
    (first,) = gx.gradients(y, x)
    (second,) = gx.gradients(first, x)
    found = run(x.graph, {x: np.array([2.0, 3.0])}, [y, first, second])
    np.testing.assert_array_equal(found, [[200, 300], [4, 7], [4, 0]])
    assert gx.gradients(y, limit) == [None]


def test_custom_gradient_of_several_results():
    @gx.custom_gradient
    def swap(a, b):
        return [b + 0.0, a + 0.0], lambda da, db: (db * 2.0, da * 3.0)

    a, b = gx.placeholder(gx.float32, []), gx.placeholder(gx.float32, [])
    first, second = swap(a, b)
    found = [*gx.gradients(first, [a, b]), *gx.gradients([first, second], [a, b])]
    assert run(a.graph, {a: 5.0, b: 7.0}, [first, second, *found]) == [7, 5, 0, 3, 2, 3]


def test_custom_gradient_refuses_what_it_would_get_wrong():
    w = gx.Variable(2.0, name="w")
    x = gx.placeholder(gx.float32, [])
    with pytest.raises(gx.GraphError, match=r"variable 'w', which must be an argument"):
        gx.custom_gradient(lambda x: (x * w, lambda dy: dy))(x)
    for returned in (x, (x, x), [x, lambda dy: dy]):
        with pytest.raises(gx.GraphError, match="results and its gradient function, not"):
            gx.custom_gradient(lambda _, returned=returned: returned)(x)
    short = gx.custom_gradient(lambda a, b: (a * b, lambda dy: dy))(x, w)
    with pytest.raises(gx.GraphError, match="gave 1 gradients for 2"):
        gx.gradients(short, x)
    node = gx.custom_gradient(lambda a: (a * a, lambda dy: dy))(x).node
    node.graph.collections.clear()
    with pytest.raises(gx.GraphError, match="gradient function was lost"):
        gx.gradients(node.outputs[0], x)


def test_a_wrong_gradient_is_reported_not_used():
    wrong = gx.custom_gradient(lambda a: (a * a, gx.reduce_sum))
    x = gx.placeholder(gx.float32, [3])
    with pytest.raises(gx.GraphError, match="has type"):
        gx.gradients(wrong(x), x)
