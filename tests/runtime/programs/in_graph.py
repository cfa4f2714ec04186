"""One client: variables on a server, half of each batch for each of two workers; one bad batch."""

import os
import sys

import numpy as np

import graphc as gx
from tests.runtime.replicated import batch, replicated

cluster = gx.train.ClusterSpec.from_environment()
if "--spawn" in sys.argv:
    server = gx.train.Server.spawn(cluster, timeout=30, mpiexec=os.environ.get("MPIEXEC"))
else:
    server = gx.train.Server(cluster, timeout=30)
if not server.is_chief:
    server.join()
    sys.exit()

x, y, w, loss, step = replicated()
images, labels = batch(np.random.default_rng(0))
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
