"""Gradients of random graphs, compiled and run, are those of PyTorch's autograd."""

import numpy as np
import pytest

import graphc as gx
from tests.random_graphs import graphc_ops, random_recipe, torch_ops


@pytest.mark.random_cases(quick=10, soak=200)
def test_gradients_of_random_graphs_are_those_of_torch(case_seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is in extra bench")
    recipe, values = random_recipe(case_seed)
    leaves = [gx.placeholder(gx.float64, v.shape) for v in values]
    grads = gx.gradients(recipe.build(graphc_ops(), leaves), leaves)
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    recipe.build(torch_ops(torch), theirs).backward()
    with gx.Session() as session:
        feeds = dict(zip(leaves, values, strict=True))
        found = session.run(
            [x * 0.0 if g is None else g for x, g in zip(leaves, grads, strict=True)], feeds
        )
    for ours, other in zip(found, theirs, strict=True):
        wanted = np.zeros(ours.shape) if other.grad is None else other.grad.numpy()
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-12)
