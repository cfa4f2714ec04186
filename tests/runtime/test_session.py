"""Sessions: structures of fetches, feeds of any tensor, state, and what happens after an error."""

import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphc as gx


class Pair(NamedTuple):
    first: Any
    second: Any


@pytest.fixture
def sess():
    with gx.Session() as session:
        yield session


def test_fetches_keep_their_structure(sess):
    a, b = gx.constant(1), gx.constant([2.0, 3.0])
    found = sess.run({"x": [a, (b, a + 1)], "p": Pair(a, b), "none": gx.no_op(), "name": a.name})
    assert found["x"][0] == 1
    assert found["x"][1][1] == 2
    np.testing.assert_array_equal(found["p"].second, [2, 3])
    assert isinstance(found["p"], Pair)
    assert found["none"] is None
    assert found["name"] == 1
    assert sess.run([]) == []
    assert sess.run(()) == ()


def test_scalars_are_numpy_scalars_and_arrays_are_fresh(sess):
    v = gx.Variable(np.zeros(3, np.float32))
    first = sess.run(v)
    first[:] = 7
    np.testing.assert_array_equal(sess.run(v), 0)
    assert type(sess.run(gx.constant(2.5))) is np.float32


def test_any_tensor_can_be_fed(sess):
    x = gx.placeholder(gx.float32, [None, 2], name="x")
    y = x * 2.0
    z = y + 1.0
    fed = sess.run(z, {y: [[1, 2]]})  # x is not needed
    np.testing.assert_array_equal(fed, [[2, 3]])
    np.testing.assert_array_equal(sess.run([y, z], {y: np.ones((3, 2), np.float32)})[0], 1)
    np.testing.assert_array_equal(sess.run(z, {"x:0": [[1, 1]]}), [[3, 3]])


def test_a_fetched_feed_is_a_copy(sess):
    x = gx.placeholder(gx.float32, [2])
    value = np.ones(2, np.float32)
    found = sess.run(x, {x: value})
    found[0] = 5
    assert value[0] == 1


def test_a_view_and_its_source_are_fetched_apart(sess):
    x = gx.placeholder(gx.float32, [2, 3])
    y = x + 1.0
    z = gx.reshape(y, [3, 2])
    a, b, c = sess.run([y, z, y], {x: np.zeros((2, 3))})
    a[:] = 9
    np.testing.assert_array_equal(b, np.ones((3, 2)))
    assert c is a or c[0, 0] == 1


def test_sizes_may_change_from_run_to_run(sess):
    x = gx.placeholder(gx.float32, [None, 3])
    total = gx.reduce_mean(x, axis=0)
    for n in (1, 5, 2, 40, 5):
        value = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        np.testing.assert_allclose(sess.run(total, {x: value}), value.mean(0), rtol=1e-5, atol=1e-6)


def test_empty_batches_run(sess):
    x = gx.placeholder(gx.float32, [None, 3])
    y = gx.reduce_sum(gx.exp(x), axis=1)
    assert sess.run(y, {x: np.zeros((0, 3), np.float32)}).shape == (0,)


def test_variables_initialise_themselves_in_order(sess):
    a = gx.Variable(3.0, name="a")
    b = gx.Variable(a * 2.0, name="b")
    c = gx.Variable(lambda: gx.zeros([2]) + b, name="c")
    np.testing.assert_array_equal(sess.run(c), [6, 6])
    sess.run(a.assign(10.0))
    assert sess.run(b) == 6
    sess.run(gx.global_variables_initializer())
    assert sess.run(a) == 3


def test_reads_see_the_start_of_the_step_or_the_assign_before_them(sess):
    v = gx.Variable(1.0)
    before = v.value()
    assign = v.assign_add(2.0)
    with gx.control_dependencies([assign]):
        after = v.read_value()
    assert sess.run([before, assign, after]) == [1, 3, 3]
    assert sess.run(v) == 3


def test_swapping_two_variables_takes_their_old_values(sess):
    a, b = gx.Variable([1.0, 2.0]), gx.Variable([3.0, 4.0])
    sess.run([a.assign(b), b.assign(a)])
    np.testing.assert_array_equal(sess.run(a), [3, 4])
    np.testing.assert_array_equal(sess.run(b), [1, 2])


@pytest.mark.parametrize("shape", [[], [1, 1], [5]])
def test_updates_in_one_kernel_take_old_values_whatever_is_known_early(sess, shape):
    a = gx.Variable(gx.fill(shape, 1.0))
    b = gx.Variable(gx.fill(shape, 2.0))
    known = gx.sin(gx.fill(shape, 0.5))  # computed first, and stored where a was
    step = gx.group(a.assign(known), b.assign(b - a * known))
    sess.run(step)
    first, second = sess.run([a, b])
    np.testing.assert_allclose(first, np.full(shape, np.sin(0.5)), rtol=1e-6)
    np.testing.assert_allclose(second, np.full(shape, 2 - np.sin(0.5)), rtol=1e-6)


def test_an_error_in_the_data_changes_no_variable(sess):
    v = gx.Variable([1.0, 2.0])
    index = gx.placeholder(gx.int32, [], name="index")
    step = v.assign(gx.stack([gx.gather(v, index), v[1]]) * 2.0)
    with pytest.raises(gx.DataError, match=r"(?s)gather.*out of range.*test_session\.py"):
        sess.run(step, {index: 2})
    np.testing.assert_array_equal(sess.run(v), [1, 2])
    sess.run(step, {index: 1})
    np.testing.assert_array_equal(sess.run(v), [4, 4])


