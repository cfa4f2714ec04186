"""Tasks of a ring that all wait before they send: refused, and stuck if nobody looks."""

import os
import sys

import graphc as gx
from graphc.runtime import engine, master
from tests.runtime.circles import greedy, ring

engine.instructions_of = greedy
server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=2)
if not server.is_chief:
    server.join()
    sys.exit()

fed, sums, _ = ring(int(os.environ["SEED"]), server.cluster.size)
with gx.Session(server.target) as session:
    try:
        session.run(sums, {fed: [1, 1]})
    except gx.PlanError as error:
        print("refused", str(error).count("waits for /job:worker"))
    master.check_plan = lambda *_: None
    try:
        session.run(sums, {fed: [1, 1]})
    except gx.ClusterError as error:
        print("stuck", str(error).splitlines()[0])
