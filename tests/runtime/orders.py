"""Random orders of communication, in which nobody gets stuck, and changes to them."""

import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

from graphc.runtime.order import Event, Kind, Order
from graphc.runtime.part import End

BEGINS = (Kind.POST, Kind.SEND)
WAITS = (Kind.WAIT, Kind.JOIN, Kind.COMMIT)


@dataclass
class Draft:
    """Orders in the making: lists of events by (task, strand), and the ends of each message."""

    strands: list = field(default_factory=list)
    sends: list = field(default_factory=list)
    receives: list = field(default_factory=list)
    agree: bool = False

    def orders(self):
        return {
            rank: Order(f"task {rank}", strands, self.sends[rank], self.receives[rank])
            for rank, strands in enumerate(self.strands)
        }

    def copy(self):
        strands = [[list(strand) for strand in task] for task in self.strands]
        ends = [[dict(task) for task in side] for side in (self.sends, self.receives)]
        return Draft(strands, *ends, self.agree)


def random_draft(rng: random.Random, tasks=None, messages=None) -> Draft:
    """Orders in which nobody gets stuck: those in which one list of all events is gone through."""
    tasks = tasks or rng.choice((2, 2, 3, 3, 4, 5))
    messages = rng.randint(1, 12) if messages is None else messages
    draft = Draft([], [{} for _ in range(tasks)], [{} for _ in range(tasks)], rng.random() < 0.4)
    happened = []
    for number in range(messages):
        sender, receiver = rng.sample(range(tasks), 2)
        size = rng.choice((None, 8))
        draft.sends[sender][number] = End(receiver, f"m{number}", size)
        draft.receives[receiver][number] = End(sender, f"m{number}", rng.choice((None, size)))
        begins = [(sender, Event(Kind.SEND, number)), (receiver, Event(Kind.POST, number))]
        waits = [(sender, Event(Kind.WAIT, number)), (receiver, Event(Kind.WAIT, number))]
        rng.shuffle(begins)
        rng.shuffle(waits)
        at = -1
        for event in (*begins, *waits):
            at = rng.randint(at + 1, len(happened))
            happened.insert(at, event)
    committed = rng.randint(0, len(happened))
    happened[committed:committed] = [(rank, Event(Kind.COMMIT)) for rank in range(tasks)]
    for rank in range(tasks):
        strands = [[event for task, event in happened if task == rank]]
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            _fork(rng, strands)
        draft.strands.append(strands)
    _share_tags(rng, draft)
    return draft


def _fork(rng, strands):
    """Let some events of a stretch of a strand happen in a new strand beside the others."""
    strand = rng.choice(strands)
    begin, end = sorted(rng.choices(range(len(strand) + 1), k=2))
    stretch = strand[begin:end]
    if any(e.kind in (Kind.FORK, Kind.JOIN) for e in stretch):
        return  # what is forked there may wait for what is begun here
    chosen = {e.number for e in stretch if e.kind <= Kind.WAIT and rng.random() < 0.6}
    moved = [e for e in stretch if e.kind <= Kind.WAIT and e.number in chosen]
    kept = [e for e in stretch if e not in moved]
    number = len(strands)
    strand[begin:end] = [Event(Kind.FORK, number), *kept, Event(Kind.JOIN, number)]
    strands.append(moved)


def _share_tags(rng, draft):
    """Give messages between two tasks one tag, where both ends begin them in one order."""
    for rank, ends in enumerate(draft.sends):
        for peer in {end.peer for end in ends.values()}:
            shared = []
            for number in [n for n, end in ends.items() if end.peer == peer]:
                fits = (ordered(draft, task, [*shared, number]) for task in (rank, peer))
                if rng.random() < 0.4 and all(fits):
                    shared.append(number)
            for number in shared:
                for side, task in ((draft.sends, rank), (draft.receives, peer)):
                    side[task][number] = replace(side[task][number], tag=7)


def ordered(draft, task, numbers):
    """Whether a task begins these messages in this order."""
    after = reachable(draft.strands[task])
    begins = [find(draft.strands[task], BEGINS, number) for number in numbers]
    return all(b in after[a] for a, b in pairwise(begins))


def find(strands, kinds, number):
    """The one event of a kind and number, as (strand, position); None if there is not one."""
    found = [
        (s, i)
        for s, strand in enumerate(strands)
        for i, event in enumerate(strand)
        if event.kind in kinds and event.number == number
    ]
    return found[0] if len(found) == 1 else None


def reachable(strands):
    """For each event of a task, those that it always does later."""
    after = {(s, i): set() for s, strand in enumerate(strands) for i in range(len(strand) + 1)}
    for s, strand in enumerate(strands):
        for i, event in enumerate(strand):
            after[s, i].add((s, i + 1))
            if event.kind is Kind.FORK and event.number < len(strands):
                after[s, i].add((event.number, 0))
            if event.kind is Kind.JOIN and event.number < len(strands):
                after[event.number, len(strands[event.number])].add((s, i))
    return {place: _behind(place, after) for place in after}


