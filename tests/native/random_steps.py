"""The steps by which random graphs grow: each adds an op, or a few, over what there is."""

import numpy as np

import graphc as gx
from graphc.ir.scope import create
from tests.native.graph_maker import FLOATS, INTEGERS, Maker, NothingFitsError

NUMBERS = (*FLOATS, *INTEGERS)
ARITHMETIC = ("add", "subtract", "multiply", "maximum", "minimum")


def _unary(name, *dtypes):
    def step(maker: Maker):
        getattr(gx, name)(maker.pick(*dtypes))

    return step


def _binary(name, *dtypes):
    def step(maker: Maker):
        x = maker.pick(*dtypes)
        operands = [x, maker.partner(x)]
        maker.rng.shuffle(operands)
        getattr(gx, name)(*operands)

    return step


def _join(maker: Maker):
    """Two tensors whose shapes need not fit: an element of one goes to all of the other."""
    x = maker.pick(*NUMBERS)
    y = maker.pick(x.dtype)
    getattr(gx, maker.rng.choice(ARITHMETIC))(x, y[(0,) * len(y.shape)])


def _compare(maker: Maker):
    x = maker.exact(*NUMBERS)
    y = maker.partner(x)
    name = maker.rng.choice(["less", "less_equal", "greater", "greater_equal", "equal"])
    getattr(gx, name)(x, y)


def _round(maker: Maker):
    x = maker.exact(*FLOATS)
    getattr(gx, maker.rng.choice(["floor", "ceil", "round", "is_nan", "is_finite"]))(x)


def _divide_integers(maker: Maker):
    x = maker.pick(*INTEGERS)
    by = maker.partner(x)
    by = gx.where(gx.equal(by, 0), gx.constant(maker.rng.choice([1, -3, 7]), x.dtype), by)
    (gx.floordiv if maker.rng.random() < 0.5 else gx.mod)(x, by)


def _power(maker: Maker):
    x = maker.pick(*FLOATS)
    exponent = maker.rng.choice([0.0, 0.5, 1.0, 2.0, -1.0, 3.0, -0.3])
    gx.pow(gx.abs(x), gx.constant(exponent, x.dtype) if maker.rng.random() < 0.7 else
           maker.partner(x))  # fmt: skip


def _where(maker: Maker):
    x = maker.pick()
    condition = maker.partner(x, gx.bool)
    gx.where(condition, x, maker.partner(x))


def _cast(maker: Maker):
    x = maker.pick()
    choices = FLOATS if maker.errors[x] is not None else (*NUMBERS, gx.bool)
    gx.cast(x, maker.rng.choice(choices))


def _axes(maker, x):
    return [a for a in range(len(x.shape)) if maker.rng.random() < 0.5]


def _reduce(name, *dtypes):
    def step(maker: Maker):
        x = maker.pick(*dtypes)
        axes = None if maker.rng.random() < 0.1 else _axes(maker, x)
        getattr(gx, name)(x, axis=axes, keepdims=maker.rng.random() < 0.5)

    return step


def _arg(maker: Maker):
    x = maker.exact(*NUMBERS, rank=1)
    (gx.argmax if maker.rng.random() < 0.5 else gx.argmin)(x, axis=maker.axis(x))


def _matmul(maker: Maker):
    """Over batches, either side transposed, by another tensor that fits or by its own transpose."""
    rng = maker.rng
    a = maker.pick(*NUMBERS, rank=2)
    ta, tb = rng.random() < 0.3, rng.random() < 0.3
    inner = a.shape[-2 if ta else -1]
    if rng.random() < 0.2:
        gx.matmul(a, a, transpose_a=ta, transpose_b=not ta)
    else:
        b = maker.pick(a.dtype, rank=2, ok=lambda t: t.shape[-1 if tb else -2] == inner)
        gx.matmul(a, b, transpose_a=ta, transpose_b=tb)


def _dense(maker: Maker):
    """A product with a bias and what follows it in a network: an epilogue."""
    x = maker.pick(*FLOATS, rank=2)
    if not isinstance(x.shape[-1], int):
        return
    width = maker.rng.choice([1, 3, 8, 16, 33])
    weights = maker.array(x.dtype, (x.shape[-1], width))
    bias = maker.array(x.dtype, (width,))
    if np.isfinite(weights).all():
        function = maker.rng.choice([gx.relu, gx.tanh, gx.sigmoid, gx.negative])
        function(gx.matmul(x, gx.constant(weights)) + gx.constant(bias))


def _softmax(maker: Maker):
    x = maker.pick(*FLOATS, rank=1)
    (gx.softmax if maker.rng.random() < 0.5 else gx.log_softmax)(x, axis=maker.axis(x))


