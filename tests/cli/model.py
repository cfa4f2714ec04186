"""What the tests of the command line compile."""

import numpy as np

import graphc as gx


def build():
    x = gx.placeholder(gx.float32, [None, 4], name="x")
    w = gx.get_variable("w", initializer=np.arange(12, dtype=np.float32).reshape(4, 3))
    return gx.matmul(x, w, name="y"), [x]


def trained():
    fetches, feeds = build()
    session = gx.Session()
    session.run(gx.global_variables_initializer())
    session.run(gx.assign(gx.trainable_variables()[0], np.ones((4, 3), np.float32)))
    return {"fetches": {"y": fetches}, "feeds": feeds, "session": session}


def step():
    x = gx.placeholder(gx.float32, [None, 4], name="x")
    labels = gx.placeholder(gx.int32, [None], name="labels")
    w = gx.get_variable("w", initializer=np.zeros((4, 3), np.float32))
    loss = gx.reduce_mean(
        gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=gx.matmul(x, w))
    )
    return [gx.train.GradientDescentOptimizer(0.1).minimize(loss), loss], [x, labels]


def wrong_shape():
    x = gx.placeholder(gx.float32, [None, 4], name="x")
    return gx.matmul(x, gx.zeros([5, 3])), [x]


def fails():
    return 1 // 0


def returns_nothing():
    build()


no_function = 3
