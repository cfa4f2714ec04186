"""What really happens if tasks follow their orders: the oracle of the checker of plans.

It knows nothing of the checker: strands are roles of the simulator, with sends that end only when
they are received, and what no single run would show is found by search over pairs of events.
"""

from graphc.runtime.drivers.network import Network
from graphc.runtime.drivers.simulation import Simulation, Stuck
from graphc.runtime.effects import Await, Hear, Post, Spawn, Tell
from graphc.runtime.order import Kind
from tests.runtime.orders import BEGINS, Draft, find, ordered, reachable

OWN_TAGS, MEETING, JOINS = 1000, 50, 100
DONE = "done"
"""What a strand tells the one that joins it; the simulator looks into no message."""


class _Remembering(Simulation):
    """A simulation that forgets no role that has ended."""

    def __init__(self, seed: int, network: Network):
        super().__init__(seed, network)
        self.spawned = []

    def spawn(self, rank, role):
        running = super().spawn(rank, role)
        self.spawned.append(running)
        return running


def happens(draft: Draft, seed: int) -> str:
    """What comes of the orders: "ends", "stuck", or what is wrong with them."""
    for rule in (_wrong_strands, _wrong_ends):
        if wrong := rule(draft):
            return wrong
    simulation = _Remembering(seed, Network(synchronous=True))
    main = [_Task(draft, rank).strand(0) for rank in range(len(draft.strands))]
    running = [simulation.spawn(rank, role) for rank, role in enumerate(main)]
    try:
        simulation.run(*running)
    except Stuck:
        errors = [r.error for r in simulation.spawned if r.error is not None]
        return f"wrong: {errors[0]}" if errors else "stuck"
    errors = [r.error for r in running if r.error is not None]
    left = any(simulation._arrived.values()) or any(simulation._expected.values())
    return f"wrong: {errors or 'a message is left'}" if errors or left else "ends"


def _wrong_strands(draft):
    for strands in draft.strands:
        after = reachable(strands)
        for number in range(1, len(strands)):
            fork, join = (find(strands, [k], number) for k in (Kind.FORK, Kind.JOIN))
            if fork is None or join is None or fork[0] != join[0] or fork[1] > join[1]:
                return "wrong: a strand"
            if fork not in after[0, 0] | {(0, 0)}:
                return "wrong: a strand that is never reached"
        others = [e.number for s in strands for e in s if e.kind in (Kind.FORK, Kind.JOIN)]
        if any(not 0 < number < len(strands) for number in others):
            return "wrong: no such strand"
        commits = find(strands, [Kind.COMMIT], 0)
        everywhere = [e for strand in strands for e in strand if e.kind is Kind.COMMIT]
        if len(everywhere) > 1 or (draft.agree and (commits is None or commits[0] != 0)):
            return "wrong: commits"
    return ""


def _wrong_ends(draft):
    """What is wrong with begins and waits, or with tags, in some order at least."""
    for rank, strands in enumerate(draft.strands):
        after = reachable(strands)
        for kind, ends in ((Kind.POST, draft.receives[rank]), (Kind.SEND, draft.sends[rank])):
            for number, end in ends.items():
                begin, wait = find(strands, [kind], number), find(strands, [Kind.WAIT], number)
                if begin is None or wait is None or wait not in after[begin] or end.peer == rank:
                    return "wrong: an end"
    return _wrong_pairs(draft) or _wrong_tags(draft)


def _wrong_pairs(draft):
    """Whether the two ends of each message know each other."""
    for one, other in ((draft.sends, draft.receives), (draft.receives, draft.sends)):
        seen = set()
        for rank, ends in enumerate(one):
            for number, end in ends.items():
                far = other[end.peer].get(number)
                if number in seen or far is None or far.peer != rank or far.tag != end.tag:
                    return "wrong: a pair"
                if None not in (far.size, end.size) and far.size != end.size:
                    return "wrong: sizes"
                seen.add(number)
    return ""


def _wrong_tags(draft):
    """Whether messages of one tag could meet in another order than they are sent in."""
    for rank, ends in enumerate(draft.sends):
        for a, first in ends.items():
            for b, second in ends.items():
                if (
                    a < b
                    and first.tag is not None
                    and (first.peer, first.tag) == (second.peer, second.tag)
                ):
                    pairs = ([a, b], [b, a])
                    if not any(
                        ordered(draft, rank, p) and ordered(draft, first.peer, p) for p in pairs
                    ):
                        return "wrong: messages with one tag in two orders"
    return ""


class _Task:
    """A task that follows its order, whatever it is: roles for the simulator."""

    def __init__(self, draft, rank):
        self.rank, self.count, self.agree = rank, len(draft.strands), draft.agree
        self.strands = draft.strands[rank]
        self.ends = {Kind.SEND: draft.sends[rank], Kind.POST: draft.receives[rank]}
        self.tickets = {}

    def strand(self, number):
        for kind, what in self.strands[number]:
            if kind in BEGINS:
                end = self.ends[kind][what]
                memory = bytearray(what.to_bytes(8) if kind is Kind.SEND else 8)
                tag = OWN_TAGS + what if end.tag is None else end.tag
                ticket = yield Post(end.peer, tag, memory, sends=kind is Kind.SEND)
                self.tickets[what] = ticket, memory
            elif kind is Kind.WAIT:
                ticket, memory = self.tickets.pop(what)
                yield Await(ticket)
                assert int.from_bytes(memory) == what, "a message was taken for another one"
            elif kind is Kind.FORK:
                yield Spawn(self.strand(what))
            elif kind is Kind.JOIN:
                yield Hear(JOINS + what)
            elif self.agree:
                for peer in range(self.count):
                    yield Tell(peer, MEETING, DONE)
                for _ in range(self.count):
                    yield Hear(MEETING)
        if number:
            yield Tell(self.rank, JOINS + number, DONE)
        else:
            assert not self.tickets, "a message was not waited for"
