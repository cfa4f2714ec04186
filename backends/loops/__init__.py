"""Loops: the scheduled, target-near form of a kernel that all code generators share.

``graphc.ir.compute`` says what a kernel computes, loops say how: in which order, in which memory,
with which vectors. Schedules rewrite the first into the second; printers turn loops into LLVM IR
or CUDA C and decide nothing.
"""
