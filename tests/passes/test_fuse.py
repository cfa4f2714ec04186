"""Fusion: which nodes become one kernel, which must not, and that results stay what they were."""

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.extract import extract
from graphc.ir.graph import Graph
from graphc.ir.parse import parse_graph
from graphc.passes.context import PassContext
from graphc.passes.fuse import Fuse, explain_fusion
from graphc.passes.pipeline import run_pipeline
from tests.passes.running import CPU, becomes, rewritten, stays, text

F = gx.float32


def compiled(fetches, targets=(), feeds=(), **options) -> Graph:
    """The pipeline's result, up to and with fusion."""
    graph = extract(list(fetches), list(targets), list(feeds)).graph
    graph = run_pipeline(graph, PassContext(CPU), frozenset({"fuse"}))
    return rewritten(Fuse(**options), graph)


def kernels(graph: Graph) -> list[str]:
    """The ops of each kernel, in order; sources, views and assigns are none."""
    found = []
    for node in graph.nodes:
        if node.op.name == "fused":
            found.append(" ".join(n.op.name for n in computing(node)))
        elif node.inputs and not node.op.view and not node.inputs[0].type.resource:
            found.append(node.op.name)
    return found


def computing(node):
    return [n for n in node.attrs["body"].nodes if n.inputs]


def x(*shape, name="x"):
    return gx.placeholder(F, shape, name=name)


def layer(h, rows, columns, name):
    """A matrix product with a variable, and its bias."""
    w = gx.Variable(np.ones((rows, columns), np.float32), name=f"{name}/w")
    return h @ w + gx.Variable(np.ones(columns, np.float32), name=f"{name}/b")


# -- Elementwise groups --------------------------------------------------------------------------


def test_a_chain_is_one_kernel_with_its_numbers_inside() -> None:
    before = text(
        '%x: f32[3] = placeholder() {dtype: f32, shape: [3]}',
        "%c: f32[] = constant() {value: array(f32[], [2.5])}",
        '%a: f32[3] = multiply(%x, %c) at "a.py":1',
        '%b: f32[3] = tanh(%a) on "/cpu:0" at "b.py":2 forward "f"'.replace(' on "/cpu:0"', ""),
        "inputs %x",
        "outputs %b",
    )  # fmt: skip
    after = text(
        "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}",
        "body @b0 {",
        "    %x: f32[3] = placeholder() {dtype: f32, shape: [3]}",
        "    %c: f32[] = constant() {value: array(f32[], [2.5])}",
        '    %a: f32[3] = multiply(%x, %c) at "a.py":1',
        '    %b: f32[3] = tanh(%a) at "b.py":2 forward "f"',
        "    inputs %x",
        "    outputs %b",
        "}",
        '%b: f32[3] = fused(%x) {body: @b0} at "b.py":2 forward "f"',
        "inputs %x",
        "outputs %b",
    )
    becomes(before, after, Fuse())


def test_one_node_is_no_group() -> None:
    stays(
        text(
            "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}",
            "%a: f32[3] = tanh(%x)",
            "inputs %x",
            "outputs %a",
        ),
        Fuse(),
    )


def test_values_that_are_fetched_leave_the_group() -> None:
    a = gx.tanh(x(3))
    b = gx.exp(a)
    graph = compiled([a, gx.sin(b), b], feeds=[a.node.inputs[0]])
    assert kernels(graph) == ["tanh exp sin"]
    assert [t.index for t in graph.outputs] == [0, 2, 1]


def test_operands_of_other_shapes_are_read_by_the_group() -> None:
    h, b, column = x(4, 3), x(3, name="b"), x(4, 1, name="column")
    y = gx.tanh(h * b + column)
    assert kernels(compiled([y], feeds=[h, b, column])) == ["multiply add tanh"]


def test_cheap_work_on_fewer_elements_is_repeated() -> None:
    h, b = x(4, 3), x(3, name="b")
    assert kernels(compiled([h * (b + 1.0)], feeds=[h, b])) == ["add multiply"]


