"""Random numbers that depend on nothing but seeds, a counter and an element's place.

The element at flat index ``i`` of an op's output is made of the four words that Philox4x32-10
gives for the counter (i, step) and the key (graph seed, op seed): the same on every backend and
for any number of workers. In a part of a tensor (``whole``, ``start``) ``i`` is the flat index in
the undivided one. ``step`` is a hidden variable, ``random/counter``, which starts at 0, belongs to
every checkpoint, and grows by one in each step that makes random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir import dims
from graphc.ir.compute.expr import Expr, apply, cast, const, size
from graphc.ir.dtypes import DType, as_dtype, float32, int64, uint32
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Node, Tensor, TensorLike
from graphc.ir.op import Op, Typing, register
from graphc.ir.scope import (
    control_dependencies,
    create,
    current,
    device,
    get_default_graph,
    name_scope,
)
from graphc.ir.source import located, user_source
from graphc.ir.types import TensorType
from graphc.ops.arithmetic import add, multiply
from graphc.ops.coercion import convert, to_shape
from graphc.ops.philox import halves, philox, philox_numpy
from graphc.ops.pointwise import FLOATS, static_shape

if TYPE_CHECKING:
    from graphc.ir.compute.builder import KernelBuilder

__all__ = ["random_normal", "random_uniform", "set_random_seed"]

COUNTER = "random/counter"
_ADVANCE = "random/advance"
_SEED = "random_seed"
_OPS = "random_ops"


class _Random(Op):
    """Floats made of the random words of each element.

    Where ``whole`` is given, the result is the part of a tensor of that shape that begins at
    ``start``: a shard has the numbers that it would have in the undivided tensor.
    """

    operands = ("counter",)
    attributes = {
        "seed": (int,), "op_seed": (int,), "dtype": (DType,), "shape": (tuple,),
        "whole": (tuple,), "start": (tuple,),
    }  # fmt: skip
    defaults = {"whole": (), "start": ()}
    dtypes = frozenset({int64})

    def infer(self, typing: Typing) -> Sequence[TensorType]:
        (counter,), shape = typing.inputs, typing.attrs["shape"]
        if counter.dtype is not int64 or counter.shape != ():
            raise DTypeError("the counter must be an int64 scalar")
        if typing.attrs["dtype"] not in FLOATS:
            raise DTypeError(f"random numbers are floats, not {typing.attrs['dtype'].name}")
        if any(isinstance(extent, int) and extent < 0 for extent in shape):
            raise ShapeError(f"{list(shape)} has a negative size")
        whole, start = typing.attrs["whole"], typing.attrs["start"]
        if (whole or start) and not len(whole) == len(start) == len(shape):
            raise ShapeError(f"whole and start must have a size for each axis of {list(shape)}")
        return [TensorType(typing.attrs["dtype"], shape)]

    def gradient(self, node: Node, grads: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [None]

    def element(self, words: Sequence[Expr], dtype: DType) -> Expr:
        """One number of four random uint32."""
        raise NotImplementedError

    def evaluate(self, words: Any, dtype: np.dtype[Any]) -> Any:
        """The same in NumPy, of words ``[..., 4]``."""
        raise NotImplementedError

    def compute(self, build: KernelBuilder) -> None:
        (counter,), (output,), attrs = build.inputs, build.outputs, build.attrs
        whole = attrs["whole"] or output.shape
        start = attrs["start"] or (0,) * output.rank

        def body(*index: Expr) -> Expr:
            place: Expr = const(0, int64)
            for position, extent, first in zip(index, whole, start, strict=True):
                at = position if first == 0 else position + size(first)
                place = place * size(extent) + at
            words = philox(
                (*halves(place), *halves(counter[()])), (attrs["seed"], attrs["op_seed"])
            )
            return self.element(words, output.dtype)

        build.result(build.map(output.shape, body))

    def reference(
        self, node: Node, inputs: Sequence[Any], types: Sequence[TensorType]
    ) -> Sequence[Any]:
        (type_,), step = types, int(inputs[0])
        count = dims.evaluate(type_.elements, {})
        place = _places(node, static_shape(type_))
        counters = np.empty((count, 4), np.uint64)
        counters[:, 0], counters[:, 1] = place % 2**32, place // 2**32
        counters[:, 2], counters[:, 3] = step % 2**32, step // 2**32
        words = philox_numpy(counters, (node.attrs["seed"], node.attrs["op_seed"]))
        return [self.evaluate(words, type_.dtype.numpy).reshape(type_.shape)]


@register
class RandomUniform(_Random):
    """Multiples of 2**-24 (float32) or 2**-53 (float64) in [0, 1), all equally likely."""

    name = "random_uniform"

    def element(self, words: Sequence[Expr], dtype: DType) -> Expr:
        if dtype is float32:
            return cast(_top(words[0], 24), dtype) * 2.0**-24
        return (
            cast(_top(words[0], 27), dtype) * 2.0**26 + cast(_top(words[1], 26), dtype)
        ) * 2.0**-53

    def evaluate(self, words: Any, dtype: np.dtype[Any]) -> Any:
        if dtype == np.float32:
            return (words[..., 0] // 2**8).astype(dtype) / dtype.type(2**24)
        bits = (words[..., 0].astype(np.uint64) // 2**5) * 2**26 + words[..., 1] // 2**6
        return bits / 2.0**53


@register
class RandomNormal(_Random):
    """The standard normal distribution, by the transformation of Box and Muller (1958).

    The radius takes 32 random bits for float32 (so it ends at 6.7) and 64 for float64 (at 9.4).
    """

    name = "random_normal"

    def element(self, words: Sequence[Expr], dtype: DType) -> Expr:
        wide = (cast(word, dtype) for word in words)
        if dtype is float32:
            chance, turn = (word * 2.0**-32 + 2.0**-33 for word in (next(wide), next(wide)))
        else:
            a, b, c, d = wide
            chance, turn = (
                high * 2.0**-32 + (low * 2.0**-64 + 2.0**-65) for high, low in ((a, b), (c, d))
            )
        return apply("sqrt", apply("log", chance) * -2.0) * apply("cospi", turn * 2.0)

    def evaluate(self, words: Any, dtype: np.dtype[Any]) -> Any:
        parts = words.astype(dtype)
        if dtype == np.float32:
            unit = parts[..., :2] * dtype.type(2.0**-32) + dtype.type(2.0**-33)
        else:
            unit = parts[..., ::2] * 2.0**-32 + (parts[..., 1::2] * 2.0**-64 + 2.0**-65)
        angle = unit[..., 1] * dtype.type(2 * np.pi)
        return np.sqrt(dtype.type(-2) * np.log(unit[..., 0])) * np.cos(angle)


def set_random_seed(seed: int) -> None:
    """Make the random ops that follow in the default graph depend on ``seed`` (before: 0).

    Raises:
        GraphError: ``seed`` is no integer of 32 bits without sign.
    """
    get_default_graph().collections[_SEED] = _checked_seed(seed)


def random_uniform(
    shape: Any,
    minval: TensorLike = 0.0,
    maxval: TensorLike = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Floats of ``shape``, uniform in [minval, maxval), new in every step.

    ``seed`` fixes the op's own numbers; left out, it is the op's place among the graph's.
    """
    with name_scope(name or "random_uniform"):
        unit = _random("random_uniform", shape, dtype, seed)
        if _is_number(minval, 0) and _is_number(maxval, 1):
            return unit
        low, high = convert(minval, like=unit), convert(maxval, like=unit)
        return unit * (high - low) + low


