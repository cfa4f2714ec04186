"""NVIDIA GPUs: schedules from ``ir.compute`` to loops, loops to CUDA C, CUDA C to machine code.

Nothing here needs a GPU or a driver to be imported, to print code or to compile it.
"""
