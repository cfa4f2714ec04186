"""Which nodes become one kernel: the analysis of ``fuse``, and the graph that follows from it.

``roles`` says how ops read their operands, ``levels`` where values have to be in memory anyway,
``joining`` whether a node may join a group, ``grouping`` walks the graph and asks, ``updates``
collects what optimizers do, and ``bodies`` writes the result.
"""
