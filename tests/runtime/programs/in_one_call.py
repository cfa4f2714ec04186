"""Sessions whose reductions are made in one call: in every worker, or in one if there is a server.

The first argument is the algorithm, MPI's own or that over memory that the workers share.
"""

import sys

import numpy as np

import graphc as gx
from graphc.distribute import DataParallel
from graphc.ir.errors import DataError
from graphc.train import ClusterSpec, Server

cluster = ClusterSpec.from_environment()
server = Server(cluster)
one_feeds = "ps" in cluster.jobs
members = sum(job == "worker" for job, _ in cluster.tasks)
first = cluster.size - members
mine = server.driver.rank - first
BAD = 100
counts = {"right": 0, "refused": 0}


def take(session, fetches, x, batches):
    """Take a step on each batch, of which this worker feeds its part or all."""
    whole = np.concatenate(batches)
    rows = whole if one_feeds else batches[mine]
    try:
        total, picked, largest = session.run(fetches, {x: rows})
    except DataError:
        counts["refused"] += BAD in whole
    else:
        wanted = (whole.sum(), np.arange(5.0)[whole].sum(), whole.max())
        counts["right"] += (total, picked, largest) == wanted


if one_feeds and server.driver.rank != first:
    server.join()
else:
    x = gx.placeholder(gx.int32, [None])
    total = gx.reduce_sum(x)
    rows = gx.gather(gx.constant(np.arange(5.0)), gx.minimum(x, total))
    fetches = [total, gx.reduce_sum(rows), gx.reduce_max(x)]
    rng = np.random.default_rng(7)
    strategy = DataParallel(algorithm=sys.argv[1], bucket_bytes=1)
    for _ in range(4):  # communicators are claimed more often than there are
        with (
            gx.Session(target=server.target, strategy=strategy) as one,
            gx.Session(target=server.target, strategy=strategy) as other,
        ):
            for step in range(4):
                batches = [rng.integers(0, 5, 1 + step + n).astype(np.int32)
                           for n in range(members)]  # fmt: skip
                if step == 1:
                    batches[rng.integers(members)][0] = BAD
                take(one, fetches, x, batches)
                take(other, fetches, x, batches)
    left = len(server.driver._passing.under_way)
    right, refused = counts.values()
    sys.stdout.write(f"task {server.driver.rank}: right {right}, refused {refused}, left {left}\n")
    if not one_feeds:
        server.join()
server.close()
