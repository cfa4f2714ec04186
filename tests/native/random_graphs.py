"""Random graphs, the same for the same seed."""

from tests.native.graph_maker import LARGE, SMALL, Maker, RandomGraph
from tests.native.random_steps import STEPS

__all__ = ["LARGE", "SMALL", "RandomGraph", "random_graph"]


def random_graph(seed, size, sizes=SMALL):
    """A graph of about ``size`` steps, each an op or a few; ``LARGE`` sizes keep threads busy."""
    maker = Maker(seed, sizes)
    with maker.made.graph.as_default():
        maker.sources()
        for _ in range(size):
            maker.grow(maker.rng.choice(STEPS))
    return maker.made