def test_dear_work_on_fewer_elements_is_not() -> None:
    h, b = x(4, 3), x(3, name="b")
    assert kernels(compiled([h * gx.exp(b)], feeds=[h, b])) == ["exp", "multiply"]


def test_siblings_that_share_an_operand_are_one_kernel() -> None:
    h = x(4, 3)
    assert kernels(compiled([gx.tanh(h), gx.exp(h)], feeds=[h])) == ["tanh exp"]


def test_siblings_of_other_shapes_are_not() -> None:
    h, b = x(4, 3), x(3, name="b")
    assert kernels(compiled([h * b, gx.exp(b)], feeds=[h, b])) == ["multiply", "exp"]


def test_a_path_through_another_kernel_keeps_two_apart() -> None:
    """``add`` needs the product of ``tanh``: in one kernel it would wait for itself."""
    h = x(3, 3)
    a = gx.tanh(h)
    y = gx.relu(gx.reduce_sum(a @ a, 0) + a)
    found = kernels(compiled([y], feeds=[h]))
    assert found == ["tanh", "matmul", "reduce_sum", "add relu"]


def test_cheap_work_for_several_kernels_is_done_in_each() -> None:
    h = x(4, 3)
    a = gx.square(h)
    total, other = gx.reduce_sum(a), gx.exp(a)
    assert sorted(kernels(compiled([total, other], feeds=[h]))) == [
        "square exp", "square reduce_sum",
    ]  # fmt: skip


def test_groups_are_bounded() -> None:
    h = a = x(3)
    for _ in range(20):
        a = gx.tanh(a)
    sizes = [len(kernel.split()) for kernel in kernels(compiled([a], feeds=[h], limit=8))]
    assert sum(sizes) == 20
    assert max(sizes) == 8


def test_devices_are_not_mixed() -> None:
    h = x(3)
    with gx.device("/cpu:0"):
        a = gx.tanh(h)
    with gx.device("/cpu:1"):
        b = gx.exp(a)
    assert kernels(compiled([b], feeds=[h])) == ["tanh", "exp"]


def test_what_another_device_made_is_an_operand_like_any_other() -> None:
    h, w, b = x(4, 3), x(3, 5, name="w"), x(5, name="b")
    with gx.device("/cpu:0"):
        product = h @ w
    with gx.device("/cpu:1"):
        y = gx.softmax(gx.tanh(product + b))
    assert kernels(compiled([y], feeds=[h, w, b])) == ["matmul", "add tanh softmax"]


def test_what_becomes_of_variables_elsewhere_is_no_update() -> None:
    """It is computed before the step commits, to be sent to where the variables are."""
    with gx.device("/cpu:0"):
        v, w = (gx.Variable(np.ones(n, np.float32)) for n in (3, 4))
    with gx.device("/cpu:1"):
        values = [gx.square(v) + v, gx.square(w) + w]
    updates = [v.assign(values[0]).node, w.assign(values[1]).node]
    assert kernels(compiled([], targets=updates)) == 2 * ["square add"]


def test_control_edges_keep_a_node_alone() -> None:
    stays(
        text(
            "%x: f32[3] = placeholder() {dtype: f32, shape: [3]}",
            "%a: f32[3] = tanh(%x)",
            "%b: f32[3] = exp(%a) after %x",
            "inputs %x",
            "outputs %b",
        ),
        Fuse(),
    )


# -- Views and moved elements --------------------------------------------------------------------


def test_views_within_a_group_are_part_of_it() -> None:
    h = x(4, 3)
    y = gx.exp(gx.reshape(gx.tanh(h), [4, 1, 3]))
    assert kernels(compiled([y], feeds=[h])) == ["tanh reshape exp"]


def test_views_at_the_ends_of_a_group_stay_outside() -> None:
    h = x(4, 3)
    before = gx.reshape(h, [4, 1, 3])
    y = gx.reshape(gx.exp(gx.tanh(before)), [4, 3, 1])
    graph = compiled([y], feeds=[h])
    assert kernels(graph) == ["tanh exp"]
    assert [n.op.name for n in graph.nodes] == ["placeholder", "reshape", "fused", "reshape"]


