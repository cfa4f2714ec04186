"""The worker, and the parameter server, which is a worker that holds variables.

It serves any number of sessions. What a session tells it:

    a. Register: the part of a program is compiled and kept; the answer names the variables that
       have no value yet, and the order of its transfers. What is wrong with it is Refused.
    b. Run: a step is begun, beside those of other sessions. When it is computed, it is committed
       and the session is told; where all tasks have to agree first, it is told before.
    c. Commit: all tasks have computed; the variables are written, before anything else is heard.
    d. Abort: the step stops; the answer says what it began to send.
    e. Drain: with what all tasks began to send, the step's transfers are brought to an end.
    f. Close: the session's programs are forgotten.

One session has one step under way at a time; no step waits for a step of another session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, TypeAlias

from graphc.ir.errors import ClusterError, GraphcError
from graphc.runtime.effects import WORKER_BOX, Hear, Role, Spawn, Stop, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.messages import (
    Abort,
    Aborted,
    Close,
    Commit,
    Computed,
    Drain,
    Drained,
    Failed,
    Leave,
    Message,
    Refused,
    Register,
    Registered,
    Run,
)
from graphc.runtime.order import packed
from graphc.runtime.part import part_of
from graphc.runtime.step import Step

Client: TypeAlias = tuple[int, int]
"""A session: the task that it is in, and its box there."""


class Worker:
    """The worker of one task; ``seconds`` bounds each wait for another task."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        self.engine = engine
        self.left: set[int] = set()
        """Tasks that will open no session any more."""
        self._seconds = seconds
        self._programs: dict[tuple[Client, int], Loaded] = {}
        self._steps: dict[Client, tuple[Step, Any]] = {}
        """Each session's last step, and the handle of what computes it."""

    def serve(self, others: Collection[int]) -> Role:
        """Hear and obey, until all ``others`` have left."""
        while not self.left.issuperset(others):
            sender, message = yield Hear(WORKER_BOX)
            yield from self._rules[type(message)](self, sender, message)

    def _register(self, sender: int, message: Register) -> Role:
        client = sender, message.session
        answer: Message
        try:
            loaded = yield Work(lambda: self.engine.load(part_of(message), client), about="compile")
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = Refused(message.program, *_told(error))
        else:
            self._programs[client, message.program] = loaded
            answer = Registered(message.program, loaded.missing, packed(loaded.strands))
        yield Tell(*client, answer)

    def _run(self, sender: int, message: Run) -> Role:
        client = sender, message.session
        loaded = self._programs[client, message.program]
        step = Step(loaded, message.step, message.tag, message.sizes, self._seconds)
        handle = yield Spawn(self._compute(client, step))
        self._steps[client] = step, handle

    def _compute(self, client: Client, step: Step) -> Role:
        try:
            yield from step.compute()
            if not step.loaded.part.agree:
                yield from step.commit()
        except Exception as error:  # noqa: BLE001, as above
            yield Tell(*client, failure(step.number, error))
        else:
            yield Tell(*client, Computed(step.number))

    def _commit(self, sender: int, message: Commit) -> Role:
        step, _ = self._steps[sender, message.session]
        yield from step.commit()

    def _abort(self, sender: int, message: Abort) -> Role:
        client = sender, message.session
        step, handle = self._steps[client]
        yield Stop(handle)
        yield Tell(*client, Aborted(step.number, step.sent))

    def _drain(self, sender: int, message: Drain) -> Role:
        client = sender, message.session
        step, _ = self._steps[client]
        yield Spawn(_drained(client, step, message))

    def _close(self, sender: int, message: Close) -> Role:
        client = sender, message.session
        self._steps.pop(client, None)
        self._programs = {key: p for key, p in self._programs.items() if key[0] != client}
        yield from ()

    def _leave(self, sender: int, message: Leave) -> Role:
        self.left.add(sender)
        yield from ()

    _rules: ClassVar[dict[type[Any], Callable[[Any, int, Any], Role]]] = {
        Register: _register,
        Run: _run,
        Commit: _commit,
        Abort: _abort,
        Drain: _drain,
        Close: _close,
        Leave: _leave,
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
