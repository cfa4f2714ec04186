"""Variables in parts: how they are cut, what they are worth, how they train."""

import numpy as np
import pytest

import graphc as gx
from graphc.ops.partitioned import Cuts

FIXED = gx.fixed_size_partitioner


def parts_of(shape, partitioner, dtype=gx.float32):
    return partitioner(shape=shape, dtype=dtype)


@pytest.mark.parametrize(("partitioner", "shape", "expected"), [
    (FIXED(3), (7, 2), [3, 1]),
    (FIXED(3, axis=1), (7, 2), [1, 2]),
    (FIXED(3, axis=-1), (2, 7), [1, 3]),
    (FIXED(3), (0, 2), [1, 1]),
    (gx.variable_axis_size_partitioner(80), (10, 4), [2, 1]),  # 5 rows of 16 bytes
    (gx.variable_axis_size_partitioner(79), (10, 4), [3, 1]),
    (gx.variable_axis_size_partitioner(1), (10, 4), [10, 1]),
    (gx.variable_axis_size_partitioner(1, max_shards=4), (10, 4), [4, 1]),
    (gx.variable_axis_size_partitioner(10**9), (10, 4), [1, 1]),
    (gx.variable_axis_size_partitioner(40, axis=1), (10, 4), [1, 4]),
    (gx.min_max_variable_partitioner(5, min_slice_size=40), (10, 4), [4, 1]),
    (gx.min_max_variable_partitioner(3, min_slice_size=40), (10, 4), [3, 1]),
    (gx.min_max_variable_partitioner(30, min_slice_size=1), (10, 4), [10, 1]),
    (gx.min_max_variable_partitioner(30), (10, 4), [1, 1]),
    (gx.min_max_variable_partitioner(9, axis=1, min_slice_size=1), (10, 4), [1, 4]),
])  # fmt: skip
def test_partitioners(partitioner, shape, expected):
    assert parts_of(shape, partitioner) == expected


def test_parts_are_as_even_as_can_be():
    cuts = Cuts((2, 8), 1, 3)
    assert cuts.shapes == [(2, 3), (2, 3), (2, 2)]
    assert cuts.offsets == [(0, 0), (0, 3), (0, 6)]


@pytest.fixture
def value(rng):
    return rng.standard_normal((7, 3)).astype(np.float32)


@pytest.fixture
def w(value):
    return gx.get_variable("w", initializer=value, partitioner=FIXED(3))


def run(*fetches, **feeds):
    with gx.Session() as session:
        return session.run(fetches, **feeds)


def test_what_it_says_of_itself(w):
    assert isinstance(w, gx.PartitionedVariable)
    assert [(part.name, part.shape) for part in w] == [
        ("w/part_0:0", (3, 3)), ("w/part_1:0", (2, 3)), ("w/part_2:0", (2, 3)),
    ]  # fmt: skip
    assert (len(w), w[1], w[-1], w[:2]) == (3, w.parts[1], w.parts[2], w.parts[:2])
    assert (w.name, w.dtype, w.shape, w.trainable) == ("w", gx.float32, (7, 3), True)
    assert gx.trainable_variables() == list(w) == gx.global_variables()
    assert repr(w) == "<variable 'w' &f32[7, 3] in 3 parts>"


@pytest.mark.parametrize("axis", [0, 1])
def test_it_is_worth_what_it_was_given(axis, value):
    whole = gx.constant(value)
    by_array = gx.get_variable("a", initializer=value, partitioner=FIXED(2, axis))
    by_tensor = gx.get_variable("b", initializer=whole * 2.0, partitioner=FIXED(3, axis))
    by_variable = gx.get_variable("c", initializer=by_array, partitioner=FIXED(2, axis))
    by_list = gx.get_variable(
        "d", [7, 3], initializer=gx.constant_initializer(value.tolist()), partitioner=FIXED(3, axis)
    )
    product = gx.matmul(by_array, by_list, transpose_b=True)
    found = run(by_array, by_tensor, by_variable, by_list, by_array + by_list, product)
    expected = [value, value * 2, value, value, value * 2, value @ value.T]
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-6)


def test_rows_of_the_whole(w, value):
    np.testing.assert_array_equal(run(w.as_tensor()[4:])[0], value[4:])


def test_fetching_it_adds_no_nodes(w):
    count = len(gx.get_default_graph())
    with gx.Session() as session:
        first = session.run(w)
        np.testing.assert_array_equal(session.run(w), first)
        with gx.Graph().as_default():
            np.testing.assert_array_equal(session.run(w), first)
    assert len(gx.get_default_graph()) == count


