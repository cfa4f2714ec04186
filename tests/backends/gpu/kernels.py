"""Short ways to write kernels of one op, and data for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from graphc.ir.compute.builder import Buffer, KernelBuilder
from graphc.ir.compute.kernel import Kernel
from graphc.ir.dims import symbol
from graphc.ir.types import TensorType

N, M = symbol("n"), symbol("m")
SHAPES = st.tuples(st.integers(0, 4), st.integers(0, 600))
ORDERS = st.integers(0, 9)
"""Orders of threads: ascending, descending, and seeds of random ones."""


def kernel_of(
    inputs: Sequence[TensorType],
    outputs: Sequence[TensorType],
    body: Callable[..., Sequence[Buffer]],
) -> Kernel:
    """The kernel whose results ``body(builder, *inputs)`` returns."""
    build = KernelBuilder(inputs, outputs, {})
    build.result(*body(build, *build.inputs))
    return build.finish()


def normal(seed: int, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