def test_unordered_assigns_are_refused(sess):
    v = gx.Variable(1.0, name="v")
    with pytest.raises(gx.StateError, match=r"(?s)v.*test_session\.py.*test_session\.py"):
        sess.run([v.assign(2.0), v.assign(3.0)])


def test_make_callable_is_run_with_positional_feeds(sess):
    x = gx.placeholder(gx.float32, [None])
    y = gx.placeholder(gx.float32, [None])
    f = sess.make_callable({"sum": x + y[0]}, [x, y])
    np.testing.assert_array_equal(f([1, 2], np.array([3.0]))["sum"], [4, 5])
    with pytest.raises(gx.FeedError, match="2 values"):
        f([1, 2])
    sess.close()
    with pytest.raises(gx.GraphcError, match="the session is closed"):
        f([1, 2], [3])


def test_random_numbers_differ_from_run_to_run_and_follow_the_seed():
    def draw():
        with gx.Graph().as_default():
            gx.set_random_seed(7)
            x = gx.random_uniform([5])
            with gx.Session() as session:
                return session.run(x), session.run(x)

    (a, b), (c, d) = draw(), draw()
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)
    assert not np.array_equal(a, b)


def test_threads_take_turns(sess):
    x = gx.placeholder(gx.float32, [None, 50])
    f = sess.make_callable(gx.reduce_sum(gx.exp(x), axis=1), [x])
    value = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)
    expected, wrong = f(value), []

    def work():
        wrong.extend(i for i in range(50) if not np.array_equal(f(value), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_session_refuses():
    session = gx.Session()
    session.close()
    with pytest.raises(gx.GraphcError, match="closed"):
        session.run(gx.constant(1))


def test_a_result_takes_the_memory_of_one_dying_operand_only():
    """Both operands of the sum die there; were both overwritten, what follows would be lost."""
    options = gx.CompileOptions(disabled_passes=frozenset({"fuse"}))
    x = gx.placeholder(gx.float32, [None])
    y = gx.placeholder(gx.float32, [None])
    value = -(x * y) + (gx.maximum(x, 0.0) + gx.log1p(gx.exp(-abs(x))))
    a = np.linspace(-2, 2, 9, dtype=np.float32)
    with gx.Session(options=options) as session:
        found = session.run(value, {x: a, y: a[::-1]})
    np.testing.assert_allclose(found, np.logaddexp(0, a) - a * a[::-1], rtol=1e-5, atol=1e-6)


def test_a_handle_stands_for_its_variables_value(sess):
    v = gx.Variable(3.0, name="v")
    assert sess.run("v:0") == sess.run(v.handle) == 3
    assert sess.run(v * 2.0, {"v:0": 5.0}) == sess.run(v * 2.0, {v.handle: 5.0}) == 10
    with gx.control_dependencies([v.assign(7.0)]):
        after = gx.identity(v.handle)
    assert sess.run([after, v.handle]) == [7, 3]


def test_scopes_around_a_run_change_nothing(sess):
    v = gx.Variable(1.0)
    with gx.control_dependencies([v.assign(2.0)]):
        size = len(sess.graph)
        assert sess.run(v) == 1
    assert len(sess.graph) == size


def test_an_operation_runs_though_its_outputs_are_fed(sess):
    x = gx.placeholder(gx.float32, [4], name="x")
    v = gx.Variable(1.0)
    assigned = v.assign(5.0)
    assert sess.run([assigned.op, assigned], {assigned: 2.0}) == [None, 2]
    assert sess.run(v) == 5
    first, second = gx.split(x, 2)
    feeds = {first: [1, 2], second: [3, 4], x: [0, 0, 0, 0]}
    np.testing.assert_array_equal(sess.run([first.op, first], feeds)[1], [1, 2])
    with gx.control_dependencies([x]):
        one = gx.constant(1.0)
    assert sess.run([x.op, one], {x: [1, 2, 3, 4]}) == [None, 1]


def test_sizes_are_told_by_what_is_computed_from_them(sess):
    """Where the only fed tensor has ``2 * n`` or ``n - 1`` rows, that says what ``n`` is."""
    x = gx.placeholder(gx.float32, [None], name="x")
    twice, rest = gx.concat([x, x], 0), x[1:]
    assert sess.run(gx.reduce_mean(twice * twice), {twice: [1, 2, 3, 4]}) == 7.5
    np.testing.assert_array_equal(sess.run(rest * 2.0, {rest: [5, 6]}), [10, 12])
    both = sess.run([twice * 1.0, x * 2.0], {twice: [1, 2], x: [3]})
    assert [part.tolist() for part in both] == [[1, 2], [6]]
    with pytest.raises(gx.FeedError, match=r"axis 0 is 3, but 2 \* _1 is 2 here"):
        sess.run(twice * 1.0, {twice: [1, 2, 3]})
    with pytest.raises(gx.FeedError, match=r"axis 0 is 4, but 2 \* _1 is 6 here"):
        sess.run([twice * 1.0, x], {twice: [1, 2, 3, 4], x: [1, 2, 3]})
    padded = gx.pad(x, [[2, 1]])
    with pytest.raises(gx.FeedError, match=r"axis 0 is 1, but _1 \+ 3 is 3 here"):
        sess.run(padded * 1.0, {padded: [1]})


def test_rules_that_speak_of_a_size_hold_under_its_other_name(sess):
    """A size that a rule names, and that must be another: the graph bears one name for both."""
    a = gx.placeholder(gx.float32, [None, 3])
    b = gx.placeholder(gx.float32, ["n", 3])
    result = b[0] + gx.reduce_sum(a + b, axis=0) * (gx.constant(2.0) - 1.0)
    values = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(sess.run(result, {a: values, b: values}), np.full(3, 9))
