"""The clients give one variable different shapes: whoever comes second is told."""

import sys

import graphc as gx

server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=30)
if server.job_name == "ps":
    server.join()
    sys.exit()

with gx.device("/job:ps/task:0"):
    shape = [2 + server.task_index]
    shared = gx.get_variable("shared", shape, initializer=gx.zeros_initializer())
with gx.Session(server.target) as session:
    try:
        session.run(shared)
    except gx.StateError as error:
        print("refused", "'shared'" in str(error), "/job:ps/task:0" in str(error))
