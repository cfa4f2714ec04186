"""Random functions in loops that are well formed, within bounds, and free of races.

Every operation in them means the same on every machine, so they serve printers and rewrites too:
`y` of each dtype, SLICE elements for each task, is what a function computes from `x` of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from graphc.backends.loops import build
from graphc.backends.loops.ir import (
    BOOL,
    I64,
    Alloc,
    Block,
    Broadcast,
    Buffer,
    Carried,
    Const,
    Expr,
    Extract,
    For,
    Function,
    Guard,
    If,
    Lanes,
    Let,
    Load,
    Op,
    Shuffle,
    Stmt,
    Store,
    ValueType,
    Var,
)
from graphc.ir.compute.scalar import SCALAR_OPS, result_dtype
from graphc.ir.dtypes import DType, bool_, float32, float64, int32, int64, uint32

DTYPES = (bool_, int32, int64, uint32, float32, float64)
LANES = (1, 4, 8)
INPUTS = 64
SLICE = 16
GUARDS = 2

_AVOIDED = ("floordiv", "mod", "mulhi", "cast", "bitcast")
_OPS = [name for name, op in SCALAR_OPS.items() if op.exact and name not in _AVOIDED]


def random_function(rng: random.Random, length: int = 12) -> Function:
    """A function of one size, the number of tasks."""
    return _Maker(rng).function(length)


def random_arrays(rng: random.Random, tasks: int) -> list[np.ndarray]:
    """Inputs with special values among them, and outputs of zeros, for `tasks` tasks."""
    generator = np.random.default_rng(rng.getrandbits(32))
    inputs = [_input(generator, dtype) for dtype in DTYPES]
    return inputs + [np.zeros(tasks * SLICE, d.numpy) for d in DTYPES]


def _input(generator: np.random.Generator, dtype: DType) -> np.ndarray:
    if dtype.is_float:
        values = (generator.standard_normal(INPUTS) * 100).astype(dtype.numpy)
        values[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, dtype.max]
        return generator.permutation(values)
    low, high = (0, 2) if dtype.is_bool else (dtype.min, dtype.max)
    values = generator.integers(low, high, INPUTS, np.int64).astype(dtype.numpy)
    values[::3] = generator.integers(0, min(high, 7), len(values[::3]))
    return values


class _Maker:
    """Grows blocks; `visible` are the variables in scope, by type."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.inputs = {d: Buffer(f"x_{d.short}", d) for d in DTYPES}
        self.outputs = {d: Buffer(f"y_{d.short}", d, alignment=8) for d in DTYPES}
        self.private: list[Buffer] = []
        self.visible: list[Var] = []
        self.count = 0
        self.base: Expr = Const(0, I64)

    def function(self, length: int) -> Function:
        tasks = self.var(I64, "tasks")
        index = self.var(I64, "task")
        self.visible = [tasks, index]
        self.base = Op("mul", (index, Const(SLICE, I64)), I64)
        body = self.block(length)
        loop = For(index, Const(0, I64), tasks, 1, "pooled", body)
        buffers = (*self.inputs.values(), *self.outputs.values())
        return Function("random", buffers, (tasks,), (loop,), guards=GUARDS)

    def var(self, type_: ValueType, hint: str = "v") -> Var:
        self.count += 1
        return Var(f"{hint}{self.count}", type_)

    def type(self) -> ValueType:
        return ValueType(self.rng.choice(DTYPES), self.rng.choice(LANES))

    def block(self, length: int) -> Block:
        scope = len(self.visible), len(self.private)
        made: list[Stmt] = []
        while length > 0:
            kind = self.rng.choices(list(_STATEMENTS), weights=list(_STATEMENTS.values()))[0]
            length -= 4 if kind in (_Maker.loop, _Maker.condition) else 1
            made += kind(self)
        del self.visible[scope[0] :], self.private[scope[1] :]
        return tuple(made)

    def let(self) -> list[Stmt]:
        value = self.value(self.type(), 3)
        var = self.var(value.type)
        self.visible.append(var)
        return [Let(var, value)]

    def store(self) -> list[Stmt]:
        type_ = self.type()
        lanes = type_.lanes
        value = self.value(type_, 3)
        private = [b for b in self.private if b.dtype is type_.dtype]
        mask = self.value(BOOL.with_lanes(lanes), 2) if self.rng.random() < 0.4 else None
        if private and self.rng.random() < 0.7:
            buffer = self.rng.choice(private)
            return [Store(buffer, self.place(buffer, SLICE, lanes), value, mask)]
        offset = Op("add", (self.base, self.offset(SLICE - lanes + 1)), I64)
        return [Store(self.outputs[type_.dtype], offset, value, mask)]

    def alloc(self) -> list[Stmt]:
        """A private buffer, and its first contents."""
        space = self.rng.choice(["thread", "register"])
        dtype = self.rng.choice(DTYPES)
        buffer = Buffer(self.var(I64, "b").name, dtype, space, Const(SLICE, I64), 64)
        type_ = ValueType(dtype, SLICE // 2)
        first, second = self.value(type_, 2), self.value(type_, 2)
        self.private.append(buffer)
        stores = Store(buffer, Const(0, I64), first), Store(buffer, Const(SLICE // 2, I64), second)
        return [Alloc(buffer), *stores]

    def guard(self) -> list[Stmt]:
        lanes = self.rng.choice(LANES)
        ok = self.value(BOOL.with_lanes(lanes), 2)
        value = self.value(I64.with_lanes(lanes), 2)
        position = Op("and", (value, self.number(255, lanes)), value.type)
        return [Guard(ok, self.rng.randrange(GUARDS), position)]

    def condition(self) -> list[Stmt]:
        then = self.block(3)
        orelse = self.block(3) if self.rng.random() < 0.5 else ()
        return [If(self.value(BOOL, 2), then, orelse)]

    def loop(self) -> list[Stmt]:
        index = self.var(I64, "i")
        starts = [self.value(self.type(), 2) for _ in range(self.rng.randrange(4))]
        vars_ = [self.var(s.type, "a") for s in starts]
        scope = len(self.visible)
        self.visible += [index, *vars_]
        body = self.block(4)
        nexts = [self.value(s.type, 2) for s in starts]
        del self.visible[scope:]
        results = [self.var(s.type, "r") for s in starts]
        self.visible += results
        carried = tuple(map(Carried, vars_, starts, nexts, results))
        begin, end = self.rng.randrange(3), self.rng.randrange(8)
        kind, step = self.rng.choice(["serial", "unrolled"]), self.rng.randint(1, 3)
        return [For(index, Const(begin, I64), Const(end, I64), step, kind, body, carried)]

    def number(self, value: int, lanes: int) -> Expr:
        return Const(value, I64.with_lanes(lanes))

    def offset(self, count: int, lanes: int = 1) -> Expr:
        """In 0 .. count - 1."""
        if lanes == 1 and self.rng.random() < 0.3:
            return Const(self.rng.randrange(count), I64)
        value = self.value(I64.with_lanes(lanes), 1)
        return Op("mod", (value, self.number(count, lanes)), value.type)

    def place(self, buffer: Buffer, size: int, lanes: int) -> Expr:
        """Where `lanes` elements lie within a buffer; registers have no addresses."""
        if buffer.space == "register":
            return Const(self.rng.randrange(size - lanes + 1), I64)
        return self.offset(size - lanes + 1)

    def value(self, type_: ValueType, depth: int) -> Expr:
        known = [v for v in self.visible if v.type == type_]
        if known and self.rng.random() < (0.3 if depth else 0.8):
            return self.rng.choice(known)
        if depth <= 0 or self.rng.random() < 0.1:
            return self.const(type_)
        makers: list[Callable[[ValueType, int], Expr]] = [self.op, self.op, self.op, self.convert]
        makers += [self.load, self.load]
        makers += [self.broadcast, self.shuffle] if type_.lanes > 1 else [self.extract]
        return self.rng.choice(makers)(type_, depth - 1)

    def const(self, type_: ValueType) -> Expr:
        dtype = type_.dtype
        if type_ == I64.with_lanes(type_.lanes) and type_.lanes > 1 and self.rng.random() < 0.5:
            return Lanes(type_)
        if dtype.is_float:
            special = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 0.1, 1e30]
            return build.const(self.rng.choice(special), type_)
        number = self.rng.choice([0, 1, 3, 7, dtype.min, dtype.max])
        return build.const(bool(number) if dtype.is_bool else number, type_)

    def op(self, type_: ValueType, depth: int) -> Expr:
        name, dtypes = self.rng.choice(_RULES[type_.dtype])
        args = [self.value(ValueType(d, type_.lanes), depth) for d in dtypes]
        if name in ("shl", "shr"):
            args[1] = Op("and", (args[1], Const(127, type_)), type_)
        return Op(name, tuple(args), type_)

    def convert(self, type_: ValueType, depth: int) -> Expr:
        if type_.dtype.kind in ("int", "uint") and self.rng.random() < 0.5:
            name = self.rng.choice(["floordiv", "mod"])
            divisor = Const(self.rng.choice([1, 3, 8]), type_)
            return Op(name, (self.value(type_, depth), divisor), type_)
        source = self.rng.choice([d for d in DTYPES if d is not type_.dtype])
        value = self.value(type_.with_dtype(source), depth)
        return Op("cast", (value,), type_)

    def load(self, type_: ValueType, depth: int) -> Expr:
        lanes, buffer, size = type_.lanes, self.inputs[type_.dtype], INPUTS
        private = [b for b in self.private if b.dtype is type_.dtype]
        if private and self.rng.random() < 0.5:
            buffer, size = self.rng.choice(private), SLICE
        mask = None
        if self.rng.random() < 0.4:
            mask = self.value(BOOL.with_lanes(lanes), depth)
        if lanes > 1 and buffer.space != "register" and self.rng.random() < 0.4:
            return Load(buffer, self.offset(size, lanes), type_, mask)
        return Load(buffer, self.place(buffer, size, lanes), type_, mask)

    def broadcast(self, type_: ValueType, depth: int) -> Expr:
        return Broadcast(self.value(type_.with_lanes(1), depth), type_)

    def shuffle(self, type_: ValueType, depth: int) -> Expr:
        whole = type_.with_lanes(self.rng.choice([4, 8]))
        lanes = tuple(self.rng.randrange(2 * whole.lanes) for _ in range(type_.lanes))
        return Shuffle(self.value(whole, depth), self.value(whole, depth), lanes, type_)

    def extract(self, type_: ValueType, depth: int) -> Expr:
        vector = self.value(type_.with_lanes(8), depth)
        return Extract(vector, self.rng.randrange(8), type_)


_STATEMENTS = {
    _Maker.let: 8,
    _Maker.store: 5,
    _Maker.alloc: 1,
    _Maker.guard: 1,
    _Maker.condition: 1,
    _Maker.loop: 2,
}


def _rules() -> dict[DType, list[tuple[str, tuple[DType, ...]]]]:
    """The operations that give each dtype, with the dtypes that they take."""
    found: dict[DType, list[tuple[str, tuple[DType, ...]]]] = {d: [] for d in DTYPES}
    for name in _OPS:
        arity = SCALAR_OPS[name].arity
        for dtype in DTYPES:
            args = (bool_, dtype, dtype) if name == "select" else (dtype,) * arity
            try:
                found[result_dtype(name, args)].append((name, args))
            except TypeError:
                continue
    return found


_RULES = _rules()
