"""Between-graph replication: every worker is a client with a graph and rows of its own.

    graphc launch cluster.json between_graph.py

with a cluster.json such as {"ps": 1, "worker": 2}. They share the variables of the parameter
server, and update them whenever they have a gradient: no worker waits for another.
"""

import sys
import time

import model

import graphc as gx

cluster = gx.train.ClusterSpec.from_environment()
server = gx.train.Server(cluster)
if server.job_name == "ps":
    server.join()  # until all workers are done
    sys.exit()

worker = f"/job:worker/task:{server.task_index}"
with gx.device(gx.train.replica_device_setter(cluster=cluster, worker_device=worker)):
    images, labels = model.inputs()
    logits = model.logits_of(images)
    step = model.training(model.loss_of(logits, labels))
    accuracy = model.accuracy_of(logits, labels)

train, test = model.load()
own = slice(server.task_index, None, cluster.num_tasks("worker"))
train = model.Data(train.images[own], train.labels[own])
with gx.train.MonitoredTrainingSession(server.target, is_chief=server.is_chief) as session:
    run = session.make_callable(step, [images, labels])
    start, steps = time.perf_counter(), 0
    for batch in train.batches():
        run(*batch)
        steps += 1
    seconds = time.perf_counter() - start
    if server.is_chief:
        right = session.run(accuracy, {images: test.images, labels: test.labels})
        print(
            f"{right:.1%} of the test images are recognised; {steps} own steps in {seconds:.2f} s"
        )