def test_assigning(w, value):
    with gx.Session() as session:
        np.testing.assert_array_equal(session.run(w.assign(value * 3)), value * 3)
        np.testing.assert_array_equal(session.run(w), value * 3)
        session.run(gx.assign_sub(w, value))
        np.testing.assert_array_equal(session.run(w), value * 3 - value)
        session.run(w.assign_add([gx.ones(part.shape) for part in w]))
        np.testing.assert_array_equal(session.run(w), value * 3 - value + 1)
        session.run(w[1].assign(gx.zeros([2, 3])))
        assert not session.run(w)[3:5].any()
        session.run(w.assign(w * 0.0))
        assert not session.run(w).any()
        session.run(gx.variables_initializer([w]))
        np.testing.assert_array_equal(session.run(w), value)


def test_assigning_one_that_is_cut_alike_moves_part_by_part(w, value):
    other = gx.get_variable("other", [7, 3], partitioner=FIXED(3))
    before = len(gx.get_default_graph())
    updated = other.assign(w)
    kinds = [node.type for node in gx.get_default_graph().nodes[before:]]
    assert kinds == ["assign"] * 3 + ["concat"]
    np.testing.assert_array_equal(run(updated)[0], value)


def test_reads_after_an_assign_see_it(w, value):
    with gx.control_dependencies([w.assign(value + 1)]):
        after = w.value()
    np.testing.assert_array_equal(run(after)[0], value + 1)


@pytest.mark.parametrize(("given", "told"), [
    (lambda: gx.zeros([7, 2]), "takes values of its own shape"),
    (lambda: 1.0, "takes values of its own shape"),
    (lambda: [gx.zeros([3, 3])], "takes 3 tensors, not 1"),
    (lambda: [gx.zeros([3, 3])] * 3, "a variable takes values of its own shape"),
])  # fmt: skip
def test_values_that_do_not_fit(w, given, told):
    with pytest.raises(gx.ShapeError, match=told):
        w.assign(given())


def test_gradients_reach_each_part(w, value):
    x = gx.constant(np.arange(14, dtype=np.float32).reshape(2, 7))
    loss = gx.reduce_sum(gx.square(gx.matmul(x, w)))
    expected = 2 * run(x)[0].T @ (run(x)[0] @ value)
    whole, *parts = run(*gx.gradients(loss, w), *gx.gradients(loss, list(w)))
    np.testing.assert_allclose(whole, expected, rtol=1e-4)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4)
    assert gx.gradients(x, w) == [None]
    one = run(*gx.gradients(gx.reduce_sum(w[1].value()), w))[0]
    np.testing.assert_array_equal(one, np.repeat([[0.0], [1.0], [0.0]], [3, 2, 2], 0) + np.zeros(3))
    stopped = gx.gradients(gx.reduce_sum(w[0].value() + gx.stop_gradient(w[0])), w)[0]
    assert stopped is not None


@pytest.mark.parametrize("optimizer", [
    gx.train.GradientDescentOptimizer(0.1), gx.train.AdamOptimizer(0.1),
    gx.train.MomentumOptimizer(0.1, 0.9),
])  # fmt: skip
@pytest.mark.parametrize("listed", [False, True])
def test_training_is_that_of_one_variable(optimizer, listed, value):
    results = []
    for partitioner in (None, FIXED(4)):
        with gx.Graph().as_default(), gx.Session() as session:
            w = gx.get_variable("w", initializer=value, partitioner=partitioner)
            loss = gx.reduce_sum(gx.square(w - 1.0))
            step = optimizer.minimize(loss, var_list=[w] if listed else None)
            for _ in range(5):
                session.run(step)
            results.append(session.run(w))
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert not np.allclose(results[0], value)


def test_parts_and_slots_are_spread_over_the_parameter_servers():
    setter = gx.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
    optimizer = gx.train.MomentumOptimizer(0.1, 0.9)
    with gx.device(setter):
        w = gx.get_variable("w", [5, 2], partitioner=FIXED(3))
        loss = gx.reduce_sum(gx.square(w))
        optimizer.minimize(loss)
    assert [part.device for part in w] == [f"/job:ps/task:{n}" for n in (0, 1, 0)]
    assert [optimizer.get_slot(part, "Momentum").device for part in w] == [p.device for p in w]
    graph = gx.get_default_graph()
    read = loss.node.inputs[0].node.inputs[0]
    assert (read.node.type, read.device) == ("concat", "/job:worker/task:0")
    assert [x.device for x in read.node.inputs] == [part.device for part in w]
    updates = [node for node in graph.nodes if node.type == "assign_sub"]
    assert [node.device for node in updates] == [part.device for part in w]


def test_greedy_strategies_see_the_bytes_of_parts():
    greedy = gx.train.GreedyLoadBalancingStrategy(2)
    with gx.device(gx.train.replica_device_setter(ps_tasks=2, ps_strategy=greedy)):
        gx.get_variable("big", [100])
        w = gx.get_variable("w", [40, 4], partitioner=FIXED(4))
    assert [part.device[-1] for part in w] == ["1", "1", "1", "0"]


