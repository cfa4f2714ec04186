"""The members of a session that all workers have, talking in turns.

Each says something to all others, and hears what each of them says next: the n-th of one member
answers the n-th of another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.decisions import State
from graphc.runtime.effects import Hear, Overdue, Role, Tell
from graphc.runtime.master import raised
from graphc.runtime.messages import Aborted, Close, Failed, Meet, Message, Standing, Turn
from graphc.runtime.worker import failure


@dataclass
class Circle:
    """The member in task ``rank``, which hears at ``box``, as all others do.

    ``seconds`` bounds each wait for another member.
    """

    cluster: ClusterSpec
    rank: int
    box: int
    members: tuple[int, ...]
    seconds: float
    turn: int = 0
    """The step that is taken, or was taken last."""
    broken: str = ""
    """Why no step can be taken any more, if so."""
    committed: int = 0
    """The last step that was committed here."""
    _heard: dict[int, deque[Message]] = field(default_factory=dict)
    """What was heard too early, by sender."""
    _errors: dict[int, str] = field(default_factory=dict)
    """What went wrong in members since they last began a step."""
    _committed: dict[int, int] = field(default_factory=dict)
    """The last step that a member is known to have committed."""

    @cached_property
    def others(self) -> tuple[int, ...]:
        """The other members."""
        return tuple(rank for rank in self.members if rank != self.rank)

    def hear(self, sender: int, message: Message) -> None:
        """Keep what a member said until it is its turn."""
        if isinstance(message, Meet):
            return  # it asked again
        if isinstance(message, Standing):
            if message.state == State.COMMITTED:
                self._committed[sender] = message.step
            return
        if isinstance(message, Failed):
            self._errors[sender] = message.text
        elif isinstance(message, Turn):
            self._errors.pop(sender, None)
        self._heard.setdefault(sender, deque()).append(message)

    def raise_first(self, messages: Mapping[int, Message]) -> None:
        """Raise the error of the first member that tells of one."""
        for rank in self.members:
            message = messages.get(rank)
            if isinstance(message, Failed):
                raise raised(message.kind, f"{message.text}\n  {self.name(rank)}")

    def say(self, message: Message) -> Role:
        """Tell all others."""
        for rank in self.others:
            yield Tell(rank, self.box, message)

    def leave(self) -> Role:
        """Tell all others that this member takes no step any more, and which was the last."""
        if self.committed:
            yield from self.say(Standing(self.rank, self.box, self.committed, State.COMMITTED))
        yield from self.say(Close(self.box))

    def each(self, purpose: str) -> Role:
        """The next message of each other member."""
        waiting = set(self.others)
        found: dict[int, Message] = {}
        while waiting:
            sender = yield from self.whoever(waiting, purpose)
            found[sender] = self.take(sender)
            waiting.discard(sender)
        return found

    def next_of(self, rank: int, purpose: str, seconds: float | None = None) -> Role:
        """The next message of one member."""
        yield from self.whoever({rank}, purpose, seconds)
        return self.take(rank)

    def whoever(self, ranks: set[int], purpose: str, seconds: float | None = None) -> Role:
        """Which of ``ranks`` has said something that was not taken up yet, the first of them.

        It is waited for as long as for a task, or ``seconds``.

        Raises:
            ClusterError: none says anything in time, or one has closed its session.
        """
        message: Any
        limit = self.seconds if seconds is None else seconds
        while True:
            for rank in self.members:
                if rank in ranks and (heard := self._heard.get(rank)):
                    if isinstance(heard[0], Close):
                        raise self._closed(rank)
                    return rank
            try:
                sender, message = yield Hear(self.box, limit, purpose, self.turn)
            except Overdue:
                missing = sorted(ranks - {self.rank}) or [self.rank]
                names = ", ".join(self.name(rank) for rank in missing)
                waited = f"{self.name(self.rank)} waited {limit:g} s"
                error = self.break_off(f"{waited} for {names} {purpose}")
                yield from self.say(failure(self.turn, error))
                yield from self.leave()
                raise error from None
            self.keep(sender, message)

    def hear_one(self) -> Role:
        """Hear one message, and keep it."""
        sender, message = yield Hear(self.box)
        self.keep(sender, message)

    def failing(self) -> int | None:
        """The first member that has said that it does not go on with the step.

        Raises:
            ClusterError: one has closed its session in the midst of it.
        """
        for rank in self.others:
            if heard := self._heard.get(rank):
                if isinstance(heard[0], Failed | Aborted):
                    return rank
                if isinstance(heard[0], Close) and self._committed.get(rank, 0) < self.turn:
                    raise self._closed(rank)
        return None

    def _closed(self, rank: int) -> ClusterError:
        why = self._errors.get(rank)
        after = f", after an error there:\n{why}" if why else ""
        return self.break_off(f"{self.name(rank)} has closed its session{after}")

    def take(self, rank: int) -> Message:
        """What ``whoever`` said."""
        return self._heard[rank].popleft()

    def forget_own(self) -> None:
        """What this member told itself is not taken up any more."""
        self._heard.pop(self.rank, None)

    @property
    def last_committed(self) -> int:
        """The last step that another member is known to have committed."""
        return max(self._committed.values(), default=0)

    def keep(self, sender: int, message: Any) -> None:
        """Hear a message, but for one of an own step that was stopped."""
        if sender != self.rank or message.step == self.turn:
            self.hear(sender, message)

    def break_off(self, reason: str) -> ClusterError:
        """No step can be run any more; gives the error to raise."""
        self.broken = reason
        return ClusterError(reason)

    def name(self, rank: int) -> str:
        """What a member's task is called."""
        return self.cluster.name_of(rank)
