"""One task has no room left for what others are to read: steps fail everywhere, until it has."""

import sys

import numpy as np

import graphc as gx
from graphc.distribute import DataParallel
from graphc.ir.errors import GraphcError
from graphc.runtime.drivers.host.heap import Heap

with gx.train.Server(gx.train.ClusterSpec.from_environment()) as server:
    allocate = Heap.allocate
    if server.driver.rank == 1:
        Heap.allocate = lambda *_: None
    x = gx.placeholder(gx.float32, [None, 8])
    total = gx.reduce_sum(x, axis=0)
    with gx.Session(server.target, strategy=DataParallel(algorithm="shared")) as session:
        for _ in range(2):
            try:
                session.run(total, {x: np.ones((3, 8))})
            except GraphcError as error:
                sys.stdout.write(f"{str(error).splitlines()[0]}\n")
            Heap.allocate = allocate
        found = session.run(total, {x: np.ones((3, 8))})
        sys.stdout.write(f"then {found.tolist() == [6.0] * 8}\n")
