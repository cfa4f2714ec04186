"""Asks for reductions over memory that the workers do not share."""

import sys

import graphc as gx
from graphc.distribute import DataParallel
from graphc.ir.errors import ClusterError

with gx.train.Server(gx.train.ClusterSpec.from_environment()) as server:
    x = gx.placeholder(gx.float32, [None])
    with gx.Session(server.target, strategy=DataParallel(algorithm="shared")) as session:
        try:
            session.run(gx.reduce_sum(x), {x: [1.0]})
        except ClusterError as error:
            sys.stdout.write(f"refused: {str(error).partition('cannot be had: ')[2]}\n")
