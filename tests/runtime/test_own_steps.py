"""Where every worker has a session, a step that needs nobody else is one worker's own."""

import numpy as np

import graphc as gx
from tests.runtime.cluster import SimulatedCluster


def test_one_member_may_predict_and_fetch_variables_alone():
    x = gx.placeholder(gx.float32, [None, 2], name="x")
    weights = gx.get_variable("weights", [2, 3])
    predicted = gx.matmul(x, weights)
    step = gx.train.GradientDescentOptimizer(0.1).minimize(gx.reduce_mean(gx.square(predicted)))
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)

    def script_of(member):
        def script(session):
            fed = {x: rows[member::2]}
            yield from session.run([], [step], fed)
            found = []
            if member == 0:  # the other one takes no such steps
                (before,) = yield from session.run([weights])
                (values,) = yield from session.run([predicted], feeds={x: rows})
                found = [before, values]
            yield from session.run([], [step], fed)
            return found

        return script

    for strategy in (gx.distribute.DataParallel(), gx.distribute.DataParallel(reproducible=2)):
        cluster = SimulatedCluster({"worker": 2})
        scripts = [cluster.sharing(rank, script_of(rank), strategy) for rank in range(2)]
        (weights_then, values), nothing = cluster.run(*scripts)
        assert nothing == []
        np.testing.assert_allclose(values, rows @ weights_then, rtol=1e-6)
