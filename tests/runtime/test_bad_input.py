"""What is wrong gets one clear error: what, where, and what to do."""

import numpy as np
import pytest

import graphc as gx
from graphc.runtime import server

HERE = r"test_bad_input\.py"


@pytest.fixture
def sess():
    with gx.Session() as session:
        yield session


def test_unknown_fetches(sess):
    gx.constant(1, name="one")
    endless = []
    endless.append(endless)
    cases = [
        ("two", "two"), ("one:3", "one"), ("one:²", "one"), (3, "3"), (None, "None"),
        (endless, "contain themselves"),
    ]  # fmt: skip
    for bad, message in cases:
        with pytest.raises(gx.FetchError, match=rf"(?s){message}.*{HERE}"):
            sess.run(bad)
    with pytest.raises(gx.GraphError, match="'3'"):
        sess.graph.tensor(3)
    with gx.Graph().as_default():
        other = gx.constant(1)
    with pytest.raises(gx.FetchError, match="another graph"):
        sess.run(other)


def test_missing_and_extra_feeds(sess):
    x = gx.placeholder(gx.float32, [2], name="x")
    with pytest.raises(gx.FeedError, match=rf"(?s)placeholder 'x'.*float32 \[2\].*not fed.*{HERE}"):
        sess.run(x + 1.0)
    with pytest.raises(gx.FeedError, match="no tensor"):
        sess.run(x, {x: [1, 2], 3: 4})
    with pytest.raises(gx.FeedError, match="nothing"):
        sess.run(x, {x: [1, 2], "nothing:0": 4})
    with pytest.raises(gx.FeedError, match=f"(?s)not list.*{HERE}"):
        sess.run(x, [x, 1])
    with pytest.raises(gx.FeedError, match="NAME:0"):
        sess.run(x, {"x": [1, 2]})
    with pytest.raises(gx.FeedError, match=r"'x:0'.*is fed twice"):
        sess.run(x, {x: [1, 2], "x:0": [1, 2]})
    with pytest.raises(gx.FeedError, match=r"'x:0'.*is fed twice"):
        sess.make_callable(x, [x, x])
    for one in (x, "x:0"):
        with pytest.raises(gx.FeedError, match="list of tensors"):
            sess.make_callable(x, one)
    with gx.Graph().as_default():
        other = gx.placeholder(gx.float32, [2])
    with pytest.raises(gx.FeedError, match="another graph"):
        sess.run(x, {x: [1, 2], other: [1, 2]})


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "message"),
    [
        (gx.float32, [2], [1, 2, 3], r"shape \[3\]"),
        (gx.float32, [None, 2], [1, 2], r"\[None, 2\].*shape \[2\]"),
        (gx.int32, [2], np.array([1.5, 2.0]), "would change"),
        (gx.int32, [], np.int64(2**40), "would change"),
        (gx.bool, [1], np.array([3]), "would change"),
        (gx.int64, [1], np.array([2**63], np.uint64), "would change"),
        (gx.uint64, [1], np.array([-1]), "would change"),
        (gx.uint8, [1], np.array([-1], np.int8), "would change"),
        (gx.int32, [], 2**40, "outside of its range"),
        (gx.int32, [1], [-(2**31) - 1], "outside of its range"),
        (gx.int32, [1], [2.0**31], "outside of its range"),
        (gx.int32, [1], [float("nan")], "outside of its range"),
        (gx.int64, [1], [2**63], "outside of its range"),
        (gx.int64, [], 2.0**63, "outside of its range"),
        (gx.int64, [], 2**70, "outside of its range"),
        (gx.float32, [], 10**400, "too large"),
        (gx.float32, [1], ["a"], "array"),
        (gx.float32, [1], object(), "float32"),
        (gx.float32, [2], [[1], [2, 3]], "array"),
        (gx.float32, [1], np.array([1j]), "cannot be converted"),
    ],
)
def test_feeds_that_do_not_fit(sess, dtype, shape, value, message):
    x = gx.placeholder(dtype, shape, name="x")
    with pytest.raises(gx.FeedError, match=rf"(?s)x:0.*{message}.*{HERE}"):
        sess.run(x, {x: value})


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (gx.float32, np.array([1.0, 2.0])),
        (gx.int32, np.array([1.0, 2.0])),
        (gx.int64, np.array([1, 2], np.int8)),
        (gx.float64, np.array([1, 2])),
        (gx.int32, [True, 2.7]),
        (gx.int32, [2**31 - 1, -(2.0**31) - 0.5]),
        (gx.int64, [2**63 - 1, -(2**63)]),
        (gx.int64, [-(2.0**63), 3.5]),
        (gx.bool, np.array([0, 1])),
        (gx.int64, np.array([2**63 - 1, 0], np.uint64)),
        (gx.float64, [2**70, -(2**80)]),
        (gx.int32, np.array([-7.0, 8.0], np.float16)),
    ],
)
def test_feeds_that_are_converted(sess, dtype, value):
    x = gx.placeholder(dtype, [2])
    found = sess.run(x, {x: value})
    np.testing.assert_array_equal(found, np.asarray(value).astype(dtype.numpy))
    assert found.dtype == dtype.numpy


