"""Carries plans out in symbols, knowing nothing of how they were made.

Memory holds expressions: ``(member, row, element)``, or a pair of what was combined. Sends are
synchronous: a wait ends once both ends have begun, and that is when the elements move. Memory under
way is guarded.
"""

from graphc.compiler.collectives import Combine, Copy, Receive, Send, Wait

GARBAGE = "garbage"


class Member:
    def __init__(self, plan):
        self.plan, self.at = plan, 0
        self.memory = {
            row: [(plan.member, row, e) for e in range(plan.elements)] for row in range(plan.rows)
        }
        self.memory[-1] = [GARBAGE] * plan.scratch
        self.begun = {}
        self.reading, self.writing = [], []
        """Regions of sends and of receives that have not been waited for."""

    @property
    def done(self):
        return self.at == len(self.plan.moves)

    def region(self, place, first, count):
        assert count > 0, "an empty move"
        assert first >= 0, first
        assert first + count <= len(self.memory[place]), "outside of its memory"
        return place, first, first + count

    def read(self, place, first, count):
        region = self.region(place, first, count)
        assert not any(overlap(region, other) for other in self.writing), "reads what is received"
        values = self.memory[place][first : first + count]
        assert GARBAGE not in values, "reads what was never written"
        return values

    def write(self, place, first, values):
        region = self.region(place, first, len(values))
        assert not any(overlap(region, o) for o in self.writing), "writes what is received"
        assert not any(overlap(region, o) for o in self.reading), "writes what is sent"
        self.memory[place][first : first + len(values)] = values


def overlap(a, b):
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


class Machine:
    """All members, in an order of moves that ``pick`` chooses."""

    def __init__(self, plans):
        self.members = [Member(plan) for plan in plans]
        self.messages = {}
        """By number, the ends that were begun: {Send: (member, move), Receive: ...}."""
        self.transferred = set()
        self.elements_sent = [0] * len(plans)

    def run(self, pick):
        while open_ := [m for m in self.members if not m.done]:
            able = [m for m in open_ if self.can(m)]
            assert able, "deadlock: " + "; ".join(
                f"{m.plan.member}: {m.plan.moves[m.at]}" for m in open_
            )
            member = pick(able)
            self.move(member, member.plan.moves[member.at])
            member.at += 1
        for member in self.members:
            assert not member.begun, "a transfer that nobody waits for"
            assert all(len(ends) == 2 for ends in self.messages.values())

    def can(self, member):
        move = member.plan.moves[member.at]
        if not isinstance(move, Wait):
            return True
        assert move.number in member.begun, "waits for what was not begun"
        return len(self.messages[move.number]) == 2

    def move(self, member, move):
        if isinstance(move, Send | Receive):
            self.begin(member, move)
        elif isinstance(move, Wait):
            self.end(member, move.number)
        elif isinstance(move, Combine):
            left = member.read(move.into, move.into_first, move.count)
            right = member.read(move.source, move.source_first, move.count)
            values = list(zip(left, right, strict=True))
            member.write(move.into, move.into_first, values)
        else:
            assert isinstance(move, Copy)
            values = member.read(move.source, move.source_first, move.count)
            member.write(move.into, move.into_first, values)

    def begin(self, member, move):
        ends = self.messages.setdefault(move.number, {})
        assert type(move) not in ends, "a number was used twice"
        for _, other in ends.values():
            assert other.count == move.count, "ends of different lengths"
        for at, other in ends.values():
            assert (at.plan.member, other.peer) == (move.peer, member.plan.member)
        region = member.region(move.place, move.first, move.count)
        if isinstance(move, Send):
            member.read(move.place, move.first, move.count)
            member.reading.append(region)
            self.elements_sent[member.plan.member] += move.count
        else:
            busy = [*member.reading, *member.writing]
            assert not any(overlap(region, o) for o in busy), "receives into what is under way"
            member.memory[move.place][move.first : move.first + move.count] = [GARBAGE] * move.count
            member.writing.append(region)
        ends[type(move)] = member, move
        member.begun[move.number] = move, region

    def end(self, member, number):
        self.transfer(number)
        move, region = member.begun.pop(number)
        (member.reading if isinstance(move, Send) else member.writing).remove(region)

    def transfer(self, number):
        """Move the elements, once; the receiver's guard stays until it has waited."""
        if number not in self.transferred:
            self.transferred.add(number)
            (source, sent), (to, received) = (self.messages[number][k] for k in (Send, Receive))
            values = source.memory[sent.place][sent.first : sent.first + sent.count]
            to.memory[received.place][received.first : received.first + sent.count] = values
