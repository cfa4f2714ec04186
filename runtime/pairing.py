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
from graphc.runtime.order import Kind, Order

Place: TypeAlias = tuple[int, int]
"""Where an event stands in its task: the strand, and the position there."""
Places: TypeAlias = Mapping[Kind, Mapping[int, Place]]
"""Those of a task's events, by kind and number."""


class Ends:
    """The events of one task, and which of them come before which.

    Raises:
        PlanError: its messages are not each begun once and then waited for once, or its strands
            are not each forked once and then joined once by one other strand.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        places = _places(order)
        self.begun: Mapping[int, Place] = {**places[Kind.POST], **places[Kind.SEND]}
        """For each message: where the receive is posted, or the send is begun."""
        self.forks: Mapping[int, Place] = places[Kind.FORK]
        """For each strand but the first: where it is forked."""
        self._joins = places[Kind.JOIN]
        self.commits = 0 in places[Kind.COMMIT] and places[Kind.COMMIT][0][0] == 0
        """Whether it commits in strand 0."""
        self._check_strands()
        self._check_messages(places)

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

    def _check_strands(self) -> None:
        others = range(1, len(self.order.strands))
        for strand in sorted({*others, *self.forks, *self._joins}):
            fork, join = self.forks.get(strand), self._joins.get(strand)
            if strand not in others:
                raise PlanError(f"{self.order.task} has no strand {strand} beside another")
            if fork is None or join is None or fork[0] != join[0] or fork > join:
                rule = "is not forked and later joined by one other strand"
                raise PlanError(f"strand {strand} of {self.order.task} {rule}")
        reached = {0}
        for strand in others:
            self._check_reached(strand, reached)

    def _check_reached(self, strand: int, reached: set[int]) -> None:
        """Whether it is forked by strand 0, or by one that is."""
        passed: set[int] = set()
        while strand not in reached:
            if strand in passed:
                raise PlanError(f"strand {strand} of {self.order.task} is forked by itself")
            passed.add(strand)
            strand, _ = self.forks[strand]
        reached.update(passed)

    def _check_messages(self, places: Places) -> None:
        for kind, ends in ((Kind.POST, self.order.receives), (Kind.SEND, self.order.sends)):
            for number in places[kind].keys() - ends.keys():
                what = f"{_BEGINS[kind]} message {number}"
                raise PlanError(f"{self.order.task} {what}, but no plan tells it to")
            for number, end in ends.items():
                begun, waited = places[kind].get(number), places[Kind.WAIT].get(number)
                if begun is None or waited is None or not self.before(begun, waited):
                    rule = f"{end.label}, but does not begin that and then wait for its end"
                    raise PlanError(f"{self.order.task} {_BEGINS[kind]} {rule}")
        for number in places[Kind.WAIT].keys() - self.begun.keys():
            raise PlanError(f"{self.order.task} waits for message {number}, which it never begins")


def _places(order: Order) -> Places:
    found: dict[Kind, dict[int, Place]] = {kind: {} for kind in Kind}
    for strand, events in enumerate(order.strands):
        for position, (kind, number) in enumerate(events):
            if number in found[kind]:
                raise PlanError(f"{order.task} has {kind.name} {number} twice")
            found[kind][number] = strand, position
    return found


_BEGINS = {Kind.POST: "receives", Kind.SEND: "sends"}


def pair(tasks: Mapping[int, Ends]) -> None:
    """Check the messages between tasks, by rank.

    Raises:
        PlanError: a message has one end only, goes to another task than it is expected by, has
            two sizes or two tags, or would be taken for another one.
    """
    channels: dict[tuple[int, int, int], list[int]] = {}
    expected = _expected(tasks)
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


def _expected(tasks: Mapping[int, Ends]) -> dict[int, int]:
    """The task that receives each message."""
    found: dict[int, int] = {}
    for rank, task in tasks.items():
        for number, end in task.order.receives.items():
            if number in found:
                names = f"{tasks[found[number]].order.task} and {task.order.task}"
                raise PlanError(f"{end.label} is received by {names}, but sent once")
            found[number] = rank
    return found


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
    begun = sender.begun

    def compare(a: int, b: int) -> int:
        return -1 if sender.before(begun[a], begun[b]) else 1

    ordered = sorted(numbers, key=cmp_to_key(compare))
    for first, second in pairwise(ordered):
        for task in (sender, receiver):
            if not task.before(task.begun[first], task.begun[second]):
                labels = f"{sender.order.sends[first].label} and {sender.order.sends[second].label}"
                ends = f"{sender.order.task} and {receiver.order.task}"
                raise PlanError(f"{labels} share a tag and are not in one order at {ends}")
