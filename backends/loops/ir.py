"""The statements and expressions of loops.

Values are in SSA form: a ``Var`` is defined once, by a ``Let``, a loop index, a loop-carried value
or a parameter, and is visible in the block where it is defined, after that. Everything that varies
lives in buffers or in ``Carried`` values of loops (accumulators). Offsets into buffers are flat,
in elements, int64. A value has a dtype and a number of lanes; one lane is a scalar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.ir.dtypes import DType, bool_, int64

KINDS = ("serial", "unrolled", "vector", "pooled", "block", "warp", "thread")
"""What the iterations of a loop become. ``vector`` loops are rewritten into lanes and
``unrolled`` ones into copies before printing; ``pooled`` iterations are tasks for the thread
pool; ``block``, ``warp`` and ``thread`` are a GPU's indices (``warp``: the warp within a block).
Iterations of all but ``serial`` and ``unrolled`` are independent of each other."""

SPACES = ("global", "packed", "shared", "thread", "register")
"""Where a buffer lives: ``global`` is a parameter, ``packed`` workspace handed to the kernel,
``shared`` a GPU block's memory, ``thread`` private to the task or thread (a stack array),
``register`` private and indexed by constants only once loops are unrolled."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a value: ``lanes`` elements of ``dtype``."""

    dtype: DType
    lanes: int = 1

    def with_dtype(self, dtype: DType) -> ValueType:
        return ValueType(dtype, self.lanes)

    def with_lanes(self, lanes: int) -> ValueType:
        return ValueType(self.dtype, lanes)

    def __str__(self) -> str:
        return self.dtype.short + (f"x{self.lanes}" if self.lanes > 1 else "")


I64 = ValueType(int64)
BOOL = ValueType(bool_)


class Expr:
    """A value; expressions are DAGs that compare by identity."""

    __slots__ = ()
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return ()

    def with_operands(self, operands: tuple[Expr, ...]) -> Expr:
        """The same operation over other operands (of the same types)."""
        return self


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """Memory for ``size`` elements of ``dtype`` (``size`` None: a parameter, as large as it is).

    ``alignment`` is what a schedule may rely on, in bytes.
    """

    name: str
    dtype: DType
    space: str = "global"
    size: Expr | None = None
    alignment: int = 1


@dataclass(frozen=True, eq=False, slots=True)
class Const(Expr):
    """A number; in vectors, every lane holds it."""

    value: Any
    type: ValueType


@dataclass(frozen=True, eq=False, slots=True)
class Var(Expr):
    """A name for a value."""

    name: str
    type: ValueType


@dataclass(frozen=True, eq=False, slots=True)
class Op(Expr):
    """A scalar operation of ``graphc.ir.compute.scalar``, in every lane."""

    op: str
    args: tuple[Expr, ...]
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.args

    def with_operands(self, operands: tuple[Expr, ...]) -> Op:
        return Op(self.op, operands, self.type)


@dataclass(frozen=True, eq=False, slots=True)
class Load(Expr):
    """``type.lanes`` elements of ``buffer``.

    With a scalar ``offset`` they are consecutive from there; with a vector of offsets, one each
    (a gather). ``mask`` (a bool for each lane) says which are read; the others are 0.
    """

    buffer: Buffer
    offset: Expr
    type: ValueType
    mask: Expr | None = None

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.offset,) if self.mask is None else (self.offset, self.mask)

    def with_operands(self, operands: tuple[Expr, ...]) -> Load:
        mask = operands[1] if self.mask is not None else None
        return Load(self.buffer, operands[0], self.type, mask)


@dataclass(frozen=True, eq=False, slots=True)
class Broadcast(Expr):
    """A scalar in every lane."""

    value: Expr
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.value,)

    def with_operands(self, operands: tuple[Expr, ...]) -> Broadcast:
        return Broadcast(operands[0], self.type)


@dataclass(frozen=True, eq=False, slots=True)
class Lanes(Expr):
    """0, 1, 2, ... in int64."""

    type: ValueType


