"""Whether the ends of all messages fit together, whatever the order in which tasks reach them.

What the checker of plans needs to know before it asks who waits for whom: each message is sent by
one task and received by one other, with the same size; what is begun is waited for once, later in
its own task; and where messages share a tag, those that meet are two ends of one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from itertools import pairwise
from typing import TypeAlias

from graphc.ir.errors import PlanError
from graphc.runtime.order import Event, Kind, Order

Place: TypeAlias = tuple[int, int]
"""Where an event stands in its task: the strand, and the position there."""


class Forks:
    """The forks and joins of a task's strands: which of its events come before which.

    Raises:
        PlanError: a strand is not forked once and then joined once by the same other strand.
    """

    def __init__(self, order: Order) -> None:
        self._task, self._count = order.task, len(order.strands)
        self.forks: dict[int, Place] = {}
        """For each strand but the first: where it is forked."""
        self._joins: dict[int, Place] = {}
        for strand, events in enumerate(order.strands):
            for position, (kind, number) in enumerate(events):
                if kind is Kind.FORK:
                    self._put(self.forks, number, (strand, position), "forked")
                elif kind is Kind.JOIN:
                    self._put(self._joins, number, (strand, position), "joined")
        self._check_nesting()

    def _put(self, places: dict[int, Place], strand: int, place: Place, what: str) -> None:
        if not 0 < strand < self._count:
            raise PlanError(f"{self._task} has no strand {strand} that could be {what}")
        if strand in places:
            raise PlanError(f"strand {strand} of {self._task} is {what} twice")
        places[strand] = place

    def _check_nesting(self) -> None:
        reached = {0}
        for strand in range(1, self._count):
            fork, join = self.forks.get(strand), self._joins.get(strand)
            if fork is None or join is None:
                what = "forked" if fork is None else "joined"
                raise PlanError(f"strand {strand} of {self._task} is never {what}")
            if fork[0] != join[0] or fork > join:
                what = "not joined behind its fork, in the strand that forked it"
                raise PlanError(f"strand {strand} of {self._task} is {what}")
        for strand in range(1, self._count):
            above = [strand]
            while above[-1] not in reached:
                above.append(self.forks[above[-1]][0])
                if above[-1] in above[:-1]:
                    raise PlanError(f"strand {strand} of {self._task} is forked behind itself")
            reached.update(above)

    def before(self, first: Place, second: Place) -> bool:
        """Whether the task itself has done the first of two events when it does the second."""
        strand, position = first
        at, until = second
        if strand == at:
            return position < until
        above = {at: until}
        while at:
            at, until = self.forks[at]
            above[at] = until
        while strand not in above:
            strand, position = self._joins[strand]
        return position < above[strand]


class Ends:
    """The events of one task by the messages that they belong to.

    Raises:
        PlanError: its messages are not each begun once and then waited for once.
    """

    def __init__(self, order: Order) -> None:
        self.order, self.forks = order, Forks(order)
        self.begun: dict[int, Place] = {}
        self._waited: dict[int, Place] = {}
        for strand, events in enumerate(order.strands):
            for position, event in enumerate(events):
                if event.kind <= Kind.WAIT:
                    self._put(event, (strand, position))
        self._check()

    def _put(self, event: Event, place: Place) -> None:
        sends, receives = self.order.sends, self.order.receives
        number, known = event.number, sends if event.kind is Kind.SEND else receives
        if number not in known and (event.kind is not Kind.WAIT or number not in sends):
            raise PlanError(f"{self.order.task} has no message {number} to {_VERBS[event.kind]}")
        places = self._waited if event.kind is Kind.WAIT else self.begun
        if number in places:
            raise PlanError(self._error(number, f"{_DONE[event.kind]} twice"))
        places[number] = place

    def _check(self) -> None:
        for number in (*self.order.sends, *self.order.receives):
            begun, waited = self.begun.get(number), self._waited.get(number)
            if begun is None:
                raise PlanError(self._error(number, "never begun"))
            if waited is None:
                raise PlanError(self._error(number, "never waited for"))
            if not self.forks.before(begun, waited):
                raise PlanError(self._error(number, "waited for before it is begun"))

    def _error(self, number: int, rule: str) -> str:
        order = self.order
        way = "send" if number in order.sends else "receive"
        end = order.sends.get(number) or order.receives[number]
        return f"the {way} of {end.label} by {order.task} is {rule}"


_VERBS = {Kind.POST: "receive", Kind.SEND: "send", Kind.WAIT: "wait for"}
_DONE = {Kind.POST: "posted", Kind.SEND: "begun", Kind.WAIT: "waited for"}


def pair(tasks: Mapping[int, Ends]) -> None:
    """Check the messages between tasks, by rank.

    Raises:
        PlanError: a message has one end only, goes to another task than it is expected by, has
            two sizes or two tags, or would be taken for another one.
    """
    channels: dict[tuple[int, int, int], list[int]] = {}
    expected = {n: rank for rank, task in tasks.items() for n in task.order.receives}
    for rank, task in tasks.items():
        for number, sent in task.order.sends.items():
            if expected.pop(number, None) != sent.peer or sent.peer == rank:
                raise PlanError(f"nobody receives {sent.label} that {task.order.task} sends")
            _check_message(task.order, tasks[sent.peer].order, number, rank)
            if sent.tag is not None:
                channels.setdefault((rank, sent.peer, sent.tag), []).append(number)
    for number, rank in expected.items():
        order = tasks[rank].order
        raise PlanError(f"nobody sends {order.receives[number].label} that {order.task} receives")
    for (sender, receiver, _), numbers in channels.items():
        _check_channel(tasks[sender], tasks[receiver], numbers)


def _check_message(sender: Order, receiver: Order, number: int, rank: int) -> None:
    sent, received = sender.sends[number], receiver.receives[number]
    what = f"{sent.label} is sent by {sender.task}"
    if received.peer != rank:
        raise PlanError(f"{what}, but {receiver.task} receives it from another task")
    if None not in (sent.size, received.size) and sent.size != received.size:
        sizes = f"{sent.size} bytes, but {receiver.task} receives {received.size}"
        raise PlanError(f"{what} in {sizes}")
    if sent.tag != received.tag:
        raise PlanError(f"{what} with another tag than {receiver.task} receives it with")


def _check_channel(sender: Ends, receiver: Ends, numbers: Sequence[int]) -> None:
    """Messages that share a tag meet in the order in which they are begun at both ends."""
    before, begun = sender.forks.before, sender.begun

    def compare(a: int, b: int) -> int:
        return -1 if before(begun[a], begun[b]) else 1

    for first, second in pairwise(sorted(numbers, key=cmp_to_key(compare))):
        for task in (sender, receiver):
            if not task.forks.before(task.begun[first], task.begun[second]):
                labels = f"{sender.order.sends[first].label} and {sender.order.sends[second].label}"
                ends = f"{sender.order.task} and {receiver.order.task}"
                raise PlanError(f"{labels} share a tag and are not in one order at {ends}")
