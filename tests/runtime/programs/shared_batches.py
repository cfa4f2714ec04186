"""50 steps with dropout and Adam on a batch that is shared: bits of the weights and of the losses.

Worker 0 feeds for all, or each its own rows ("each"). One batch in between has a bad label.
"""

import hashlib
import sys

import numpy as np

import graphc as gx
from graphc.runtime.rows import blocks, divided

SHARDS, FEATURES, CLASSES = 12, 6, 5
SIZES = [24] * 49 + [17]
"""The last batch is ragged."""

cluster = gx.train.ClusterSpec.from_environment()
server = gx.train.Server(cluster, timeout=30)
each, count = "each" in sys.argv, cluster.size
if not each and not server.is_chief:
    server.join()
    sys.exit()

x = gx.placeholder(gx.float32, [None, FEATURES], name="x")
y = gx.placeholder(gx.int32, [None], name="y")
h = gx.relu(gx.matmul(x, gx.get_variable("w1", [FEATURES, 16])) + gx.get_variable("b1", [16]))
logits = gx.matmul(gx.nn.dropout(h, 0.2, seed=1), gx.get_variable("w2", [16, CLASSES]))
loss = gx.reduce_mean(gx.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
step = gx.train.AdamOptimizer(0.01).minimize(loss)


def batches():
    """This worker's rows of each batch."""
    rng = np.random.default_rng(0)
    for rows in SIZES:
        images = rng.normal(size=(rows, FEATURES)).astype(np.float32)
        labels = rng.integers(0, CLASSES, rows).astype(np.int32)
        first, last = 0, rows
        if each:
            first, last = divided(rows, SHARDS).of(blocks(SHARDS, count)[server.task_index])
        yield images[first:last], labels[first:last]


def refused(session, images, labels):
    """Whether a bad label on the last worker is refused, and the task that is named."""
    labels = labels.copy()
    if not each or server.task_index == count - 1:
        labels[-1] = CLASSES
    try:
        session.run(step, {x: images, y: labels})
    except gx.DataError as error:
        return f"/job:worker/task:{count - 1}" in str(error)
    return False


strategy, digest = gx.distribute.DataParallel(reproducible=SHARDS), hashlib.sha256()
with gx.train.MonitoredTrainingSession(server.target, strategy=strategy) as session:
    for number, (images, labels) in enumerate(batches()):
        if number == 20:
            right = refused(session, images, labels)
        value, _ = session.run([loss, step], {x: images, y: labels})
        digest.update(value.tobytes())
    for weights in session.run(gx.trainable_variables()):
        digest.update(weights.tobytes())
print(f"{digest.hexdigest()[:16]} {right}")
