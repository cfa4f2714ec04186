"""Sessions with a strategy on simulated workers: one feeds for all, or each its own rows."""

from dataclasses import dataclass, field

import numpy as np

from graphc.runtime.rows import blocks, divided
from graphc.runtime.sharding import WHOLE
from tests.runtime.cluster import SimulatedCluster


@dataclass(frozen=True)
class Call:
    """What is fetched and run in one step, and what is fed: arrays of the whole batch."""

    fetches: tuple = ()
    targets: tuple = ()
    feeds: dict = field(default_factory=dict)


def workers(count, seed=0, network=None, variables=None, share_memory=None):
    """A cluster of workers, of which the first has values for ``variables`` (arrays by handle).

    They share memory if it is said, or else if the seed is odd.
    """
    shared = seed % 2 == 1 if share_memory is None else share_memory
    cluster = SimulatedCluster({"worker": ["a"] * count}, seed, network, share_memory=shared)
    store = cluster.engines[0].store
    for handle, value in (variables or {}).items():
        name = handle.node.attrs["shared_name"]
        store.allocate(name, handle.type)[...] = value
        store.initialized |= {name}
    return cluster


def one_feeds(cluster, strategy, calls):
    """What the first worker fetches in each step; the others have joined."""
    cluster.join(*range(1, cluster.spec.size))

    def script(session):
        results = []
        for call in calls:
            values = yield from session.run(call.fetches, call.targets, call.feeds)
            results.append(values)
        yield from session.close()
        return results

    (results,) = cluster.run(cluster.sharing(0, script, strategy))
    assert_alike(cluster)
    return results


def each_feeds(cluster, strategy, calls, counts=None):
    """What all workers fetch together; ``counts(rows)``: how many rows each of them feeds."""
    members = range(cluster.spec.size)
    counts = counts or (lambda rows: even(rows, len(members), strategy.reproducible))

    def script(member):
        def steps(session):
            results = []
            for call in calls:
                feeds = own_rows(call.feeds, strategy, member, counts)
                values = yield from session.run(call.fetches, call.targets, feeds)
                results.append((values, session.split))
            yield from session.close()
            return results

        return steps

    found = cluster.run(*[cluster.sharing(m, script(m), strategy) for m in members])
    assert_alike(cluster)
    return [together(values) for values in zip(*found, strict=True)]


def even(rows, members, shards=None):
    """As many rows for each member as it has of as many logical shards."""
    bounds = divided(rows, shards or members)
    ends = [bounds.of(block) for block in blocks(shards or members, members)]
    return [last - first for first, last in ends]


def own_rows(feeds, strategy, member, counts):
    """One member's part of what is fed."""
    found = {}
    for tensor, array in feeds.items():
        axis, found[tensor] = strategy.axis_of(tensor), array
        if axis is not None:
            bounds = np.cumsum([0, *counts(array.shape[axis])])
            rows = range(bounds[member], bounds[member + 1])
            found[tensor] = np.take(array, rows, axis)
    return found


def together(found):
    """What members fetched, one behind the other, or equal in all of them."""
    values, (split, *_) = zip(*found, strict=True)
    parts = zip(*values, strict=True)
    return [joined(arrays, axis) for arrays, axis in zip(parts, split, strict=True)]


def joined(parts, axis):
    if axis != WHOLE:
        return np.concatenate(parts, axis)
    for part in parts:
        assert_same_bits(part, parts[0])
    return parts[0]


def assert_same_bits(a, b):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes(), (a, b)


def assert_alike(cluster):
    """Variables have the same bits in all workers, and nothing is under way."""
    first, *others = [engine.store for engine in cluster.engines]
    for store in others:
        for name in store.initialized:
            assert_same_bits(store.arrays[name], first.arrays[name])
    assert not left_over(cluster.simulation)


def left_over(simulation):
    """What is under way on any channel."""
    channels = [*simulation._arrived.values(), *simulation._expected.values()]
    return [ticket for channel in channels for ticket in channel]
