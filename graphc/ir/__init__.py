"""The graph: nodes, tensors, types, dimensions, devices and targets.

Everything else is built on this package, and it imports nothing of graphc but itself.
"""
