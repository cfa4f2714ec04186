"""Philox4x32-10, a counter-based generator of random bits, twice: as a kernel and in NumPy.

Every number is a function of a 64-bit key and a 128-bit counter, so any part of a tensor can be
made anywhere, in any order. Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC 2011; the known answers of its library, Random123, are a test.

The kernel works on expressions with ``mulhi``, the reference on 64-bit products; they share the
constants of the definition alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.compute.expr import Expr, apply, cast, const
from graphc.ir.dtypes import int64, uint32

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What the two halves of the key grow by in each round."""
ROUNDS = 10


def philox(counter: Sequence[Expr], key: tuple[int, int]) -> tuple[Expr, Expr, Expr, Expr]:
    """Four random uint32 of four uint32 ``counter`` expressions and a constant key."""
    a, b, c, d = counter
    for turn in range(ROUNDS):
        round_key = [
            const((k + turn * weyl) % 2**32, uint32) for k, weyl in zip(key, WEYL, strict=True)
        ]
        first, second = (const(m, uint32) for m in MULTIPLIERS)
        a, b, c, d = (
            apply("mulhi", c, second) ^ b ^ round_key[0],
            c * second,
            apply("mulhi", a, first) ^ d ^ round_key[1],
            a * first,
        )
    return a, b, c, d


def halves(value: Expr) -> tuple[Expr, Expr]:
    """The lower and the upper 32 bits of an int64 that is not negative."""
    return cast(value, uint32), cast(apply("shr", value, const(32, int64)), uint32)


def philox_numpy(counter: Any, key: tuple[int, int]) -> Any:
    """The same in NumPy: uint32 ``[..., 4]`` of counters ``[..., 4]``."""
    words = np.asarray(counter, np.uint64)
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    keys = np.array(key, np.uint64)
    for _ in range(ROUNDS):
        products = words[..., (2, 0)] * np.array(MULTIPLIERS[::-1], np.uint64)
        high, low = products >> shift, products & mask
        words = np.stack(
            [high[..., 0] ^ words[..., 1] ^ keys[0], low[..., 0],
             high[..., 1] ^ words[..., 3] ^ keys[1], low[..., 1]], axis=-1,
        )  # fmt: skip
        keys = (keys + np.array(WEYL, np.uint64)) & mask
    return words.astype(np.uint32)
