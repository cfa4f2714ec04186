"""Sessions that hooks watch."""

import pytest

import graphc as gx


def counting():
    step = gx.train.create_global_step()
    total = gx.Variable(0.0, name="total")
    with gx.control_dependencies([total.assign_add(2.0)]):
        return step.assign_add(1), total


class Recorder(gx.train.SessionRunHook):
    def __init__(self, fetches=None, feeds=None):
        self.calls, self.values, self.args = [], [], gx.train.SessionRunArgs(fetches, feeds)

    def begin(self):
        self.calls.append("begin")

    def after_create_session(self, session, coord=None):
        self.calls.append("created")

    def before_run(self, run_context):
        self.calls.append("before")
        return self.args

    def after_run(self, run_context, run_values):
        self.calls.append("after")
        self.values.append(run_values.results)

    def end(self, session):
        self.calls.append("end")


def test_it_stops_at_the_step_that_a_hook_names():
    train, total = counting()
    with gx.train.MonitoredTrainingSession(hooks=[gx.train.StopAtStepHook(last_step=5)]) as session:
        runs = 0
        while not session.should_stop():
            session.run(train)
            runs += 1
        assert runs == 5
        assert session.run(total) == 10.0


def test_steps_are_counted_from_where_they_are():
    train, _ = counting()
    with gx.train.MonitoredTrainingSession(hooks=[gx.train.StopAtStepHook(num_steps=3)]) as session:
        for _ in range(3):
            assert not session.should_stop()
            session.run(train)
        assert session.should_stop()


def test_hooks_are_called_in_order_and_fetch_and_feed():
    x = gx.placeholder(gx.float32, [])
    y = gx.placeholder(gx.float32, [])
    hook, chiefs = Recorder([x + y], {y: 2.0}), Recorder()
    with gx.train.MonitoredTrainingSession(hooks=[hook], chief_only_hooks=[chiefs]) as session:
        assert session.run(x * y, {x: 3.0}) == 6.0
    assert hook.values == [[5.0]]
    assert chiefs.values == [None]
    assert hook.calls == chiefs.calls == ["begin", "created", "before", "after", "end"]
    assert session.should_stop()


def test_hooks_of_the_chief_are_not_for_others():
    hook = Recorder()
    with gx.train.MonitoredTrainingSession(is_chief=False, chief_only_hooks=[hook]):
        pass
    assert hook.calls == []


def test_an_error_ends_the_session_without_end():
    hook = Recorder()
    with (
        pytest.raises(ZeroDivisionError),
        gx.train.MonitoredTrainingSession(hooks=[hook]) as session,
    ):
        _ = 1 / 0
    assert hook.calls == ["begin", "created"]
    with pytest.raises(gx.GraphcError, match="closed"):
        session.run(gx.constant(1))


def test_refusals():
    with pytest.raises(gx.GraphError, match=r"(?s)one of them.*test_monitored"):
        gx.train.StopAtStepHook()
    with pytest.raises(gx.GraphError, match="needs a global step"):
        gx.train.MonitoredTrainingSession(hooks=[gx.train.StopAtStepHook(last_step=1)])
    x = gx.placeholder(gx.float32, [])
    with (
        gx.train.MonitoredTrainingSession(hooks=[Recorder(None, {x: 1.0})]) as session,
        pytest.raises(gx.GraphError, match=r"Recorder feeds .* which is fed already"),
    ):
        session.run(x, {x: 1.0})
