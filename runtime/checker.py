"""The checker of plans: proves, before the first step, that no step can get stuck.

A step is a set of events: each task's strands, in which a strand's events follow one another. An
event *needs* the one before it in its strand; the first of a forked strand needs its fork, a join
the end of its strand. Messages add the rest, under the strictest rule that MPI knows, where a send
ends only once it is received (``Issend``): the wait of a send needs the post of its receive, the
wait of a receive needs the begin of its send, and both need what they wait for to be begun. A
commit that all tasks agree on needs everything that any task does before its own.

*A step ends, whatever the order and the speed of its tasks, if and only if no event needs itself
through others.* Posts, begins and forks go on at once, as there is no bound on receives that are
posted, and what a strand does never depends on data or time. So an event takes place as soon as
all that it needs has, and nothing that has taken place can take this back. If a step were stuck,
each event that is left would need another one that is left; as they are finitely many, some event
would need itself. And if one does, none of those on the way can be the first to take place. Hence
every order of events ends the same way, and carrying out any one of them decides for all: that is
what ``check`` does, in time linear in events (Kahn's topological sort, "Topological sorting of
large networks", 1962, along strands). Sends that end earlier, as buffered ones do, need less, so
they cannot get stuck either. That waits are for the ends that they are meant for is ``pairing``'s
part of the proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from graphc.ir.errors import PlanError
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.order import Event, Kind, Order, Strand, order_of
from graphc.runtime.pairing import Ends, pair
from graphc.runtime.planning import Plan

Name: TypeAlias = tuple[int, int]
"""A strand of the step: the rank of its task, and its number there."""
Key: TypeAlias = tuple[int, ...]
"""What a strand waits for: an event or, of a strand that ends, its join and the task."""
_POST, _SEND, _WAIT, _FORK, _JOIN, _COMMIT = Kind
_BEGINS = (_POST, _SEND)


def check_plan(plan: Plan, cluster: ClusterSpec, strands: Mapping[int, Sequence[Strand]]) -> None:
    """Prove that a step of ``plan`` ends if its tasks, by rank, have these strands.

    Raises:
        PlanError: as ``check``.
    """
    if plan.edges:
        orders = {
            rank: order_of(cluster.name_of(rank), part, strands[rank])
            for rank, part in plan.parts.items()
        }
        check(orders, agree=plan.agree)


def check(orders: Mapping[int, Order], *, agree: bool = False) -> None:
    """Prove that a step of tasks with these orders, by rank, ends; see above.

    ``agree``: no task commits before all have come to their commits; each has one, in strand 0.

    Raises:
        PlanError: ends of messages that do not fit together, or tasks that wait in a circle, of
            which it tells the shortest: for each task what it waits for, the op and user's line.
    """
    tasks = {rank: Ends(order) for rank, order in orders.items()}
    pair(tasks)
    for task in tasks.values() if agree else ():
        if not task.commits:
            raise PlanError(f"{task.order.task} does not commit with all others")
    step = _Step(tasks, agree)
    step.carry_out()
    if step.waiting:
        lines = "\n".join(f"  {line}" for line in step.circle())
        raise PlanError(f"a step would never end, because these tasks wait in a circle:\n{lines}")


class _Step:
    """One order of all events that the rules allow, as far as it goes."""

    def __init__(self, tasks: Mapping[int, Ends], agree: bool) -> None:
        self.tasks, self.agree = tasks, agree
        self.waiting: dict[Name, tuple[Event, Key]] = {}
        """The strands that cannot go on, each with the event that waits, and what for."""
        self._done: set[Key] = set()
        self._waiters: dict[Key, list[Name]] = {}
        self._left = {
            (rank, number): iter(strand)
            for rank, task in tasks.items()
            for number, strand in enumerate(task.order.strands)
        }
        self._computing = set(tasks)
        """The tasks that have not come to their commits."""

    def carry_out(self) -> None:
        """Let all strands go on until nothing more can take place."""
        ready: list[Name] = [(rank, 0) for rank in self.tasks]
        while ready:
            name = ready.pop()
            ready += self._advance(name)

    def _advance(self, name: Name) -> Iterator[Name]:
        """Let a strand go on to its next wait; gives the strands that can go on by that."""
        rank, strand = name
        begins = _BEGINS
        for event in self._left[name]:
            kind, number = event
            if kind in begins:
                yield from self._finish(event)
            elif kind is _FORK:
                yield rank, number
            else:
                if kind is _COMMIT:
                    yield from self._arrive(rank)
                key = self._need(rank, kind, number)
                if key not in self._done:
                    self.waiting[name] = event, key
                    self._waiters.setdefault(key, []).append(name)
                    return
        yield from self._finish((_JOIN, strand, rank))

    def _finish(self, key: Key) -> list[Name]:
        """Let an event take place; gives the strands that waited for it."""
        self._done.add(key)
        names = self._waiters.pop(key, [])
        for name in names:
            del self.waiting[name]
        return names

    def _arrive(self, rank: int) -> list[Name]:
        self._computing.discard(rank)
        return [] if self._computing and self.agree else self._finish(_AGREED)

    def _need(self, rank: int, kind: Kind, number: int) -> Key:
        """What has to take place before an event that may wait."""
        if kind is _WAIT:
            return (_POST if number in self.tasks[rank].order.sends else _SEND), number
        return (_JOIN, number, rank) if kind is _JOIN else _AGREED

    def circle(self) -> list[str]:
        """A line for each strand of the shortest circle in which strands wait for each other."""
        shortest: list[Name] = []
        for name in sorted(self.waiting):
            found = self._circle_through(name, len(shortest))
            shortest = found or shortest
        return [self._line(name, shortest[i - 1]) for i, name in enumerate(shortest)][::-1]

    def _circle_through(self, start: Name, bound: int) -> list[Name]:
        """The shortest circle from ``start`` on, backwards, if shorter than ``bound`` (0: none)."""
        came: dict[Name, tuple[Name, int]] = {start: (start, 1)}
        queue = deque([start])
        while queue:
            name = queue.popleft()
            _, length = came[name]
            if bound and length >= bound:
                break
            for other in self._blockers(name):
                if other == start:
                    return list(_path(came, name))
                if other not in came:
                    came[other] = name, length + 1
                    queue.append(other)
        return []

    def _blockers(self, name: Name) -> Iterator[Name]:
        """The waiting strands without which a waiting strand cannot go on."""
        event, _ = self.waiting[name]
        if event.kind is _JOIN:
            yield name[0], event.number
        elif event.kind is _COMMIT:
            yield from ((rank, 0) for rank in self._computing)
        else:
            rank = self._peer(name)
            yield self._begun(rank, self.tasks[rank].begun[event.number][0])

    def _peer(self, name: Name) -> int:
        """The task that a strand waits for, which waits for a message."""
        event, _ = self.waiting[name]
        order = self.tasks[name[0]].order
        return (order.sends.get(event.number) or order.receives[event.number]).peer

    def _begun(self, rank: int, strand: int) -> Name:
        """A strand or, as long as it is not forked, the one that has to come to its fork."""
        while (rank, strand) not in self.waiting:
            strand = self.tasks[rank].forks[strand][0]
        return rank, strand

    def _line(self, name: Name, blocker: Name) -> str:
        """What a strand waits for, that ``blocker`` keeps back."""
        rank, strand = name
        event, key = self.waiting[name]
        order, peer = self.tasks[rank].order, self.tasks[blocker[0]].order
        who = f"{order.task}, strand {strand}," if strand else order.task
        if event.kind is _JOIN:
            return f"{who} waits for its strand {event.number} to end"
        if event.kind is _COMMIT:
            return f"{who} waits for {peer.task} to have computed, before variables are written"
        verb, sender = ("send", peer) if key[0] is _SEND else ("receive", order)
        return f"{who} waits for {peer.task} to {verb} {sender.sends[event.number].label}"


def _path(came: Mapping[Name, tuple[Name, int]], name: Name) -> Iterator[Name]:
    """The strands from ``name`` back to where the search began."""
    yield name
    while came[name][0] != name:
        name = came[name][0]
        yield name


_AGREED: Key = (_COMMIT,)
