"""Which loops of a function are the grid, which the block, and how large a launch is.

The nest of ``block`` loops is the grid, its innermost loop ``blockIdx.x``. The nest of ``warp``
and ``thread`` loops is numbered by ``threadIdx.x``, the innermost fastest, so a ``warp`` loop
holds a ``thread`` loop of 32. A function is one launch: all its thread nests have the same size,
and it has one nest of blocks, with everything in it but the arithmetic on sizes before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphc.backends.loops.ir import Block, Const, Expr, For, Function, Let, Op, Var
from graphc.backends.loops.walk import statements
from graphc.ir.compute.scalar import evaluate
from graphc.ir.errors import CompileError

WARP = 32
MAX_THREADS = 1024
GRID_LIMITS = (2**31 - 1, 2**16 - 1, 2**16 - 1)
"""CUDA's limits on the grid's x, y and z."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """``blocks``: the loops of the grid, outermost first; ``threads``: how many a block has.

    ``lets`` are the values that the extents of the grid are made of.
    """

    blocks: tuple[For, ...]
    threads: int
    lets: tuple[Let, ...] = ()

    def grid(self, sizes: Mapping[str, int]) -> tuple[int, int, int]:
        """The grid's x, y and z for these values of the function's sizes, by name.

        An extent of 0 means that nothing is to be launched.

        Raises:
            CompileError: more blocks than a launch can have.
        """
        known = dict(sizes)
        for let in self.lets:
            known[let.var.name] = evaluate_size(let.value, known)
        x_first = tuple(evaluate_size(loop.end, known) for loop in reversed(self.blocks))
        x, y, z = x_first + (1,) * (3 - len(x_first))
        if any(n > limit for n, limit in zip((x, y, z), GRID_LIMITS, strict=True)):
            raise CompileError(f"a grid of {x} x {y} x {z} blocks is beyond CUDA's limits")
        return max(x, 0), max(y, 0), max(z, 0)


def geometry(function: Function) -> Geometry:
    """The launch that ``function`` is.

    Raises:
        CompileError: it is not one launch, for the reason given.
    """
    blocks = tuple(loop for loop in loops(function.body) if loop.kind == "block")
    if len(blocks) > len(GRID_LIMITS):
        raise CompileError(f"{function.name}: a grid has 3 dimensions, not {len(blocks)}")
    lets = tuple(stmt for stmt in function.body if blocks and isinstance(stmt, Let))
    body = function.body[len(lets) :]
    for loop in blocks:
        if body != (loop,):
            raise CompileError(
                f"{function.name}: statements beside the block loop {loop.index.name}"
            )
        _check_counts_from_zero(function, loop)
        body = loop.body
    sizes = {_nest_size(function, nest) for nest in thread_nests(body)} or {1}
    if len(sizes) > 1:
        raise CompileError(f"{function.name}: blocks of different sizes, {sorted(sizes)}")
    if max(sizes) > MAX_THREADS:
        raise CompileError(f"{function.name}: a block has at most {MAX_THREADS} threads")
    return Geometry(blocks, max(sizes), lets)


def loops(body: Block) -> Iterator[For]:
    """All loops of ``body``, each before those inside it."""
    return (stmt for stmt in statements(body) if isinstance(stmt, For))


def thread_nests(body: Block) -> list[tuple[For, ...]]:
    """The nests of warp and thread loops, each from its outermost loop to its innermost."""
    inner: set[int] = set()
    nests: list[tuple[For, ...]] = []
    for loop in loops(body):
        if loop.kind not in ("warp", "thread") or id(loop) in inner:
            continue
        nest = (loop, *(below for below in loops(loop.body) if below.kind in ("warp", "thread")))
        inner.update(map(id, nest))
        nests.append(nest)
    return nests


def extent(loop: For) -> int:
    """How many threads or warps ``loop`` has.

    Raises:
        CompileError: that is not a constant.
    """
    if not isinstance(loop.end, Const):
        raise CompileError(f"the extent of the {loop.kind} loop {loop.index.name} is no constant")
    return int(loop.end.value)


def evaluate_size(expr: Expr, sizes: Mapping[str, int]) -> int:
    """An expression over a function's sizes as a number (grids are small: it may recurse)."""
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, Var):
        return sizes[expr.name]
    if not isinstance(expr, Op):
        raise CompileError(f"a launch cannot depend on a {type(expr).__name__}")
    dtype = expr.args[0].type.dtype.numpy.type
    args = tuple(dtype(evaluate_size(a, sizes)) for a in expr.args)
    return int(evaluate(expr.op, args, expr.type.dtype))


def _nest_size(function: Function, nest: tuple[For, ...]) -> int:
    threads = 1
    for outer, loop in zip((None, *nest), nest, strict=False):
        _check_counts_from_zero(function, loop)
        if outer is not None and outer.kind == "warp" and extent(loop) != WARP:
            raise CompileError(f"{function.name}: a warp has {WARP} threads, not {extent(loop)}")
        if outer is not None and sum(1 for _ in thread_nests(outer.body)) != 1:
            raise CompileError(f"{function.name}: two thread loops within {outer.index.name}")
        threads *= extent(loop)
    if nest[-1].kind == "warp":
        raise CompileError(f"{function.name}: the warp loop {nest[-1].index.name} has no threads")
    return threads


def _check_counts_from_zero(function: Function, loop: For) -> None:
    starts_at_zero = isinstance(loop.begin, Const) and loop.begin.value == 0
    if not starts_at_zero or loop.step != 1 or loop.carried:
        raise CompileError(
            f"{function.name}: the {loop.kind} loop {loop.index.name} must count from 0 by 1"
        )
