"""Each framework's way to run a case: a function of nothing that does one iteration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import MOMENTUM, RATE, Elementwise, Gemm, Mlp

Step = Callable[[], Any]


def graphc_step(case: Any, threads: int) -> Step:
    import graphc as gx
    from graphc.backends.cpu.pool import set_num_threads

    set_num_threads(threads)
    build = {Gemm: _graphc_gemm, Mlp: _graphc_mlp, Elementwise: _graphc_elementwise}
    return build[type(case)](gx, case)


def _graphc_gemm(gx: Any, case: Gemm) -> Step:
    a, b, bias = case.arrays()
    x = gx.placeholder(gx.float32, a.shape)
    if case.constant:
        y = gx.nn.relu(gx.matmul(x, gx.constant(b)) + gx.constant(bias))
        run = gx.Session().make_callable(y, [x])
        return lambda: run(a)
    w = gx.placeholder(gx.float32, b.shape)
    run = gx.Session().make_callable(gx.matmul(x, w), [x, w])
    return lambda: run(a, b)


def _graphc_mlp(gx: Any, case: Mlp) -> Step:
    x = gx.placeholder(gx.float32, [case.batch, case.layers[0]])
    y = gx.placeholder(gx.int32, [case.batch])
    parameters = {name: gx.Variable(value) for name, value in case.parameters().items()}
    layers, h = len(parameters) // 2, x
    for i in range(layers):
        h = gx.matmul(h, parameters[f"w{i}"]) + parameters[f"b{i}"]
        h = gx.nn.relu(h) if i < layers - 1 else h
    losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h)
    loss = gx.reduce_mean(losses)
    train = gx.train.MomentumOptimizer(RATE, MOMENTUM).minimize(loss)
    run = gx.Session().make_callable([loss, train], [x, y])
    batches = itertools.cycle(case.batches())
    return lambda: run(*next(batches))[0]


def _graphc_elementwise(gx: Any, case: Elementwise) -> Step:
    value = case.array()
    x = gx.placeholder(gx.float32, value.shape)
    functions = {
        "softmax": gx.nn.softmax,
        "tanh": gx.tanh,
        "gelu": lambda t: 0.5 * t * (1.0 + gx.erf(t * 2**-0.5)),
    }
    run = gx.Session().make_callable(functions[case.function](x), [x])
    return lambda: run(value)


def jax_step(case: Any, threads: int) -> Step:  # noqa: ARG001, JAX sees the affinity mask
    import jax

    build = {Gemm: _jax_gemm, Mlp: _jax_mlp, Elementwise: _jax_elementwise}
    return build[type(case)](jax, case)


def _jax_gemm(jax: Any, case: Gemm) -> Step:
    a, b, bias = (jax.numpy.asarray(v) for v in case.arrays())
    if case.constant:
        dense = jax.jit(lambda x: jax.nn.relu(x @ b + bias))
        return lambda: dense(a).block_until_ready()
    product = jax.jit(lambda x, y: x @ y)
    return lambda: product(a, b).block_until_ready()


def _jax_mlp(jax: Any, case: Mlp) -> Step:
    from functools import partial

    jnp, layers = jax.numpy, len(case.layers) - 1

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        for i in range(layers):
            x = x @ p[f"w{i}"] + p[f"b{i}"]
            x = jax.nn.relu(x) if i < layers - 1 else x
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(p: Any, m: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(p, x, y)
        m = jax.tree.map(lambda a, g: MOMENTUM * a + g, m, grads)
        return jax.tree.map(lambda a, b: a - RATE * b, p, m), m, loss

    p = {name: jnp.asarray(value) for name, value in case.parameters().items()}
    state = [p, jax.tree.map(jnp.zeros_like, p)]
    batches = itertools.cycle(case.batches())

    def run() -> Any:
        state[0], state[1], loss = step(state[0], state[1], *next(batches))
        return loss.block_until_ready()

    return run


def _jax_elementwise(jax: Any, case: Elementwise) -> Step:
    value = jax.numpy.asarray(case.array())
    functions = {
        "softmax": jax.nn.softmax,
        "tanh": jax.numpy.tanh,
        "gelu": lambda t: jax.nn.gelu(t, approximate=False),
    }
    run = jax.jit(functions[case.function])
    return lambda: run(value).block_until_ready()


def torch_step(case: Any, threads: int) -> Step:
    import torch

    torch.set_num_threads(threads)
    build = {Gemm: _torch_gemm, Mlp: _torch_mlp, Elementwise: _torch_elementwise}
    return build[type(case)](torch, case)


def _torch_gemm(torch: Any, case: Gemm) -> Step:
    a, b, bias = (torch.from_numpy(v) for v in case.arrays())

    def run() -> Any:
        with torch.inference_mode():
            return torch.relu(torch.addmm(bias, a, b)) if case.constant else a @ b

    return run


def _torch_mlp(torch: Any, case: Mlp) -> Step:
    layers = len(case.layers) - 1
    p = {n: torch.from_numpy(v).requires_grad_(True) for n, v in case.parameters().items()}
    optimizer = torch.optim.SGD(p.values(), RATE, MOMENTUM, fused=True)
    batches = itertools.cycle(case.batches())

    def run() -> Any:
        x, y = next(batches)
        h = torch.from_numpy(x)
        optimizer.zero_grad(set_to_none=True)
        for i in range(layers):
            h = torch.addmm(p[f"b{i}"], h, p[f"w{i}"])
            h = torch.relu(h) if i < layers - 1 else h
        loss = torch.nn.functional.cross_entropy(h, torch.from_numpy(y).long())
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def _torch_elementwise(torch: Any, case: Elementwise) -> Step:
    value = torch.from_numpy(case.array())
    functions = {
        "softmax": lambda t: torch.softmax(t, -1),
        "tanh": torch.tanh,
        "gelu": torch.nn.functional.gelu,
    }
    function = functions[case.function]

    def run() -> Any:
        with torch.inference_mode():
            return function(value)

    return run


def peak_step(case: Any, threads: int) -> Step:  # noqa: ARG001, the peak has no case
    """The machine's limit: fused multiply-adds without memory; see ``limits``."""
    from limits import fma_step

    return fma_step(threads)


CONTESTANTS: dict[str, Callable[[Any, int], Step]] = {
    "graphc": graphc_step,
    "jax": jax_step,
    "torch": torch_step,
    "peak": peak_step,
}


def result_of(step: Step) -> np.ndarray:
    """One iteration's result, to be checked against the others'."""
    return np.asarray(step(), np.float64)
