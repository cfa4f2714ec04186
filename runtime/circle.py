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
from graphc.runtime.effects import Hear, Overdue, Role, Tell
from graphc.runtime.master import raised
from graphc.runtime.messages import Close, Failed, Meet, Message, Standing, Turn
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
    _heard: dict[int, deque[Message]] = field(default_factory=dict)
    """What was heard too early, by sender."""
    _errors: dict[int, str] = field(default_factory=dict)
    """What went wrong in members since they last began a step."""

    @cached_property
    def others(self) -> tuple[int, ...]:
        """The other members."""
        return tuple(rank for rank in self.members if rank != self.rank)

    def hear(self, sender: int, message: Message) -> None:
        """Keep what a member said until it is its turn."""
        if isinstance(message, Meet | Standing):
            return  # who met it asked again, or has another answer already
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

    def each(self, purpose: str) -> Role:
        """The next message of each other member."""
        found: dict[int, Message] = {}
        for rank in self.others:
            found[rank] = yield from self.next_of(rank, purpose)
        return found

    def next_of(self, rank: int, purpose: str) -> Role:
        """The next message of one member."""
        yield from self.whoever({rank}, purpose)
        return self.take(rank)

    def whoever(self, ranks: set[int], purpose: str) -> Role:
        """Which of ``ranks`` has said something that was not taken up yet.

        Raises:
            ClusterError: none says anything in time, or one has closed its session.
        """
        message: Any
        while True:
            for rank in sorted(ranks):
                if self._heard.get(rank):
                    if isinstance(self._heard[rank][0], Close):
                        why = self._errors.get(rank)
                        after = f", after an error there:\n{why}" if why else ""
                        raise self.break_off(f"{self.name(rank)} has closed its session{after}")
                    return rank
            try:
                sender, message = yield Hear(self.box, self.seconds, purpose, self.turn)
            except Overdue:
                names = ", ".join(self.name(rank) for rank in sorted(ranks))
                waited = f"{self.name(self.rank)} waited {self.seconds:g} s"
                error = self.break_off(f"{waited} for {names} {purpose}")
                yield from self.say(failure(self.turn, error))
                yield from self.say(Close(self.box))
                raise error from None
            self.keep(sender, message)

    def take(self, rank: int) -> Message:
        """What ``whoever`` said."""
        return self._heard[rank].popleft()

    def own_failure(self) -> Failed | None:
        """What this member told itself last and did not take up, if it failed."""
        own = self._heard.pop(self.rank, None)
        return own[0] if own and isinstance(own[0], Failed) else None

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
