"""One step that all members of a session take together: steps c and d of ``peers``.

If the last that a step does are reductions over memory, they end nowhere before all members have
come so far. So their end says that all have computed, and nothing is told but failures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from graphc.ir.errors import ClusterError
from graphc.runtime.circle import Circle
from graphc.runtime.decisions import Decisions
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell
from graphc.runtime.messages import Aborted, Computed, Doubt, Failed, Message, Standing
from graphc.runtime.step import Step
from graphc.runtime.worker import failure

Array = npt.NDArray[Any]
_GIVEN_UP = "another worker has given the step up"


def joint_step(
    circle: Circle, decisions: Decisions, step: Step, arrays: Sequence[Array]
) -> JointStep:
    """How the members take ``step``: all in the same way."""
    kind = SilentStep if step.ends_together else ToldStep
    return kind(circle, decisions, step, arrays)


@dataclass
class JointStep(ABC):
    """The part of this member of ``circle``, on its feeds; ``decisions`` are those of its task."""

    circle: Circle
    decisions: Decisions
    step: Step
    arrays: Sequence[Array]
    _answer: Message | None = None
    """What came of it in this task, once it has ended here."""
    _unheard: set[int] = field(default_factory=set)
    """Who did not say whether it has committed."""

    def take(self) -> Role:
        """Compute and commit it.

        Raises:
            GraphcError: it failed in some member, and was committed nowhere.
            ClusterError: a member does not answer; the session is broken.
        """
        outcomes = yield from self._outcomes()
        if all(isinstance(outcome, Computed) for outcome in outcomes.values()):
            self.decisions.commit(self.circle.box, self.step.number)
            self.circle.committed = self.step.number
            yield from self.step.commit()
            return
        yield from self._stop()
        yield from self._undo(outcomes)

    @abstractmethod
    def _outcomes(self) -> Role:
        """Compute; what came of it in members, as far as known: all computed, or some have failed.

        Raises:
            ClusterError: that is not known, and the step is not committed anywhere.
        """

    @abstractmethod
    def _stop(self) -> Role:
        """Stop what still computes."""

    @property
    def _is_given_up(self) -> bool:
        """Whether another member was told that this one has not committed."""
        return self.decisions.is_given_up(self.circle.box, self.circle.turn)

    def _was_committed(self) -> Role:
        """Whether another member has committed the step; else none will."""
        circle, turn = self.circle, self.circle.turn
        self.decisions.give_up(circle.box, turn)
        for rank in circle.others:
            yield Tell(rank, WORKER_BOX, Doubt(circle.box, turn))
        waiting = self._unheard = set(circle.others)
        while waiting and circle.last_committed < turn:
            try:
                sender, message = yield Hear(circle.box, circle.seconds, "Standing", turn)
            except Overdue:
                break
            circle.keep(sender, message)
            if isinstance(message, Standing) and message.step == turn:
                waiting.discard(sender)
        return circle.last_committed >= turn

    def _undo(self, outcomes: Mapping[int, Message]) -> Role:
        """Step d; raises the error of the first member that has one."""
        mine = Aborted(self.step.number, self.step.sent)
        yield from self.circle.say(mine)
        failed = {rank: m for rank, m in outcomes.items() if isinstance(m, Failed)}
        sent = set(mine.sent)
        stopped = {rank: m for rank, m in outcomes.items() if isinstance(m, Aborted)}
        while waiting := set(self.circle.others) - stopped.keys():
            rank = yield from self.circle.whoever(waiting, "to stop")
            message = self.circle.take(rank)
            if isinstance(message, Failed):
                failed[rank] = message
            elif isinstance(message, Aborted):
                stopped[rank] = message
        for message in stopped.values():
            sent.update(message.sent)
        self.circle.forget_own()
        if isinstance(self._answer, Failed):
            failed[self.circle.rank] = self._answer
        try:
            yield from self.step.drain(sent)
        except ClusterError as error:
            raise self.circle.break_off(str(error)) from None
        self.circle.raise_first(failed)


class ToldStep(JointStep):
    """Members tell each other what came of it, each as soon as it has computed or failed."""

    _handle: Any = None

    def _outcomes(self) -> Role:
        self._handle = yield Spawn(self._compute())
        try:
            return (yield from self._hear_outcomes())
        except ClusterError:
            if (yield from self._was_committed()):
                return {}
            yield from self._stop()
            raise

    def _compute(self) -> Role:
        answer: Message = Computed(self.step.number)
        try:
            yield from self.step.compute(self.arrays)
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(self.step.number, error)
        self._answer = answer
        yield from self.circle.say(answer)
        yield Tell(self.circle.rank, self.circle.box, answer)

    def _stop(self) -> Role:
        yield Stop(self._handle)
        yield from self.step.stop()

    def _hear_outcomes(self) -> Role:
        """Hear of all members, or up to the first that has not computed."""
        outcomes: dict[int, Message] = {}
        while waiting := set(self.circle.members) - outcomes.keys():
            sender = yield from self.circle.whoever(waiting, "to compute")
            outcomes[sender] = self.circle.take(sender)
            if not isinstance(outcomes[sender], Computed):
                return outcomes
        if self._is_given_up:
            raise self.circle.break_off(_GIVEN_UP)
        return outcomes


class SilentStep(JointStep):
    """Its end says that all have computed; only who fails tells it, and all others listen."""

    @property
    def box(self) -> int:
        """Where this member hears the others while it waits for them."""
        return self.circle.box

    def hear(self) -> Role:
        """Hear a message, and go on unless it says that the step fails."""
        yield from self.circle.hear_one()
        self._check_others()

    def _check_others(self) -> None:
        rank = self.circle.failing()
        if rank is not None:
            raise _FailsElsewhere(rank)

    def _outcomes(self) -> Role:
        answer: Message = Computed(self.step.number)
        try:
            yield from self._compute()
        except _FailsElsewhere as found:
            return {found.rank: self.circle.take(found.rank)}
        except ClusterError as error:  # some wait was overdue, but others may have come further
            if (yield from self._was_committed()):
                yield from self.step.complete()
                return {}
            if self._unheard:
                raise self.circle.break_off(str(error)) from None
            answer = failure(self.step.number, error)
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(self.step.number, error)
        self._answer = answer
        if not isinstance(answer, Computed):
            yield from self.circle.say(answer)
        return {self.circle.rank: answer}

    def _compute(self) -> Role:
        """Compute, and listen to the others meanwhile."""
        self._check_others()
        self.step.transfers.listen(self)
        try:
            yield from self.step.compute(self.arrays)
        finally:
            self.step.transfers.listen(None)
        if self._is_given_up:
            raise ClusterError(_GIVEN_UP)

    def _stop(self) -> Role:
        yield from self.step.stop()


class _FailsElsewhere(Exception):  # noqa: N818, nothing is wrong here
    """Member ``rank`` has said that it does not go on with the step."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank
