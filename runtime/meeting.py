"""Who shares batches with whom: one session that feeds for all workers, or one in each of them.

A session with a strategy finds out when it is first used. It greets the other workers (Meet); each
either has such a session as well, which does the same, or says that it will open none (Leave). All
have one, or no other has; what some have and some have not is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from graphc.ir.errors import ClusterError
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.effects import Hear, Overdue, Role, Tell
from graphc.runtime.groups import Groups
from graphc.runtime.master import Prepared
from graphc.runtime.messages import Left, Meet, Message
from graphc.runtime.planning import Signature
from graphc.runtime.reduction import NO_GROUP
from graphc.runtime.worker import Worker

MEETING_BOX = 2**13
"""The boxes of sessions with a strategy: the n-th of each task has the n-th from here on."""


class Conductor(Protocol):
    """What takes the steps of a session."""

    broken: str

    def prepare(self, signature: Signature) -> Role: ...
    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role: ...
    def close(self) -> Role: ...


@dataclass
class Meeting:
    """The steps of a session with a strategy, once it has met the other ``members``.

    ``alone`` and ``together`` make what takes them where no other worker has such a session, and
    where all have. Both are given the communicator that it may use for reductions in one call,
    or ``NO_GROUP``; the latter what others said already, too. The session is the ``number``-th of
    its task that claims one of ``groups``.
    """

    cluster: ClusterSpec
    rank: int
    box: int
    worker: Worker
    seconds: float
    members: tuple[int, ...]
    number: int
    groups: Groups
    alone: Callable[[int], Conductor]
    together: Callable[[int, Sequence[tuple[int, Message]]], Conductor]
    broken: str = ""
    _chosen: Conductor | None = field(default=None, init=False)
    _early: list[tuple[int, Message]] = field(default_factory=list, init=False)

    def prepare(self, signature: Signature) -> Role:
        """See ``Master.prepare`` and ``Peer.prepare``.

        Raises:
            ClusterError: a worker does not say in time whether it has a session, or some have one
                and others have not.
        """
        if self._chosen is None:
            self._chosen = yield from self._choose()
        return (yield from self._chosen.prepare(signature))

    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """See ``Master.run`` and ``Peer.run``."""
        assert self._chosen is not None, "what is run was prepared"
        self._chosen.broken = self._chosen.broken or self.broken
        return self._chosen.run(prepared, values)

    def close(self) -> Role:
        """No step will be taken any more."""
        self.worker.watching.discard(self.box)
        if self._chosen is not None:
            yield from self._chosen.close()
            if not self._chosen.broken and not self.broken:
                self.groups.release(self.number)

    def _choose(self) -> Role:
        others = [rank for rank in self.members if rank != self.rank]
        self.worker.watching.add(self.box)
        claimed = [self.groups.claim(self.number)]
        for rank in others:
            yield Tell(rank, self.box, Meet(int(claimed[0])))
        waiting = set(others) - self.worker.left
        while waiting:
            try:
                sender, message = yield Hear(self.box, self.seconds)
            except Overdue:
                names = ", ".join(self.cluster.name_of(rank) for rank in sorted(waiting))
                raise ClusterError(
                    f"{self.cluster.name_of(self.rank)} waited {self.seconds:g} s for {names} to "
                    "open a session with a strategy as well, or to join"
                ) from None
            if isinstance(message, Left):
                waiting.discard(message.rank)
            elif isinstance(message, Meet):
                waiting.discard(sender)
                claimed.append(bool(message.claimed))
            else:  # who has met all others may have begun a step
                self._early.append((sender, message))
        self.worker.watching.discard(self.box)
        group = self.groups.group_of(self.number) if all(claimed) else NO_GROUP
        return self._decide(others, group)

    def _decide(self, others: Sequence[int], group: int) -> Conductor:
        joined = [rank for rank in others if rank in self.worker.left]
        if not joined:
            return self.together(group, self._early)
        if len(joined) == len(others):
            return self.alone(group)
        name_of = self.cluster.name_of
        have = ", ".join(name_of(rank) for rank in others if rank not in joined)
        have_not = ", ".join(map(name_of, joined))
        raise ClusterError(
            f"{have} and {name_of(self.rank)} have a session with a strategy, but {have_not} "
            "will open none: either one worker has it, or all have"
        )
