"""A server compiles for one client what takes until another one has made a few steps there."""

import sys
import time

import graphc as gx
from graphc.runtime.engine import Engine

MEANWHILE = 5
compile_ = Engine._compile


def slowly(self, part):
    """Compile; what is slow, after so many steps of the other client, or after a long time."""
    counter = self.store.arrays.get("counter")
    if "slow" in part.text and counter is not None:
        wanted, end = float(counter) + MEANWHILE, time.monotonic() + 20
        while counter < wanted and time.monotonic() < end:
            time.sleep(0.001)
        print("steps meanwhile", bool(counter >= wanted), flush=True)
    return compile_(self, part)


cluster = gx.train.ClusterSpec.from_environment()
server = gx.train.Server(cluster, timeout=60)
if server.job_name == "ps":
    Engine._compile = slowly
    server.join()
    sys.exit()

with gx.device("/job:ps/task:0"):
    counter = gx.get_variable("counter", [], initializer=gx.zeros_initializer())
    ready = gx.get_variable("ready", [], initializer=gx.zeros_initializer())
    slow = gx.add(ready, 1.0, name="slow")
    add, set_ready = counter.assign_add(1.0), ready.assign_add(1.0)
with gx.Session(server.target) as session:
    if server.is_chief:
        session.run([add, set_ready])
        while session.run([add, ready])[1] < 2:
            pass
    else:
        while session.run(ready) < 1:
            time.sleep(0.001)
        session.run(slow)
        session.run(set_ready)
