"""The worker, and the parameter server, which is a worker that holds variables.

It serves any number of sessions. What a session tells it:

    a. Register: the part of a program is compiled, beside the steps of others, and kept; the answer
       names the variables that have no value yet, and the order of its transfers. What is wrong
       with it is Refused.
    b. Run: a step is begun, beside those of other sessions. When it is computed, it is committed
       and the session is told; where all tasks have to agree first, it is told before.
    c. Commit: all tasks have computed; the variables are written, before anything else is heard,
       and the session is told.
    d. Abort: the step stops; the answer says what it began to send. If Run was lost, the step is
       known from now on.
    e. Drain: with what all tasks began to send, the step's transfers are brought to an end.
    f. Close: the session's programs are forgotten, once it is known what became of its last step.

What other workers and the driver tell it (``agreement`` says why):

    g. Inquire: Standing is answered, at once or when it is known.
    h. Standing: a step that is prepared here is committed or given up.
    i. Lost: a task has died. Its sessions are closed; their steps that have not computed stop.
    j. Doubt: a session that all workers have (``peers``) is told what became of a step here.

One session has one step under way at a time; no step waits for a step of another session. What
comes in no order that a session would tell it in does no harm: a message was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from graphc.ir.errors import ClusterError, GraphcError
from graphc.runtime.agreement import Agreement, Client, Held
from graphc.runtime.decisions import State
from graphc.runtime.effects import WORKER_BOX, Hear, Role, Spawn, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.messages import (
    Abort,
    Aborted,
    Close,
    Commit,
    Computed,
    Doubt,
    Drain,
    Drained,
    Failed,
    Inquire,
    Leave,
    Left,
    Lost,
    Message,
    Refused,
    Register,
    Registered,
    Run,
    Standing,
)
from graphc.runtime.order import packed
from graphc.runtime.part import part_of
from graphc.runtime.step import Step


class Worker:
    """The worker of task ``rank``; ``seconds`` bounds each wait for another task."""

    def __init__(self, rank: int, engine: Engine, seconds: float) -> None:
        self.engine = engine
        self.left: set[int] = set()
        """Tasks that will open no session any more."""
        self.watching: set[int] = set()
        """The boxes of sessions here that want to know of such tasks."""
        self._rank, self._seconds = rank, seconds
        self._others: Collection[int] = ()
        self._agreement = Agreement(rank, engine.decisions, seconds)
        self._programs: dict[Client, dict[int, Loaded]] = {}
        self._closed: set[Client] = set()
        """Sessions to be forgotten when it is known what became of their last step."""

    @property
    def sessions(self) -> set[Client]:
        """Those of which anything is kept but what became of their last step."""
        return {*self._programs, *self._agreement.held}

    def serve(self, others: Collection[int]) -> Role:
        """Hear and obey, until all ``others`` have left and every step is known to have ended."""
        self._others = others
        while self._closed or not self.left.issuperset(others):
            sender, message = yield Hear(WORKER_BOX)
            yield from self._rules[type(message)](self, sender, message)
            if self._closed:
                yield from self._forget_closed()

    def _register(self, sender: int, message: Register) -> Role:
        client = sender, message.session
        self._programs.setdefault(client, {})
        yield Spawn(self._load(client, message))

    def _load(self, client: Client, message: Register) -> Role:
        """Beside the steps of other sessions; the session may be closed meanwhile."""
        answer: Message
        try:
            part = part_of(message)
            compiled = yield Work(lambda: self.engine.compiled(part), about="compile", aside=True)
            if client not in self._programs:
                return
            loaded = self.engine.keep(part, compiled, client)
            self._programs[client][message.program] = loaded
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = Refused(message.program, *_told(error))
        else:
            answer = Registered(message.program, loaded.missing, packed(loaded.strands))
        yield Tell(*client, answer)

    def _run(self, sender: int, message: Run) -> Role:
        client = sender, message.session
        step = yield from self._next(client, message)
        if step is None:
            lost = ClusterError("a program that was forgotten is to be run: a message was lost")
            yield Tell(*client, failure(message.step, lost))
            return
        held = self._agreement.held[client] = Held(message.step, step)
        held.handle = yield Spawn(self._compute(client, held))

    def _next(self, client: Client, message: Run | Abort) -> Role:
        """The step that a message begins or ends, if its program is known here.

        The session would not have begun it if the last one had not been committed everywhere.
        """
        held = self._agreement.held.get(client)
        if held is not None and held.state is State.PREPARED:
            yield from self._agreement.conclude(client, State.COMMITTED)
        elif held is not None:
            yield from held.stop()
        loaded = self._programs.get(client, {}).get(message.program)
        if loaded is None:
            return None
        return Step(loaded, message.step, message.tag, message.sizes, self._seconds)

    def _compute(self, client: Client, held: Held) -> Role:
        step = held.step
        try:
            yield from step.compute()
            if held.writers:
                held.state = State.PREPARED
            else:
                yield from step.write()
                held.state = State.COMMITTED
                yield from step.finish()
        except Exception as error:  # noqa: BLE001, as above
            yield Tell(*client, failure(step.number, error))
        else:
            yield Tell(*client, Computed(step.number))
        if held.state is State.PREPARED:
            yield from self._agreement.await_outcome(client, held)

    def _commit(self, sender: int, message: Commit) -> Role:
        client = sender, message.session
        held = self._agreement.held.get(client)
        if held is not None and held.number == message.step and held.state is State.PREPARED:
            yield from self._agreement.conclude(client, State.COMMITTED)

    def _abort(self, sender: int, message: Abort) -> Role:
        client = sender, message.session
        held = self._agreement.held.get(client)
        if held is None or held.number != message.step:
            step = yield from self._next(client, message)
            if step is None:
                return  # whoever forgot a program cannot take what is sent to it
            held = self._agreement.held[client] = Held(message.step, step)
        yield from held.stop()
        if held.state is not State.COMMITTED:
            held.state = State.ABORTED
        yield Tell(*client, Aborted(held.number, held.step.sent))

    def _drain(self, sender: int, message: Drain) -> Role:
        client = sender, message.session
        held = self._agreement.held.get(client)
        if held is not None and held.number == message.step:
            held.handle = yield Spawn(_drained(client, held.step, message))

    def _close(self, sender: int, message: Close) -> Role:
        client = sender, message.session
        self._closed.add(client)
        yield from self._agreement.ask_at_once(client, message)

    def _forget_closed(self) -> Role:
        for client in sorted(self._closed):
            held = self._agreement.held.get(client)
            if held is None or held.state is not State.PREPARED:
                self._closed.discard(client)
                self._programs.pop(client, None)
                self.engine.forget(client)
                yield from self._agreement.forget(client)
                if client[0] in self._agreement.lost:
                    yield from self._agreement.last_words(client, self._others)

    def _inquire(self, sender: int, message: Inquire) -> Role:
        yield from self._agreement.inquire(sender, message)

    def _standing(self, sender: int, message: Standing) -> Role:
        yield from self._agreement.standing(sender, message)

    def _doubt(self, sender: int, message: Doubt) -> Role:
        state = self.engine.decisions.give_up(message.session, message.step)
        answer = Standing(self._rank, message.session, message.step, state)
        yield Tell(sender, message.session, answer)

    def _lose(self, sender: int, message: Lost) -> Role:
        self.left.add(sender)
        self._agreement.lost.add(sender)
        self._closed.update(client for client in self.sessions if client[0] == sender)
        yield from self._forget_closed()
        yield from self._agreement.lose(sender, message)

    def _leave(self, sender: int, message: Leave) -> Role:
        self.left.add(sender)
        for box in sorted(self.watching):
            yield Tell(self._rank, box, Left(sender))

    _rules: ClassVar[dict[type[Any], Callable[[Any, int, Any], Role]]] = {
        Register: _register,
        Run: _run,
        Commit: _commit,
        Abort: _abort,
        Drain: _drain,
        Close: _close,
        Inquire: _inquire,
        Standing: _standing,
        Doubt: _doubt,
        Leave: _leave,
        Lost: _lose,
    }


def _drained(client: Client, step: Step, message: Drain) -> Role:
    try:
        yield from step.drain(message.sent)
    except ClusterError as error:
        yield Tell(*client, failure(step.number, error))
    else:
        yield Tell(*client, Drained(step.number))


def failure(step: int, error: Exception) -> Failed:
    """What a client is told of an error in a step."""
    return Failed(step, *_told(error))


def _told(error: Exception) -> tuple[str, str]:
    """The kind and the text of an error; one that is not ours is told by its type as well."""
    kind = type(error).__name__
    return (kind, str(error)) if isinstance(error, GraphcError) else (kind, f"{kind}: {error}")
