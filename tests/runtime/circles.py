"""Graphs whose tasks hand on what they have to the next in a ring, and programs that get stuck."""

import random

import numpy as np

import graphc as gx
from graphc.backends.loops.instructions import Receive, Send, Wait, instructions_of


def spec_of(tasks):
    return {"worker": ["localhost"] * tasks}


def ring(seed, tasks):
    """What is fed, what is fetched, and what that should be if 1 is fed.

    Each task has a number, and adds that of the task before it in a ring through all.
    """
    rng = random.Random(seed)
    order = rng.sample(range(tasks), tasks)
    fed = gx.placeholder(gx.float32, [2])
    own, sums = {}, {}
    for task in rng.sample(range(tasks), tasks):
        with gx.device(f"/job:worker/task:{task}"):
            own[task] = fed * float(task + 2)
    for place, task in enumerate(order):
        with gx.device(f"/job:worker/task:{task}"):
            before = order[place - 1]
            sums[task] = own[task] - own[before]
            for _ in range(rng.randint(0, 2)):
                sums[task] = gx.sqrt(sums[task] * sums[task])
    wanted = [abs(task - order[order.index(task) - 1]) for task in range(tasks)]
    return fed, [gx.abs(sums[task]) for task in range(tasks)], np.repeat(wanted, 2)


def greedy(program):
    """Instructions in which whatever comes is waited for before anything computed is sent."""
    instructions = list(instructions_of(program))
    received = {i.transfer for i in instructions if isinstance(i, Receive)}
    waits = [
        n for n, i in enumerate(instructions) if isinstance(i, Wait) and i.transfer in received
    ]
    last = max(waits, default=-1)
    head, tail = instructions[: last + 1], instructions[last + 1 :]
    moved = [i for i in head if isinstance(i, Send) and i.transfer.call > 0]
    return (*(i for i in head if i not in moved), *moved, *tail)
