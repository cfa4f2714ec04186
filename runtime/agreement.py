"""What became of a step that several tasks commit, when one of them does not hear it.

Where two tasks write variables in one step, its client commits: first it hears that all tasks have
computed, then it tells the writers. A writer that has computed is *prepared*: it can no longer give
the step up by itself, and it does not write before it knows that the others may. Mostly Commit or
Abort comes next. If neither does, the message was lost, or the client has died:

    a. Silence never decides. A prepared writer asks the client's task again and again (Inquire);
       the worker there answers for its sessions (Standing): committed, or aborted, or nothing yet.
    b. The driver tells each task of a death (Lost), after all that still came from the dead one.
       Whoever had not computed by then gives the step up, and nobody can commit any more.
    c. After the client's death the first living writer judges, in the order of the plan. It asks
       the others. If one of them has committed, so do all; else nobody has, and all give it up.
    d. A writer tells a judge that it is prepared only when it knows that all before that judge are
       dead: it will not hear another verdict. If the judge dies, the next one asks anew.
    e. A task may leave once all others have left, or died. Before that it tells them, of each
       session of a dead client, what became of the last step here, and that it took part in none
       after it (step ``NONE_LATER``): nobody waits for an answer of one that is gone.

So all writers that live end with one answer, however many die: each judge adopts what any living
writer was told. A writer that hears of a later step of the session commits: the client began it
because this one was committed everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphc.ir.errors import ClusterError
from graphc.runtime.decisions import Decisions, State
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell
from graphc.runtime.messages import Committed, Failed, Inquire, Message, Standing
from graphc.runtime.step import Step

NONE_LATER = -1
"""In place of a step: none that comes later than the last one."""
Client: TypeAlias = tuple[int, int]
"""A session: the task that it is in, and its box there."""


@dataclass(eq=False)
class Held:
    """A session's last step in another task than its client's."""

    number: int
    step: Step
    state: State = State.COMPUTING
    handle: Any = None
    """Of the role that computes it, and then asks what became of it."""
    prepared: set[int] = field(default_factory=set)
    """Other writers that told this judge that they know no more than it does."""

    @property
    def writers(self) -> Sequence[int]:
        return self.step.loaded.part.writers

    def stop(self) -> Role:
        """End whatever goes on for the step here."""
        if self.handle is not None:
            yield Stop(self.handle)
        yield from self.step.stop()

    def judge(self, client: int, lost: set[int]) -> int:
        """Who is to be asked: the client's task, or the first writer that lives."""
        return next(rank for rank in (client, *self.writers) if rank not in lost)

    def others(self, rank: int, lost: set[int]) -> set[int]:
        """The writers besides ``rank`` that live and have not told it anything."""
        return set(self.writers) - lost - self.prepared - {rank}

    def answer(self, asking: int, rank: int, lost: set[int]) -> State | None:
        """What task ``rank`` tells a writer that asks, whose client is dead; None: not yet (d)."""
        if self.state.final:
            return self.state
        before = {writer for writer in self.writers if writer < asking}
        return self.state if asking < rank and before <= lost else None


