"""Runs functions in loops with NumPy: slow and right, and strict about what a schedule may not do.

It shares no code with the printers. An access out of bounds, a race between parallel iterations,
threads that part at a barrier: each is an error here, though a machine may let it pass. Memory
that nobody has written holds NaN or extreme values.
"""

from graphc.backends.loops.interpreter.machine import run

__all__ = ["run"]