def _classes(maker, x):
    """Labels for the rows of ``x``, in range."""
    count = x.shape[-1]
    if not isinstance(count, int) or count == 0:
        return None
    rows = gx.reduce_max(gx.zeros_like(x), axis=-1)
    chosen = gx.cast(maker.numbers.integers(0, count), gx.int64)
    return gx.cast(rows, gx.int64) + chosen


def _cross_entropy(maker: Maker):
    x = maker.pick(*FLOATS, rank=1)
    if maker.rng.random() < 0.5:
        labels = maker.pick(x.dtype, ok=lambda t: t.shape == x.shape)
        gx.nn.softmax_cross_entropy_with_logits(labels=labels, logits=x)
        return
    labels = _classes(maker, x)
    if labels is not None:
        gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)


def _normalize(maker: Maker):
    x = maker.pick(*FLOATS, rank=1)
    away = x - gx.reduce_mean(x, axis=-1, keepdims=True)
    spread = gx.reduce_mean(gx.square(away), axis=-1, keepdims=True)
    away * gx.rsqrt(spread + gx.constant(1e-1, x.dtype))


def _indices(maker, extent):
    """Indices that exist: constants, or integers of the graph brought into range."""
    shape = maker.rng.choice([(), (1,), (3,), (2, 2), (0,)])
    dtype = maker.rng.choice(INTEGERS)
    if maker.rng.random() < 0.5:
        found = maker.pick(*INTEGERS)
        return gx.mod(found, gx.constant(extent, found.dtype))
    return gx.constant(maker.numbers.integers(0, extent, shape).astype(dtype.numpy))


def _gather(maker: Maker):
    x = maker.pick(rank=1)
    axis = maker.axis(x)
    extent = x.shape[axis]
    if isinstance(extent, int) and extent:
        gx.gather(x, _indices(maker, extent), axis=axis)


def _scatter(maker: Maker):
    """What the gradient of a gather does."""
    x = maker.pick(*NUMBERS, rank=1)
    if not isinstance(x.shape[0], int):
        return
    at = gx.constant(maker.numbers.integers(0, 6, x.shape[:1]))
    create("scatter_add", [at, x], {"axis": 0, "shape": (6, *x.shape[1:])})


def _one_hot(maker: Maker):
    x = maker.pick(*INTEGERS)
    dtype = maker.rng.choice([*NUMBERS, gx.bool])
    on, off = (True, False) if dtype is gx.bool else (3, -1)
    axis = maker.rng.randint(-1, len(x.shape))
    gx.one_hot(x, maker.rng.choice([0, 1, 5]), on, off, axis=axis, dtype=dtype)


def _slice(maker: Maker):
    x = maker.pick(rank=1)
    key = []
    for extent in x.shape:
        known = extent if isinstance(extent, int) else maker.sizes.get(str(extent), 0)
        start = maker.rng.randint(0, max(0, known - 1))
        whole, tail, flipped = slice(None), slice(start, None), slice(None, None, -1)
        stepped = slice(start, None, maker.rng.choice([2, 3]))
        one = start if known else whole
        key.append(maker.rng.choice([whole, whole, tail, flipped, stepped, one]))
    x[tuple(key)]


def _slice_gradient(maker: Maker):
    x = maker.pick(*NUMBERS, rank=1)
    if all(isinstance(n, int) for n in x.shape):
        step = maker.rng.choice([1, 2])
        shape = tuple(step * n + 1 for n in x.shape)
        attrs = {"shape": shape, "starts": (1,) * len(shape), "strides": (step,) * len(shape)}
        create("strided_slice_grad", [x], attrs)


def _concat(maker: Maker):
    x = maker.pick(rank=1)
    axis = maker.axis(x)
    rest = [n for a, n in enumerate(x.shape) if a != axis % len(x.shape)]

    def fits(t):
        others = [n for a, n in enumerate(t.shape) if a != axis % len(x.shape)]
        return len(t.shape) == len(x.shape) and others == rest

    parts = [maker.pick(x.dtype, ok=fits) for _ in range(maker.rng.randint(0, 2))]
    gx.concat([x, *parts], axis=axis)


def _split(maker: Maker):
    x = maker.pick(rank=1)
    axis = maker.axis(x)
    extent = x.shape[axis]
    if isinstance(extent, int):
        first = maker.rng.randint(0, extent)
        gx.split(x, [first, extent - first], axis=axis)


