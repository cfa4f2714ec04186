"""The checker sees what goes on in reductions: a plan that could get stuck is refused."""

import numpy as np
import pytest

import graphc as gx
from graphc.compiler.collectives import Plan, Receive, Send, Wait
from graphc.runtime import planned
from tests.runtime.cluster import SimulatedCluster


def greedy(member, members, elements):
    """Each waits for what it sends before it is ready to receive."""
    peer = 1 - member
    moves = (
        Send(member, peer, 0, 0, elements), Wait(member),
        Receive(peer, peer, 0, 0, elements), Wait(peer),
    )  # fmt: skip
    return Plan("greedy", member, members, elements, 1, 0, 2, moves)


def one_sided(member, members, elements):
    """Who is told nothing waits for ever."""
    moves = (Receive(0, 0, 0, 0, elements), Wait(0)) if member else ()
    return Plan("one_sided", member, members, elements, 1, 0, 1, moves)


@pytest.mark.parametrize(
    ("plan", "message"), [(greedy, "wait in a circle"), (one_sided, "nobody sends loss")]
)
@pytest.mark.parametrize("every_worker", [False, True])
def test_a_reduction_that_could_get_stuck_is_refused(plan, message, every_worker, monkeypatch):
    monkeypatch.setitem(planned.ALGORITHMS, "ring", plan)
    x = gx.placeholder(gx.float32, [None, 2])
    loss = gx.reduce_sum(x, name="loss")

    def script(session):
        yield from session.run([loss], feeds={x: np.ones((4, 2), np.float32)})

    strategy = gx.distribute.DataParallel(algorithm="ring")
    cluster = SimulatedCluster({"worker": 2})
    if every_worker:
        clients = [cluster.sharing(rank, script, strategy) for rank in range(2)]
    else:
        cluster.join(1)
        clients = [cluster.sharing(0, script, strategy)]
    with pytest.raises(gx.PlanError, match=message):
        cluster.run(*clients)