def test_a_view_that_others_need_costs_no_memory() -> None:
    h = x(4, 3)
    view = gx.reshape(gx.tanh(h), [4, 1, 3])
    graph = compiled([view, gx.exp(view)], feeds=[h])
    (fused,) = [n for n in graph.nodes if n.op.name == "fused"]
    assert kernels(graph) == ["tanh reshape exp"]
    assert [t.shape for t in fused.outputs] == [(4, 3), (4, 1, 3)]
    assert graph.outputs[0].node.op.name == "reshape"


def test_reshapes_of_more_than_unit_axes_end_groups() -> None:
    h = x(4, 3)
    y = gx.exp(gx.reshape(gx.tanh(h), [12]))
    assert kernels(compiled([y], feeds=[h])) == ["tanh", "exp"]


def test_moved_elements_are_taken_from_memory() -> None:
    h = x(4, 3)
    y = gx.exp(gx.transpose(gx.tanh(h)))
    assert kernels(compiled([y], feeds=[h])) == ["tanh", "transpose exp"]


def test_random_numbers_are_made_where_they_are_used() -> None:
    y = gx.random_uniform([4, 3]) * 2.0 - 1.0
    assert "random_uniform multiply subtract" in kernels(compiled([y]))


def test_random_numbers_of_two_readers_are_made_once() -> None:
    r = gx.random_uniform([4, 3])
    found = kernels(compiled([gx.exp(r), gx.reduce_sum(r, 0)]))
    assert sorted(found)[-2:] == ["random_uniform", "reduce_sum"]


# -- Reductions ----------------------------------------------------------------------------------


def softmax_by_hand(h):
    power = gx.exp(h - gx.reduce_max(h, axis=-1, keepdims=True))
    return power / gx.reduce_sum(power, axis=-1, keepdims=True)


def normalised(h):
    away = h - gx.reduce_mean(h, axis=-1, keepdims=True)
    return away * gx.rsqrt(gx.reduce_mean(gx.square(away), axis=-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (softmax_by_hand, "reduce_max subtract exp reduce_sum divide"),
        (normalised, "reduce_sum divide subtract square reduce_sum divide add rsqrt multiply"),
        (lambda h: gx.tanh(gx.softmax(h * 2.0)), "multiply softmax tanh"),
        (lambda h: gx.reduce_sum(gx.log_softmax(h) * h, -1), "log_softmax multiply reduce_sum"),
        (lambda h: h - gx.reduce_mean(h, -1, keepdims=True), "reduce_sum divide subtract"),
        (lambda h: gx.sqrt(gx.reduce_sum(gx.square(h), -1)), "square reduce_sum sqrt"),
        (lambda h: gx.reduce_sum(gx.exp(h), 0) * 2.0, "exp reduce_sum multiply"),
        (lambda h: gx.reduce_mean(gx.square(h - 1.0)), "subtract square reduce_sum divide"),
        (lambda h: gx.argmax(gx.abs(h), -1), "abs argmax"),
    ],
)
def test_rows_and_totals(build, wanted: str) -> None:
    h = x(5, 3)
    assert kernels(compiled([build(h)], feeds=[h])) == [wanted]


def test_a_mean_is_subtracted_in_two_kernels_if_it_is_of_everything() -> None:
    h = x(5, 3)
    assert kernels(compiled([h - gx.reduce_mean(h)], feeds=[h])) == [
        "reduce_sum divide", "subtract",
    ]  # fmt: skip


def test_columns_are_not_rows() -> None:
    h = x(5, 3)
    y = h - gx.reduce_max(h, 0)
    assert kernels(compiled([y], feeds=[h])) == ["reduce_max", "subtract"]


def test_square_matrices_do_not_mix_up_rows_and_columns() -> None:
    h, b = x(3, 3), x(3, name="b")
    y = gx.exp(b) * gx.softmax(h)
    assert kernels(compiled([y], feeds=[h, b])) == ["exp", "softmax multiply"]


