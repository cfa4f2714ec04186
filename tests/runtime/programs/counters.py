"""Two clients add to one variable on a server, as often as they can: nothing gets lost."""

import sys
import time

import graphc as gx

cluster = gx.train.ClusterSpec.from_environment()
server = gx.train.Server(cluster, timeout=30)
if server.job_name == "ps":
    server.join()
    sys.exit()

with gx.device("/job:ps/task:0"):
    counter = gx.get_variable("counter", [], initializer=gx.zeros_initializer())
    arrived = gx.get_variable("arrived", [], initializer=gx.zeros_initializer())
with gx.device(f"/job:worker/task:{server.task_index}"):
    one = gx.placeholder(gx.float32, [])
with gx.Session(server.target) as session:
    add = session.make_callable(counter.assign_add(one).node, [one])
    for _ in range(200):
        add(1.0)
    session.run(arrived.assign_add(1.0))
    while server.is_chief and session.run(arrived) < 2:
        time.sleep(0.001)
    if server.is_chief:
        print("counter", session.run(counter))