@dataclass(frozen=True, eq=False, slots=True)
class Shuffle(Expr):
    """Lane ``lanes[i]`` of the concatenation of ``a`` and ``b`` (of one type) for each i."""

    a: Expr
    b: Expr
    lanes: tuple[int, ...]
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.a, self.b)

    def with_operands(self, operands: tuple[Expr, ...]) -> Shuffle:
        return Shuffle(operands[0], operands[1], self.lanes, self.type)


@dataclass(frozen=True, eq=False, slots=True)
class Extract(Expr):
    """One lane of a vector, as a scalar."""

    vector: Expr
    lane: int
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.vector,)

    def with_operands(self, operands: tuple[Expr, ...]) -> Extract:
        return Extract(operands[0], self.lane, self.type)


INTRINSICS = ("warp_shuffle_down", "warp_shuffle_xor", "dot", "mma")
"""What only some targets have: a lane's value of another thread of the warp (value, distance),
a four-element integer dot product added to an accumulator, a tile product of tensor cores."""


@dataclass(frozen=True, eq=False, slots=True)
class Intrinsic(Expr):
    """One of ``INTRINSICS``; a printer that lacks it refuses."""

    name: str
    args: tuple[Expr, ...]
    type: ValueType

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.args

    def with_operands(self, operands: tuple[Expr, ...]) -> Intrinsic:
        return Intrinsic(self.name, operands, self.type)


@dataclass(frozen=True, eq=False, slots=True)
class Let:
    """``var = value``: evaluated once, here."""

    var: Var
    value: Expr


@dataclass(frozen=True, eq=False, slots=True)
class Store:
    """Write ``value`` at ``offset``: consecutive lanes, or a scatter for a vector of offsets.

    Lanes whose ``mask`` is false are not written.
    """

    buffer: Buffer
    offset: Expr
    value: Expr
    mask: Expr | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Carried:
    """A value that a loop carries: ``var`` is ``start`` in the first iteration, then ``next``.

    ``next`` is evaluated at the end of the body and may use its variables; ``result`` is the last
    value (``start`` if there was no iteration), visible after the loop.
    """

    var: Var
    start: Expr
    next: Expr
    result: Var


@dataclass(frozen=True, eq=False, slots=True)
class For:
    """``for index in range(begin, end, step)``: ``step`` is positive; see ``KINDS``.

    Only serial and unrolled loops carry values.
    """

    index: Var
    begin: Expr
    end: Expr
    step: int
    kind: str
    body: Block
    carried: tuple[Carried, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class If:
    """``then`` where the scalar ``condition`` holds, else ``orelse``."""

    condition: Expr
    then: Block
    orelse: Block = ()


@dataclass(frozen=True, eq=False, slots=True)
class Alloc:
    """A buffer of constant size in ``thread``, ``register`` or ``shared`` memory.

    It lives until the end of the block; its contents are undefined at first.
    """

    buffer: Buffer


@dataclass(frozen=True, eq=False, slots=True)
class Barrier:
    """All threads of a block wait for each other; their writes to shared memory are seen."""


@dataclass(frozen=True, eq=False, slots=True)
class Guard:
    """Report error ``code`` at element ``position`` (int64) for each lane where not ``ok``.

    Of several errors in one kernel, the smallest (code, position) is reported.
    """

    ok: Expr
    code: int
    position: Expr


Stmt: TypeAlias = Let | Store | For | If | Alloc | Barrier | Guard
Block: TypeAlias = tuple[Stmt, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A kernel in loops.

    ``buffers`` are the kernel's parameters and then its results, dense and row-major, in the order
    in which a caller passes them; no result overlaps another buffer unless ``in_place`` names the
    parameter (by position) that it may share memory with, which is then read, element by
    element, no later than it is written. ``sizes`` are scalar int64 parameters; ``workspace``
    are ``packed`` buffers whose sizes are expressions over them.
    """

    name: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[Var, ...]
    body: Block
    workspace: tuple[Buffer, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    """Pairs (result, parameter), as positions in ``buffers``."""
    guards: int = 0
    """How many error codes the kernel has."""