def _behind(place, after):
    found, left = set(), [place]
    while left:
        for other in after[left.pop()]:
            if other not in found:
                found.add(other)
                left.append(other)
    return found


def changed(rng: random.Random, draft: Draft) -> Draft:
    """A copy with one to three changes, most of which do harm."""
    draft = draft.copy()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(CHANGES)(rng, draft)
    return draft


def _strand(rng, draft):
    return rng.choice([s for task in draft.strands for s in task if s] or [[]])


def _swap(rng, draft):
    strand = _strand(rng, draft)
    if len(strand) > 1:
        a, b = rng.sample(range(len(strand)), 2)
        strand[a], strand[b] = strand[b], strand[a]


def _swap_neighbours(rng, draft):
    strand = _strand(rng, draft)
    if len(strand) > 1:
        a = rng.randrange(len(strand) - 1)
        strand[a : a + 2] = strand[a + 1], strand[a]


def _drop(rng, draft):
    strand = _strand(rng, draft)
    if strand:
        strand.pop(rng.randrange(len(strand)))


def _repeat(rng, draft):
    strand = _strand(rng, draft)
    if strand:
        strand.insert(rng.randint(0, len(strand)), rng.choice(strand))


def _wait_earlier(rng, draft):
    strand = _strand(rng, draft)
    waits = [i for i, event in enumerate(strand) if event.kind is Kind.WAIT]
    if waits:
        at = rng.choice(waits)
        begun = [i for i in range(at) if strand[i].number == strand[at].number]
        strand.insert(rng.randint(begun[-1] + 1 if begun else 0, at), strand.pop(at))


def _begin_later(rng, draft):
    strand = _strand(rng, draft)
    begins = [i for i, event in enumerate(strand) if event.kind in BEGINS]
    if begins:
        at = rng.choice(begins)
        event = strand.pop(at)
        waits = [i for i in range(at, len(strand)) if strand[i] == (Kind.WAIT, event.number)]
        strand.insert(rng.randint(at, waits[0] if waits else len(strand)), event)


def _wait_first(rng, draft):
    """Here and there a wait comes before what was begun just before it: where circles are from."""
    for strand in [strand for task in draft.strands for strand in task] * rng.randint(1, 6):
        for i in range(len(strand) - 1):
            begin, wait = strand[i : i + 2]
            apart = begin.kind in BEGINS and wait.kind in WAITS and begin.number != wait.number
            if apart and rng.random() < 0.7:
                strand[i : i + 2] = wait, begin


def _other_strand(rng, draft):
    strands = rng.choice(draft.strands)
    source, target = rng.choice(strands), rng.choice(strands)
    if source:
        event = source.pop(rng.randrange(len(source)))
        target.insert(rng.randint(0, len(target)), event)


def _reverse(rng, draft):
    """One end of a message, or both, go the other way."""
    for number in _some_message(rng, draft):
        for rank in range(len(draft.strands)):
            sends, receives = draft.sends[rank], draft.receives[rank]
            if (number in sends) != (number in receives) and rng.random() < 0.7:
                kinds = BEGINS if number in sends else BEGINS[::-1]
                one, other = (sends, receives) if number in sends else (receives, sends)
                other[number] = one.pop(number)
                for strand in draft.strands[rank]:
                    events = {Event(kinds[1], number): Event(kinds[0], number)}
                    strand[:] = [events.get(event, event) for event in strand]


def _other_end(rng, draft):
    """One end has another peer, tag or size."""
    for number in _some_message(rng, draft):
        sides = [e for e in (*draft.sends, *draft.receives) if number in e]
        side = rng.choice(sides)
        new = rng.choice(({"peer": rng.randrange(len(draft.strands))}, {"tag": 7}, {"size": 4}))
        side[number] = replace(side[number], **new)


def _share(rng, draft):
    """Two messages between the same tasks have one tag, whatever their order."""
    for number in _some_message(rng, draft):
        for sends in draft.sends:
            for other in sends if number in sends else ():
                if sends[other].peer == sends[number].peer and other != number:
                    for side in (*draft.sends, *draft.receives):
                        for n in {other, number} & side.keys():
                            side[n] = replace(side[n], tag=9)
                    return


def _some_message(rng, draft):
    numbers = sorted({n for ends in draft.sends for n in ends})
    return rng.sample(numbers, 1) if numbers else []


CHANGES = (
    _swap, _swap_neighbours, _drop, _repeat, _wait_earlier, _begin_later, *[_wait_first] * 24,
    _other_strand, _reverse, _other_end, _share,
)  # fmt: skip
