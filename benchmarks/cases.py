"""What is measured: each case once, in NumPy, for every framework to build in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOMENTUM = 0.9
RATE = 0.01


@dataclass(frozen=True)
class Gemm:
    """``a @ b``; or ``relu(a @ w + bias)`` with constant ``w`` and ``bias``."""

    m: int
    k: int
    n: int
    constant: bool = False

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.k * self.n

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        shapes = ((self.m, self.k), (self.k, self.n), (self.n,))
        return tuple(rng.uniform(-1, 1, s).astype(np.float32) for s in shapes)


@dataclass(frozen=True)
class Mlp:
    """A training step: feed a NumPy batch, SGD with momentum, fetch the loss."""

    layers: tuple[int, ...]
    batch: int

    @property
    def flops(self) -> float:
        pairs = list(zip(self.layers, self.layers[1:], strict=False))
        forward = sum(2.0 * self.batch * a * b for a, b in pairs)
        return 3 * forward - 2.0 * self.batch * pairs[0][0] * pairs[0][1]

    def parameters(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        found = {}
        for i, (a, b) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            found[f"w{i}"] = (rng.normal(size=(a, b)) * (2 / a) ** 0.5).astype(np.float32)
            found[f"b{i}"] = (rng.normal(size=b) * 0.01).astype(np.float32)
        return found

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(7)
        classes = self.layers[-1]
        return [
            (rng.normal(size=(self.batch, self.layers[0])).astype(np.float32),
             rng.integers(0, classes, self.batch).astype(np.int32))
            for _ in range(8)
        ]  # fmt: skip


@dataclass(frozen=True)
class Elementwise:
    """``softmax`` over rows, ``gelu`` or ``tanh`` of a matrix."""

    function: str
    shape: tuple[int, int]

    @property
    def bytes(self) -> float:
        return 8.0 * self.shape[0] * self.shape[1]

    def array(self) -> np.ndarray:
        return np.random.default_rng(0).normal(size=self.shape).astype(np.float32)


CASES = {
    "gemm_64": Gemm(64, 64, 64),
    "gemm_256": Gemm(256, 256, 256),
    "gemm_1024": Gemm(1024, 1024, 1024),
    "gemm_64x784x256": Gemm(64, 784, 256),
    "dense_64x784x256": Gemm(64, 784, 256, constant=True),
    "dense_256": Gemm(256, 256, 256, constant=True),
    "mlp_small": Mlp((784, 256, 128, 10), 64),
    "mlp_large": Mlp((784, 2048, 2048, 10), 256),
    "softmax_1024x1024": Elementwise("softmax", (1024, 1024)),
    "gelu_1024x1024": Elementwise("gelu", (1024, 1024)),
    "tanh_1024x1024": Elementwise("tanh", (1024, 1024)),
}
FAMILIES = {
    "gemm": [name for name, case in CASES.items() if isinstance(case, Gemm)],
    "mlp": ["mlp_small", "mlp_large"],
    "elementwise": [name for name, case in CASES.items() if isinstance(case, Elementwise)],
}
