"""Data parallelism by allreduce: every worker has all variables, and some rows of each batch.

    graphc launch cluster.json allreduce.py [--reproducible SHARDS]

with a cluster.json such as {"worker": 3}. The graph is that of one process; the session is told
how it is run. With --reproducible the weights have the same bits for any number of workers.
"""

import argparse
import hashlib
import sys
import time

import model

import graphc as gx

parser = argparse.ArgumentParser()
parser.add_argument("--reproducible", type=int, metavar="SHARDS")
options = parser.parse_args()

server = gx.train.Server(gx.train.ClusterSpec.from_environment())
if not server.is_chief:
    server.join()  # this task computes the rows that the chief sends it
    sys.exit()

images, labels = model.inputs()
logits = model.logits_of(images)
step = model.training(model.loss_of(logits, labels))
accuracy = model.accuracy_of(logits, labels)

train, test = model.load()
strategy = gx.distribute.DataParallel(reproducible=options.reproducible)
with gx.Session(server.target, strategy=strategy) as session:
    run = session.make_callable(step, [images, labels])
    start, steps = time.perf_counter(), 0
    for batch in train.batches():
        run(*batch)
        steps += 1
    seconds = time.perf_counter() - start
    right = session.run(accuracy, {images: test.images, labels: test.labels})
    weights = session.run([variable.value() for variable in gx.trainable_variables()])
print(f"{right:.1%} of the test images are recognised; {steps} steps in {seconds:.2f} s")
print("weights", hashlib.sha256(b"".join(value.tobytes() for value in weights)).hexdigest()[:16])
