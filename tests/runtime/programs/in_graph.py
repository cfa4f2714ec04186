"""One client: variables on a server, half of each batch for each of two workers; one bad batch."""

import sys

import numpy as np

import graphc as gx

server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=30)
if not server.is_chief:
    server.join()
    sys.exit()

x, y = gx.placeholder(gx.float32, [None, 4]), gx.placeholder(gx.int32, [None])
with gx.device("/job:ps/task:0"):
    w, b = gx.Variable(gx.zeros([4, 3])), gx.Variable(gx.zeros([3]))
parts = []
halves = zip(gx.split(x, 2, axis=0), gx.split(y, 2, axis=0), strict=True)
for task, (rows, labels) in enumerate(halves):
    with gx.device(f"/job:worker/task:{task}"):
        logits = gx.matmul(rows, w) + b
        losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        parts.append(gx.reduce_mean(losses))
loss = (parts[0] + parts[1]) / 2.0
step = gx.train.GradientDescentOptimizer(0.5).minimize(loss)

rng = np.random.default_rng(0)
images = rng.normal(size=(8, 4)).astype(np.float32)
labels = rng.integers(0, 3, 8).astype(np.int32)
with gx.Session(server.target) as session:
    train = session.make_callable([loss, step], [x, y])
    losses = [float(train(images, labels)[0]) for _ in range(20)]
    before = session.run(w)
    for bad in (1, 6):
        wrong = labels.copy()
        wrong[bad] = 9
        try:
            train(images, wrong)
        except gx.DataError as error:
            print("refused by", str(error).split()[-1])
    print("unchanged", np.array_equal(before, session.run(w)))
    losses += [float(train(images, labels)[0]) for _ in range(20)]
    print("losses", *(f"{value:.6f}" for value in losses))