def test_the_gradient_of_a_loss_is_computed_with_it() -> None:
    h = x(5, 3)
    labels = gx.placeholder(gx.int32, [5])
    loss = gx.reduce_mean(gx.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=h))
    (grad,) = gx.gradients(loss, [h])
    assert kernels(compiled([loss, grad], feeds=[h, labels])) == [
        "sparse_softmax_cross_entropy multiply", "reduce_sum divide",
    ]  # fmt: skip


def test_two_reductions_that_do_not_depend_on_each_other_stay_apart() -> None:
    h = x(5, 3)
    y = gx.reduce_sum(h, -1) * gx.reduce_max(h, -1)
    found = kernels(compiled([y], feeds=[h]))
    assert sorted(found) == ["reduce_max multiply", "reduce_sum"] or sorted(found) == [
        "reduce_max", "reduce_sum multiply",
    ]  # fmt: skip


# -- Matrix products -----------------------------------------------------------------------------


def test_bias_and_activation_follow_the_product() -> None:
    h = x(4, 3)
    y = gx.relu(layer(h, 3, 5, "a"))
    assert kernels(compiled([y], feeds=[h])) == ["matmul add relu"]


def test_residuals_follow_the_last_product() -> None:
    h = x(4, 3)
    y = h + layer(gx.relu(layer(h, 3, 5, "a")), 5, 3, "b")
    assert kernels(compiled([y], feeds=[h])) == ["matmul add relu", "matmul add add"]


def test_a_sum_of_two_products_is_finished_by_one() -> None:
    h = x(4, 4)
    y = gx.tanh(h @ h + gx.matmul(h, h, transpose_b=True))
    assert kernels(compiled([y], feeds=[h])) == ["matmul", "matmul add tanh"]


def test_a_gated_product() -> None:
    h = x(4, 3)
    y = gx.sigmoid(layer(h, 3, 5, "a")) * layer(h, 3, 5, "b")
    assert kernels(compiled([y], feeds=[h])) == ["matmul add sigmoid", "matmul add multiply"]


def test_a_mask_is_computed_where_it_is_used() -> None:
    h = x(4, 3)
    y = layer(gx.relu(layer(h, 3, 5, "a")), 5, 2, "b")
    (grad,) = gx.gradients(gx.reduce_sum(gx.square(y)), [h])
    assert kernels(compiled([grad], feeds=[h])) == [
        "matmul add relu", "matmul add multiply", "greater matmul where", "matmul",
    ]  # fmt: skip


def test_reductions_do_not_follow_a_product() -> None:
    h = x(4, 3)
    y = gx.softmax(layer(h, 3, 5, "a"))
    assert kernels(compiled([y], feeds=[h])) == ["matmul add", "softmax"]


def test_what_is_reduced_is_read_once_if_it_is_stored_anyway() -> None:
    """The gradient of a softmax over a product: its product with ``y`` is not stored."""
    h, y = x(4, 3), x(4, 5, name="y")
    g = gx.matmul(h, gx.ones([3, 5]))
    grad = (g - gx.reduce_sum(g * y, -1, keepdims=True)) * y
    assert kernels(compiled([grad], feeds=[h, y]))[-1] == "multiply reduce_sum subtract multiply"


def test_operands_are_not_computed_within_the_product() -> None:
    h = x(4, 3)
    assert kernels(compiled([layer(gx.tanh(h), 3, 5, "a")], feeds=[h])) == ["tanh", "matmul add"]


