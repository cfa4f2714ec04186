"""A parameter server that opens a session with a strategy is told that it has no part in it."""

import sys

import graphc as gx

server = gx.train.Server(gx.train.ClusterSpec.from_environment(), timeout=30)
if server.job_name != "ps":
    server.join()
    sys.exit()
try:
    gx.Session(server.target, strategy=gx.distribute.DataParallel())
except gx.ClusterError as error:
    print(error)