class Agreement:
    """What the worker of task ``rank`` does about steps that several tasks commit.

    ``seconds``: after so long a silence it asks what became of them.
    """

    def __init__(self, rank: int, decisions: Decisions, seconds: float) -> None:
        self.held: dict[Client, Held] = {}
        """Each session's last step."""
        self.lost: set[int] = set()
        """Tasks that have died."""
        self._rank, self._decisions, self._seconds = rank, decisions, seconds
        self._ended: dict[Client, tuple[int, State]] = {}
        """What became of the last steps of sessions that were forgotten."""
        self._unanswered: dict[tuple[int, Client], Inquire] = {}

    def await_outcome(self, client: Client, held: Held) -> Role:
        """Ask what became of a step that is prepared here; to be stopped once that is known."""
        while True:
            with suppress(Overdue):
                yield Hear(client, self._seconds)
            judge = held.judge(client[0], self.lost)
            asked = {judge} if judge != self._rank else held.others(self._rank, self.lost)
            for rank in sorted(asked):
                yield Tell(rank, WORKER_BOX, Inquire(*client, held.number))

    def ask_at_once(self, client: Client, reason: Message) -> Role:
        """End the silence that ``await_outcome`` waits for, if it does."""
        held = self.held.get(client)
        if held is not None and held.state is State.PREPARED:
            yield Tell(self._rank, client, reason)

    def conclude(self, client: Client, state: State) -> Role:
        """A step that is prepared here is committed or given up."""
        held = self.held[client]
        yield from held.stop()
        held.state = state
        if state is State.COMMITTED:
            yield from held.step.write()
            yield Tell(*client, Committed(held.number))
            held.handle = yield Spawn(_finished(client, held.step))
        yield from self._answer()

    def forget(self, client: Client) -> Role:
        """End a session's last step, and keep only what became of it."""
        held = self.held.pop(client, None)
        if held is None:
            return
        if held.state is not State.COMMITTED:
            held.state = State.ABORTED
        if held.writers:
            self._ended[client] = held.number, held.state
        yield from held.stop()
        yield from held.step.withdraw()

    def last_words(self, client: Client, others: Collection[int]) -> Role:
        """Tell others what became of a dead client's steps here (e)."""
        for rank in sorted(set(others) - self.lost):
            if client in self._ended:
                yield Tell(rank, WORKER_BOX, Standing(*client, *self._ended[client]))
            yield Tell(rank, WORKER_BOX, Standing(*client, NONE_LATER, State.ABORTED))

    def inquire(self, sender: int, message: Inquire) -> Role:
        """Answer now or later; who asks again is answered once."""
        self._unanswered[sender, (message.client, message.session)] = message
        yield from self._answer()

    def standing(self, sender: int, message: Standing) -> Role:
        """Another task's answer, if it is still asked for."""
        client, state = (message.client, message.session), State(message.state)
        held = self.held.get(client)
        if held is None or held.state is not State.PREPARED:
            return
        took_none = message.step == NONE_LATER and sender in held.writers
        if held.number != message.step and not took_none:
            return
        if state.final:
            yield from self.conclude(client, state)
        else:
            held.prepared.add(sender)
            yield from self._judge(client, held)

    def lose(self, rank: int, reason: Message) -> Role:
        """Whose turn it is to judge changes, and what may be told."""
        for client, held in list(self.held.items()):
            if held.state is State.PREPARED and rank in (client[0], *held.writers):
                yield from self.ask_at_once(client, reason)
                yield from self._judge(client, held)
        yield from self._answer()

    def _judge(self, client: Client, held: Held) -> Role:
        """Give a step up if it is this task that judges, and no writer knows more than it does."""
        judges = held.judge(client[0], self.lost) == self._rank
        if judges and not held.others(self._rank, self.lost):
            yield from self.conclude(client, State.ABORTED)

    def _answer(self) -> Role:
        """Tell those that ask what is known by now."""
        for (sender, client), message in list(self._unanswered.items()):
            state = self._state_of(sender, client, message.step)
            if state is not None:
                del self._unanswered[sender, client]
                yield Tell(sender, WORKER_BOX, Standing(*client, message.step, state))

    def _state_of(self, asking: int, client: Client, step: int) -> State | None:
        """What became of a step, or how it stands here if that may be told."""
        if client[0] == self._rank:
            return self._decisions.state_of(client[1], step)
        held = self.held.get(client)
        number, state = (held.number, held.state) if held else self._ended.get(client, _UNHEARD)
        if number > step:
            return State.COMMITTED
        if number == step and state.final:
            return state
        if client[0] not in self.lost:
            return None
        if held is None or number < step:
            return State.ABORTED
        return held.answer(asking, self._rank, self.lost)


_UNHEARD = -1, State.ABORTED


def _finished(client: Client, step: Step) -> Role:
    """Send what a commit gave; who waits for it is told why it does not come."""
    try:
        yield from step.finish()
    except ClusterError as error:
        yield Tell(*client, Failed(step.number, type(error).__name__, str(error)))
