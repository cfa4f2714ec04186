"""Everyone sends everything to everyone: one round, for what is so small that only latency counts.

Every member combines all operands in the order of members, so all get the same bits.
"""

from __future__ import annotations

from graphc.compiler.collectives.moves import (
    SCRATCH,
    Combine,
    Copy,
    Move,
    Plan,
    Receive,
    Send,
    Wait,
    check_member,
)


def direct(member: int, members: int, elements: int) -> Plan:
    """The plan of ``member``; scratch memory holds the operands of all others.

    Raises:
        ValueError: no such member, or fewer than no elements.
    """
    check_member(member, members, elements)
    others = [(member + n) % members for n in range(1, members)] if elements else []
    slots = {peer: n * elements for n, peer in enumerate(others)}

    def number(source: int, to: int) -> int:
        return source * (members - 1) + (to - source - 1) % members

    sent = [Wait(number(member, peer)) for peer in others]
    moves: list[Move] = [
        Receive(number(peer, member), peer, SCRATCH, slots[peer], elements) for peer in others
    ]
    moves += [Send(number(member, peer), peer, 0, 0, elements) for peer in others]
    if others and member == 0:  # what comes is combined into what is being sent
        moves += sent
    total = (0, 0) if member == 0 else (SCRATCH, slots.get(0, 0))
    for operand in range(members if others else 0):
        if operand != member:
            moves.append(Wait(number(operand, member)))
        if operand > 0:
            source = (0, 0) if operand == member else (SCRATCH, slots[operand])
            moves.append(Combine(*total, *source, elements))
    if others and member != 0:
        moves += [*sent, Copy(0, 0, *total, elements)]
    messages = members * (members - 1) if elements else 0
    scratch = len(others) * elements
    return Plan("direct", member, members, elements, 1, scratch, messages, tuple(moves))
