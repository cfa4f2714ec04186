"""Reductions over members of a cluster, compiled to a plan of moves for each.

``choose`` takes the cheapest of ``direct``, ``scattered``, ``ring``, ``library``, which is MPI's
own, and ``shared``, over memory that all members see; ``tree`` gives the same bits for any number
of members.
"""

from graphc.compiler.collectives.choice import Choice, choose
from graphc.compiler.collectives.cost import ONE_HOST, Costs
from graphc.compiler.collectives.direct import direct
from graphc.compiler.collectives.library import library, shared
from graphc.compiler.collectives.moves import (
    SCRATCH,
    AllReduce,
    Combine,
    Copy,
    Move,
    Plan,
    Receive,
    Send,
    Wait,
)
from graphc.compiler.collectives.ring import ring
from graphc.compiler.collectives.scattered import scattered
from graphc.compiler.collectives.tree import tree

__all__ = [
    "ONE_HOST", "SCRATCH", "AllReduce", "Choice", "Combine", "Copy", "Costs", "Move", "Plan",
    "Receive", "Send", "Wait", "choose", "direct", "library", "ring", "scattered", "shared", "tree",
]  # fmt: skip
