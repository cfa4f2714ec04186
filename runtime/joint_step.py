"""One step that all members of a session take together: steps c and d of ``peers``.

If the last that a step does are reductions over memory, they end nowhere before all members have
come so far. So their end says that all have computed, and nothing is told but failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass
class JointStep:
    """The part of this member of ``circle``, on its feeds; ``decisions`` are those of its task."""

    circle: Circle
    decisions: Decisions
    step: Step
    arrays: Sequence[Array]
    _answer: Message | None = None
    """What came of it in this task, once it has ended here."""
    _late: bool = False
    """A wait was overdue here, and others may have come further."""

    def take(self) -> Role:
        """Compute and commit it.

        Raises:
            GraphcError: it failed in some member, and was committed nowhere.
            ClusterError: a member does not answer; the session is broken.
        """
        handle = yield Spawn(self._compute())
        try:
            outcomes = yield from self._hear_outcomes()
        except ClusterError:
            if not (yield from self._was_committed(handle)):
                yield from self._stop(handle)
                raise
            outcomes = {}
        if self._late and self._answer is not None:
            if (yield from self._was_committed(handle)):
                outcomes = {}
            else:
                yield from self.circle.say(self._answer)
        if all(isinstance(outcome, Computed) for outcome in outcomes.values()):
            self.decisions.commit(self.circle.box, self.step.number)
            self.circle.committed = self.step.number
            yield from self.step.commit()
            return
        yield from self._stop(handle)
        yield from self._undo(outcomes)

    def _compute(self) -> Role:
        silent = self.step.ends_together
        answer: Message = Computed(self.step.number)
        try:
            yield from self.step.compute(self.arrays)
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(self.step.number, error)
            self._late = silent and isinstance(error, ClusterError)
        self._answer = answer
        if not self._late and not (silent and isinstance(answer, Computed)):
            yield from self.circle.say(answer)
        yield Tell(self.circle.rank, self.circle.box, answer)

    def _stop(self, handle: Any) -> Role:
        yield Stop(handle)
        yield from self.step.stop()

    def _hear_outcomes(self) -> Role:
        """What came of the step in members, up to the first that has not computed.

        Raises:
            ClusterError: as ``Circle.whoever``; or another member was told that this one has not
                committed.
        """
        outcomes: dict[int, Message] = {}
        wanted, limit = {*self.circle.members}, self.circle.seconds
        if self.step.ends_together:  # it finds out by itself who is late
            wanted, limit = {self.circle.rank}, 2 * limit
        while waiting := wanted - outcomes.keys():
            sender = yield from self.circle.whoever(waiting, "to compute", limit, or_fails=True)
            outcomes[sender] = self.circle.take(sender)
            if not isinstance(outcomes[sender], Computed):
                return outcomes
        if self.decisions.is_given_up(self.circle.box, self.circle.turn):
            raise self.circle.break_off("another worker has given the step up")
        return outcomes

    def _was_committed(self, handle: Any) -> Role:
        """Whether another member has committed the step; else none will. If so, it is computed."""
        circle, turn = self.circle, self.circle.turn
        self.decisions.give_up(circle.box, turn)
        for rank in circle.others:
            yield Tell(rank, WORKER_BOX, Doubt(circle.box, turn))
        waiting = set(circle.others)
        while waiting and circle.last_committed < turn:
            try:
                sender, message = yield Hear(circle.box, circle.seconds, "Standing", turn)
            except Overdue:
                break
            circle.keep(sender, message)
            if isinstance(message, Standing) and message.step == turn:
                waiting.discard(sender)
        if circle.last_committed < turn:
            return False
        if self.step.ends_together:
            yield from self._stop(handle)
            yield from self.step.complete()
        return True

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