def test_what_can_fail_does_not_follow_a_product() -> None:
    i, j = (gx.placeholder(gx.int32, [3, 3]) for _ in range(2))
    y = (i @ j) * (i // j)
    assert kernels(compiled([y], feeds=[i, j])) == ["floordiv", "matmul multiply"] or kernels(
        compiled([y], feeds=[i, j])
    ) == ["matmul", "floordiv multiply"]


def test_other_results_do_not_join_the_group_of_a_product() -> None:
    """``exp(h)`` is needed by others and does not depend on the product."""
    h = x(3, 3)
    e = gx.exp(h)
    y = gx.tanh(h @ h) * e
    assert kernels(compiled([y, e], feeds=[h])) == ["exp", "matmul tanh multiply"]


def test_epilogues_can_be_left_out() -> None:
    h = x(4, 3)
    y = gx.relu(layer(h, 3, 5, "a"))
    assert kernels(compiled([y], feeds=[h], epilogues=False)) == ["matmul", "add relu"]


# -- Updates -------------------------------------------------------------------------------------


def training(optimizer):
    h = x(4, 3)
    y = layer(gx.relu(layer(h, 3, 5, "a")), 5, 2, "b")
    return h, optimizer.minimize(gx.reduce_sum(gx.square(y)))


@pytest.mark.parametrize(
    ("optimizer", "ops"),
    [
        (lambda: gx.train.GradientDescentOptimizer(0.1), {"multiply": 4, "subtract": 4}),
        (lambda: gx.train.MomentumOptimizer(0.1, 0.9),
         {"multiply": 8, "subtract": 4, "add": 4}),
    ],
)  # fmt: skip
def test_all_updates_are_one_kernel(optimizer, ops: dict[str, int]) -> None:
    h, step = training(optimizer())
    graph = compiled([], [step], [h])
    last = kernels(graph)[-1].split()
    assert {op: last.count(op) for op in set(last)} == ops
    (fused,) = {t.node for n in graph.nodes if n.op.name == "assign" for t in n.inputs[1:]}
    assert len({t.shape for t in fused.outputs}) == 4


def test_adams_updates_are_one_kernel_beside_its_step_size() -> None:
    h, step = training(gx.train.AdamOptimizer())
    found = [kernel.split() for kernel in kernels(compiled([], [step], [h]))]
    assert len([kernel for kernel in found if "sqrt" in kernel]) == 2


def test_updates_are_bounded() -> None:
    h, step = training(gx.train.MomentumOptimizer(0.1, 0.9))
    found = kernels(compiled([], [step], [h], limit=8))
    assert [k for k in found if "subtract" in k] == [
        "multiply add multiply subtract multiply add multiply subtract"
    ] * 2


def test_updates_can_be_left_out() -> None:
    h, step = training(gx.train.GradientDescentOptimizer(0.1))
    found = kernels(compiled([], [step], [h], updates=False))
    assert "matmul multiply subtract" in found


def test_new_values_that_are_fetched_are_no_updates() -> None:
    v = gx.Variable([1.0, 2.0], name="v")
    new = v.assign(v * 2.0 + 1.0)
    graph = compiled([new], [new.node])
    assert kernels(graph) == ["multiply add"]


def test_what_can_fail_is_in_no_update() -> None:
    v = gx.Variable(np.ones(3, np.int32), name="v")
    i = gx.placeholder(gx.int32, [3])
    step = v.assign(v + (v * 2) // i * 3).node
    graph = compiled([], [step], [i])
    update = graph.targets[0].inputs[1].node
    assert [n.op.name for n in computing(update)] == ["multiply", "add"]


def test_initial_values_are_no_updates() -> None:
    v = gx.Variable(gx.random_normal([4, 3], stddev=0.1), name="v")
    graph = compiled([], [v.initializer])
    assert "random_normal multiply add" in kernels(graph)


# -- Reasons -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda h: gx.softmax(layer(h, 3, 5, "a")), "finished with its matrix product"),
        (lambda h: layer(gx.tanh(h), 3, 5, "a"), "takes elements from other places"),
        (lambda h: h * gx.exp(gx.reduce_sum(h, 0)), "too dear to be computed each time"),
        (lambda h: gx.reduce_sum(gx.reduce_sum(gx.exp(h), -1)), "two nests of loops"),
    ],
)
def test_reasons(build, reason: str) -> None:
    h = x(4, 3)
    graph = extract([build(h)], [], [h]).graph
    assert reason in explain_fusion(graph)


def test_long_chains_are_grouped_without_recursion() -> None:
    lines = ["%x: f32[3] = placeholder() {dtype: f32, shape: [3]}"]
    lines += [f"%a{i}: f32[3] = tanh(%{f'a{i - 1}' if i else 'x'})" for i in range(3000)]
    graph = rewritten(Fuse(), parse_graph(text(*lines, "inputs %x", "outputs %a2999")))
    assert len(graph) == 1 + -(-3000 // 256)
