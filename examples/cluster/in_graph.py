"""In-graph replication: one client, one graph with a part of each batch on every worker.

    graphc launch cluster.json in_graph.py

with a cluster.json such as {"ps": 1, "worker": 2}. Variables are on the parameter server. A step
is that of the whole batch.
"""

import sys
import time

import model

import graphc as gx

cluster = gx.train.ClusterSpec.from_environment()
server = gx.train.Server(cluster)
if not server.is_chief:
    server.join()  # this task computes what the chief's graph puts here
    sys.exit()

images, labels = model.inputs()
parts = []
for task, rows in enumerate(gx.split(images, cluster.num_tasks("worker"))):
    worker = f"/job:worker/task:{task}"
    with gx.device(gx.train.replica_device_setter(cluster=cluster, worker_device=worker)):
        parts.append(model.logits_of(rows))
logits = gx.concat(parts, 0)
step = model.training(model.loss_of(logits, labels))
accuracy = model.accuracy_of(logits, labels)

train, test = model.load()
with gx.Session(server.target) as session:
    run = session.make_callable(step, [images, labels])
    start, steps = time.perf_counter(), 0
    for batch in train.batches():
        run(*batch)
        steps += 1
    seconds = time.perf_counter() - start
    right = session.run(accuracy, {images: test.images, labels: test.labels})
print(f"{right:.1%} of the test images are recognised; {steps} steps in {seconds:.2f} s")