class TestInitializers:
    @pytest.mark.parametrize("make", [
        gx.glorot_uniform_initializer, gx.he_normal_initializer, gx.random_uniform_initializer,
        gx.random_normal_initializer,
    ])  # fmt: skip
    @pytest.mark.parametrize("seed", [None, 7])
    def test_parts_have_the_spread_of_the_whole_and_numbers_of_their_own(self, make, seed):
        shape = [400, 30]
        cut = gx.get_variable("cut", shape, initializer=make(seed=seed), partitioner=FIXED(4))
        whole = gx.get_variable("whole", shape, initializer=make(seed=seed))
        cut, whole = run(cut, whole)
        assert cut.std() == pytest.approx(whole.std(), rel=0.05)
        assert np.unique(cut).size > 0.99 * np.unique(whole).size

    def test_a_function_that_asks_is_told_its_part(self):
        told = []

        def initializer(shape, dtype, partition_info=None):
            told.append((tuple(shape), partition_info.full_shape, partition_info.var_offset))
            return gx.zeros(shape, dtype)

        gx.get_variable("w", [3, 5], initializer=initializer, partitioner=FIXED(2, axis=1))
        assert told == [((3, 3), (3, 5), (0, 0)), ((3, 2), (3, 5), (0, 3))]

    def test_a_function_that_makes_another_shape(self):
        with pytest.raises(gx.ShapeError, match=r"'w/part_0' of shape \[2\] .* \[4\]"):
            gx.get_variable("w", [4], initializer=lambda s, d: gx.zeros([4]), partitioner=FIXED(2))


class TestScopes:
    def test_a_scope_cuts_what_is_made_in_it(self):
        with gx.variable_scope("a", partitioner=FIXED(2)):
            w = gx.get_variable("w", [4])
            scalar = gx.get_variable("s", [])
            with gx.variable_scope("b"):
                inner = gx.get_variable("w", [4])
            own = gx.get_variable("own", [4], partitioner=FIXED(4))
        assert [len(v) for v in (w, inner, own)] == [2, 2, 4]
        assert isinstance(scalar, gx.Variable)
        assert [part.name for part in inner] == ["a/b/w/part_0:0", "a/b/w/part_1:0"]
        with gx.variable_scope("a", reuse=True, partitioner=FIXED(2)):
            assert gx.get_variable("w", [4]) is w
            assert gx.get_variable("s") is scalar
        with gx.variable_scope("a", reuse=True):
            assert gx.get_variable("w") is w
            assert gx.get_variable("w/part_1") is w[1]

    @pytest.mark.parametrize(("again", "error", "told"), [
        ({"partitioner": FIXED(4)}, gx.GraphError, "cut into 2 parts along axis 0 .* not 4 parts"),
        ({"shape": [5]}, gx.ShapeError, r"'w' has shape \[4\], not \[5\]"),
        ({"dtype": gx.float64}, gx.DTypeError, "'w' has dtype float32"),
    ])  # fmt: skip
    def test_sharing_it_otherwise(self, again, error, told):
        gx.get_variable("w", [4], partitioner=FIXED(2))
        gx.get_variable("whole", [4])
        with pytest.raises(gx.GraphError, match="'w' exists: share it"):
            gx.get_variable("w", [4], partitioner=FIXED(2))
        with gx.variable_scope(gx.get_variable_scope(), reuse=True):
            with pytest.raises(error, match=told):
                gx.get_variable("w", **again)
            with pytest.raises(gx.GraphError, match="'whole' exists and is not cut"):
                gx.get_variable("whole", partitioner=FIXED(2))


@pytest.mark.parametrize(("answer", "told"), [
    ([2], "a number of parts for each axis"),
    ([0, 1], "a number of parts for each axis"),
    (2, "a number of parts for each axis"),
    ([1.0, 1], "a number of parts for each axis"),
    ([2, 2], "cut along one axis only"),
    ([5, 1], "some would be empty"),
])  # fmt: skip
def test_answers_that_are_none(answer, told):
    with pytest.raises(gx.GraphError, match=told):
        gx.get_variable("w", [4, 4], partitioner=lambda shape, dtype: answer)


@pytest.mark.parametrize("make", [
    lambda: FIXED(0), lambda: FIXED(1.5), lambda: gx.variable_axis_size_partitioner(0),
    lambda: gx.variable_axis_size_partitioner(8, max_shards=-1),
    lambda: gx.min_max_variable_partitioner(0),
    lambda: gx.min_max_variable_partitioner(1, min_slice_size=0),
])  # fmt: skip
def test_partitioners_that_cannot_be(make):
    with pytest.raises(gx.GraphError, match="must be an integer of 1 or more"):
        make()


def test_an_axis_that_is_not_there():
    with pytest.raises(gx.GraphError, match="cannot be cut along axis 2"):
        gx.get_variable("w", [4, 4], partitioner=FIXED(2, axis=2))