def random_normal(
    shape: Any,
    mean: TensorLike = 0.0,
    stddev: TensorLike = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Floats of ``shape``, normally distributed, new in every step; ``seed`` as above."""
    with name_scope(name or "random_normal"):
        standard = _random("random_normal", shape, dtype, seed)
        if _is_number(mean, 0) and _is_number(stddev, 1):
            return standard
        return add(multiply(standard, stddev), mean)


def _random(op: str, shape: Any, dtype: Any, seed: int | None) -> Tensor:
    counter, advance = _counter()
    collections = get_default_graph().collections
    attrs = {
        "seed": collections.get(_SEED, 0),
        "op_seed": _next_op_seed() if seed is None else _checked_seed(seed),
        "dtype": as_dtype(dtype),
        "shape": to_shape(shape),
    }
    with control_dependencies([advance]):
        return create(op, [counter], attrs, op.removeprefix("random_")).outputs[0]


def _counter() -> tuple[Tensor, Node]:
    """The step's counter, and the node that counts the step: found by name, or made."""
    graph = get_default_graph()
    if COUNTER not in graph:
        with name_scope(None), control_dependencies(None), device(None):
            attrs = {"shared_name": COUNTER, "dtype": int64, "shape": ()}
            handle = create("variable", (), attrs, COUNTER).outputs[0]
            zero, one = convert(np.int64(0)), convert(np.int64(1))
            create("assign", [handle, zero], {"initializer": True}, f"{COUNTER}/initializer")
            create("read_variable", [handle], name=f"{COUNTER}/read")
            create("assign_add", [handle, one], name=_ADVANCE)
    return graph.tensor(f"{COUNTER}/read"), graph.node(_ADVANCE)


def _next_op_seed() -> int:
    """How many random ops came before; those of a graph read from a text count as well."""
    graph = current().graph
    if _OPS not in graph.collections:
        graph.collections[_OPS] = sum(isinstance(node.op, _Random) for node in graph.nodes)
    graph.collections[_OPS] += 1
    return int(graph.collections[_OPS]) - 1


def _checked_seed(seed: int) -> int:
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        message = f"{seed!r} is no seed: write an integer from 0 to 2**32 - 1"
        raise GraphError(located(message, user_source()))
    return int(seed)


def _places(node: Node, shape: tuple[int, ...]) -> Any:
    """For NumPy: the flat index of each element in the whole tensor.

    Raises:
        GraphError: the place of a part is a size that the reference was not told.
    """
    whole, start = node.attrs["whole"] or shape, node.attrs["start"] or (0,) * len(shape)
    if not all(isinstance(size, int) for size in (*whole, *start)):
        raise GraphError(node.error("the place of this part in the whole tensor is not known"))
    place = np.zeros((1,) * len(shape), np.uint64)
    for axis, (count, extent, first) in enumerate(zip(shape, whole, start, strict=True)):
        along = [1] * len(shape)
        along[axis] = count
        position = np.arange(first, first + count, dtype=np.uint64)
        place = place * np.uint64(extent) + position.reshape(along)
    return place.reshape(-1)


def _is_number(value: TensorLike, number: float) -> bool:
    return isinstance(value, int | float) and value == number


def _top(word: Expr, bits: int) -> Expr:
    """The upper bits of a uint32."""
    return apply("shr", word, const(32 - bits, uint32))