def _pad(maker: Maker):
    x = maker.pick()
    margins = [(maker.rng.randint(0, 2), maker.rng.randint(0, 2)) for _ in x.shape]
    value = False if x.dtype is gx.bool else maker.rng.choice([0, 0, 2])
    gx.pad(x, margins, constant_values=value)


def _transpose(maker: Maker):
    x = maker.pick(rank=1)
    gx.transpose(x, maker.rng.sample(range(len(x.shape)), len(x.shape)))


def _reshape(maker: Maker):
    x = maker.pick()
    shape = [n for n in x.shape if n != 1]
    if maker.rng.random() < 0.3:
        maker.rng.shuffle(shape)
    if len(shape) > 1 and maker.rng.random() < 0.4:
        shape[:2] = [shape[0] * shape[1]]
    if maker.rng.random() < 0.2 and 0 not in shape:
        shape = [-1]
    for _ in range(maker.rng.randint(0, 2)):
        shape.insert(maker.rng.randint(0, len(shape)), 1)
    gx.reshape(x, shape)


def _broadcast(maker: Maker):
    x, like = maker.pick(), maker.pick()
    gx.broadcast_to(x, maker.rng.choice([like.shape, (3, *x.shape), x.shape]))


def _measure(maker: Maker):
    x = maker.pick(rank=1)
    dtype = maker.rng.choice([gx.int32, gx.int64])
    (gx.shape if maker.rng.random() < 0.5 else gx.size)(x, dtype)


def _random(maker: Maker):
    like = maker.pick()
    dtype, seed = maker.rng.choice(FLOATS), maker.rng.choice([None, 0, 2**32 - 1])
    make = gx.random_uniform if maker.rng.random() < 0.7 else gx.random_normal
    make(like.shape, dtype=dtype, seed=seed)


def _variable(maker):
    """A variable, and the last assign to it, if there is one."""
    if not maker.variables:
        raise NothingFitsError
    variable = maker.rng.choice(maker.variables)
    last = maker.last.get(variable.node.attrs["shared_name"])
    return variable, [last] if last else []


def _read(maker: Maker):
    variable, last = _variable(maker)
    with gx.control_dependencies(last if maker.rng.random() < 0.7 else []):
        variable.read_value()


def _assign(maker: Maker):
    """After all that was assigned before, so that no two assigns are unordered."""
    variable, last = _variable(maker)
    value = maker.pick(variable.dtype, ok=lambda t: t.shape == variable.shape)
    update = "assign" if variable.dtype is gx.bool else maker.rng.choice(
        ["assign", "assign_add", "assign_sub"]
    )  # fmt: skip
    with gx.control_dependencies(last):
        getattr(variable, update)(value)


def _update(maker: Maker):
    """Of two variables at once, each out of the old values of both: as optimizers do."""
    (first, before), (second, last) = _variable(maker), _variable(maker)
    if first is second or (first.dtype, first.shape) != (second.dtype, second.shape):
        return
    if first.dtype is gx.bool:
        changes = [gx.logical_xor(first, second), gx.logical_and(first, second)]
    else:
        rate = gx.constant(maker.rng.choice([1, 2]), first.dtype)
        changes = [gx.minimum(first * rate, second), first - second]
    with gx.control_dependencies(before + last):
        first.assign(changes[0])
        second.assign(changes[1])


_SMOOTH = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "sqrt", "rsqrt",
           "reciprocal")  # fmt: skip
STEPS = (
    *[_unary(name, *FLOATS) for name in _SMOOTH],
    *[_unary(name, *NUMBERS) for name in ("negative", "abs", "square", "relu", "sign")],
    *[_unary(name) for name in ("identity", "stop_gradient")],
    *[_binary(name, *NUMBERS) for name in ARITHMETIC] * 3,
    *[_binary("truediv", *FLOATS)] * 2,
    *[_binary(name, gx.bool) for name in ("logical_and", "logical_or", "logical_xor")],
    _unary("logical_not", gx.bool),
    *[_reduce(name, *NUMBERS) for name in ("reduce_sum", "reduce_max", "reduce_min")] * 3,
    _reduce("reduce_prod", *NUMBERS), _reduce("reduce_mean", *FLOATS),
    _reduce("reduce_any", gx.bool), _reduce("reduce_all", gx.bool),
    *[_join] * 8, *[_matmul, _dense] * 4, *[_softmax, _cross_entropy, _normalize] * 2,
    *[_compare, _round, _where, _cast, _arg] * 2, _divide_integers, _power,
    *[_gather, _slice, _concat, _transpose, _reshape, _broadcast] * 2,
    _scatter, _one_hot, _slice_gradient, _split, _pad, _measure, _random,
    *[_read, _assign, _update] * 6,
)  # fmt: skip
