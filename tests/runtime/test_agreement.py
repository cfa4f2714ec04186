"""What a prepared writer tells those that ask: not before it can hear no other verdict."""

from types import SimpleNamespace

import pytest

from graphc.runtime.agreement import Agreement, Held
from graphc.runtime.decisions import Decisions, State
from graphc.runtime.messages import Inquire, Lost, Standing

CLIENT = (5, 1)
WRITERS = (0, 1, 2)
STEP = 7


@pytest.fixture
def agreement():
    """That of task 1, where a step of the client is prepared."""
    made = Agreement(1, Decisions(), seconds=1.0)
    loaded = SimpleNamespace(part=SimpleNamespace(writers=WRITERS))
    step = SimpleNamespace(loaded=loaded, stop=lambda: iter(()))
    made.held[CLIENT] = Held(STEP, step, State.PREPARED)
    return made


def told(role):
    """Whom a role tells how the step stands."""
    found = [effect for effect in role if isinstance(effect.message, Standing)]
    return [(effect.to, State(effect.message.state)) for effect in found]


def asked_by(agreement, rank):
    return told(agreement.inquire(rank, Inquire(*CLIENT, STEP)))


def lost(agreement, rank):
    agreement.lost.add(rank)
    return told(agreement.lose(rank, Lost()))


def test_a_judge_is_told_once_the_client_is_known_to_be_dead(agreement):
    assert asked_by(agreement, 0) == []
    assert lost(agreement, CLIENT[0]) == [(0, State.PREPARED)]


def test_who_comes_later_is_told_only_what_is_final(agreement):
    lost(agreement, CLIENT[0])
    assert asked_by(agreement, 2) == []
    agreement.held[CLIENT].state = State.COMMITTED
    assert asked_by(agreement, 2) == [(2, State.COMMITTED)]


def test_the_last_judge_gives_up_and_tells_who_asked(agreement):
    lost(agreement, CLIENT[0])
    assert asked_by(agreement, 2) == []
    assert lost(agreement, 0) == []
    standing = Standing(*CLIENT, STEP, State.PREPARED)
    assert told(agreement.standing(2, standing)) == [(2, State.ABORTED)]
    assert agreement.held[CLIENT].state is State.ABORTED


def test_a_step_that_was_never_heard_of_was_given_up(agreement):
    later = Inquire(*CLIENT, STEP + 1)
    assert told(agreement.inquire(0, later)) == []
    assert lost(agreement, CLIENT[0]) == [(0, State.ABORTED)]