def test_literals_beyond_a_narrow_float_are_infinite(sess):
    x = gx.placeholder(gx.float32, [3])
    np.testing.assert_array_equal(
        sess.run(x, {x: [1e40, -1e40, 2**200]}), [np.inf, -np.inf, np.inf]
    )


def test_strided_and_unaligned_feeds(sess):
    x = gx.placeholder(gx.float32, [3, 2])
    y = x * 2.0
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(sess.run(y, {x: value[:, ::2]}), value[:, ::2] * 2)
    raw = np.zeros(25, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(3, 2)
    unaligned[:] = 3
    np.testing.assert_array_equal(sess.run(y, {x: unaligned}), 6)
    frozen = np.ones((3, 2), np.float32)
    frozen.setflags(write=False)
    np.testing.assert_array_equal(sess.run(y, {x: frozen}), 2)


def test_symbols_that_disagree(sess):
    x = gx.placeholder(gx.float32, ["n"], name="x")
    y = gx.placeholder(gx.float32, ["n"], name="y")
    with pytest.raises(gx.FeedError, match=rf"(?s)y:0.*axis 0 is 3.*n is 2.*{HERE}"):
        sess.run(x + y, {x: [1, 2], y: [1, 2, 3]})


def test_sizes_that_break_a_rule_found_only_in_a_run(sess):
    x = gx.placeholder(gx.float32, [None], name="x")
    y = gx.placeholder(gx.float32, [None], name="y")
    z = x + y
    with pytest.raises(gx.FeedError, match=rf"(?s)add.*broadcast.*{HERE}"):
        sess.run(z, {x: [1, 2], y: [1, 2, 3]})


def test_devices_that_do_not_exist(sess):
    for place in ("/gpu:0", "/job:worker/task:1", "/cpu:3"):
        with gx.device(place):
            x = gx.constant(1.0) + 2.0
        with pytest.raises(gx.DeviceError, match=rf"(?s)no device.*{HERE}"):
            sess.run(x)
    with pytest.raises(gx.DeviceError, match="is no device"), gx.device("/tpu:0"):
        pass


def test_errors_in_data_name_op_element_and_line(sess):
    a = gx.placeholder(gx.int32, [None], name="a")
    b = gx.placeholder(gx.int32, [None], name="b")
    cases = [
        (a // b, {a: [1, 2, 3], b: [1, 0, 2]}, "floordiv", 1),
        (gx.mod(a, b), {a: [1, 2], b: [1, 0]}, "mod", 1),
        (gx.gather(gx.constant([1.0, 2.0]), a), {a: [0, 1, 5, -1]}, "gather", 2),
        (gx.nn.sparse_softmax_cross_entropy_with_logits(labels=a, logits=gx.zeros([2, 3])),
         {a: [0, 3]}, "sparse_softmax", 1),
    ]  # fmt: skip
    for fetch, feeds, op, _ in cases:
        with pytest.raises(gx.DataError, match=rf"(?s){op}.*{HERE}"):
            sess.run(fetch, feeds)


def test_a_session_needs_a_server_that_exists():
    with pytest.raises(gx.GraphcError, match="no server"):
        gx.Session("mpi://nowhere")
    with pytest.raises(gx.GraphError, match=f"(?s)3 is no graph.*{HERE}"):
        gx.Session(graph=3)


@pytest.mark.parametrize("target", ["", "mpi://job:worker/task:0"])
def test_a_class_is_no_strategy(target):
    with pytest.raises(gx.GraphError, match=f"(?s)DataParallel'> is no strategy.*{HERE}"):
        gx.Session(target, strategy=gx.distribute.DataParallel)


@pytest.mark.parametrize("batch", [3, {"x": 0}, {1: 0}])
def test_batches_that_are_no_mapping_from_tensors_to_axes(batch):
    with pytest.raises(gx.ShardError, match="batch is a mapping from tensors to axes or None"):
        gx.distribute.DataParallel(batch=batch)


@pytest.mark.parametrize("axis", ["0", 0.0, True])
def test_axes_of_batches_that_are_no_numbers(axis):
    x = gx.placeholder(gx.float32, [None])
    assert gx.distribute.DataParallel(batch={x: 0}).axis_of(x) == 0
    assert gx.distribute.DataParallel(batch={x: None}).axis_of(x) is None
    with pytest.raises(gx.ShardError, match="batch is a mapping"):
        gx.distribute.DataParallel(batch={x: axis})


def test_a_process_has_one_server(monkeypatch):
    class Served:
        """Stands for a server that is not closed."""

    served, target = Served(), "mpi://job:worker/task:0"
    monkeypatch.setitem(server._servers, target, served)
    for make in (gx.train.Server, gx.train.Server.spawn):
        with pytest.raises(gx.ClusterError, match=f"serves {target} already: close that"):
            make({"worker": 1})


@pytest.mark.parametrize("make", [gx.train.Server, gx.train.Server.spawn])
def test_what_is_no_cluster_is_refused(make):
    with pytest.raises(gx.ClusterError, match="a cluster is a mapping from jobs to tasks, not 3"):
        make(3)


def test_an_unfed_placeholder_is_named_before_its_unknown_sizes(sess):
    x = gx.placeholder(gx.float32, [None], name="x")
    y = gx.placeholder(gx.float32, [None], name="y")
    with pytest.raises(gx.FeedError, match=r"placeholder 'x' \(float32 \[None\]\)"):
        sess.run(gx.exp(x) + y, {y: [1]})


def test_sizes_that_feeds_do_not_tell(sess):
    x = gx.placeholder(gx.float32, ["n", "m"], name="x")
    flat = gx.reshape(x, [-1])
    with pytest.raises(gx.FeedError, match=rf"(?s)size m, n cannot be told.*{HERE}"):
        sess.run(flat * 2.0, {flat: np.ones(6, np.float32)})


@pytest.mark.parametrize("shape", [[2**45, 4], [2**40, 2**10]])
def test_a_step_that_no_memory_holds(sess, shape):
    big = gx.zeros(shape) + gx.placeholder(gx.float32, [], name="x")
    with pytest.raises(gx.GraphcError, match=r"more memory than there is.*takes [\d,]+ bytes"):
        sess.run(big, {"x:0": 1.0})


def test_memory_that_the_system_refuses(sess, monkeypatch):
    def refuse(*_):
        raise MemoryError("Unable to allocate 3 TiB")

    x = gx.placeholder(gx.float32, [None])
    fetches = [gx.exp(x) * 2.0, gx.Variable([1.0, 2.0]) + 1.0]
    for module in ("graphc.backends.cpu.executable", "graphc.runtime.state"):
        monkeypatch.setattr(f"{module}.aligned", refuse)
    for fetch in fetches:
        with pytest.raises(gx.GraphcError, match=r"too little memory left.*3 TiB"):
            sess.run(fetch, {x: [1.0]})


def test_a_size_that_is_negative_in_a_run(sess):
    x = gx.placeholder(gx.float32, [None], name="x")
    y = gx.zeros([x.shape[0] - 3])
    assert sess.run(y, {x: [0] * 3}).shape == (0,)
    with pytest.raises(gx.FeedError, match=rf"(?s)broadcast_to.*may be negative.*{HERE}"):
        sess.run(y, {x: [0] * 2})


def test_lists_of_feeds_that_are_none(sess):
    """The same for everything that takes a list: it names the tensors that are inputs."""
    x = gx.placeholder(gx.float32, [2], name="x")
    for feeds, message in (
        ([x, "x:0"], "fed twice"),
        (None, "a list of tensors, not NoneType"),
        (x, "a list of tensors, not Tensor"),
        ("x:0", "a list of tensors, not str"),
    ):
        for call in (sess.make_callable, sess.parse, sess.executor):
            with pytest.raises(gx.FeedError, match=message):
                call(x + 1.0, feeds)
    with pytest.raises(gx.FeedError, match="fed twice"):
        sess.run(x + 1.0, {x: [1, 2], "x:0": [1, 2]})


@pytest.mark.parametrize("fetch", ["joined", "first"])
def test_sizes_that_only_a_sum_tells(sess, fetch):
    """Of the size of two batches together that of each cannot be told, even if nobody asks."""
    first, second = (gx.placeholder(gx.float32, [None, 2], name=n) for n in ("first", "second"))
    joined = gx.concat([first, second], 0, name="joined")
    feeds = {first: np.zeros((1, 2)), joined: np.zeros((3, 2))}
    with pytest.raises(gx.FeedError, match=rf"(?s)the size _2 cannot be told.*{HERE}"):
        sess.run({"joined": joined, "first": first * 2.0}[fetch], feeds)
    assert sess.run(joined, {**feeds, second: np.zeros((2, 2))}).shape == (3, 2)
