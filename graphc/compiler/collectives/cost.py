"""What a reduction takes, in seconds, by a model of five numbers, and three for MPI's own.

A transfer of b bytes takes ``latency + message + byte b``: latency passes beside other transfers,
the other two keep the sender's link busy (Culler et al., "LogP", 1993, with a term for bytes).
Members are alike, and each has a link of its own in both directions. Where several share one, a
ring sends over it once in a step; who sends to all does so as often as there are members on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Library:
    """What MPI's own reduction takes: to begin and end one, for each round of it, for a byte.

    Most libraries double what they have combined in each round, and go around a ring with what is
    large: both are told by these three, the bytes by those that a member of a ring sends.
    """

    call: float
    round: float
    byte: float


@dataclass(frozen=True, slots=True)
class Shared:
    """What a reduction takes over memory that all members see.

    That is to begin and end it, for each member that is looked at, and for a byte of another one's
    memory that is read, combined or not.
    """

    call: float
    member: float
    byte: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What moving and combining takes; times are seconds, for one message or for one byte."""

    latency: float
    message: float
    byte: float
    combine: float
    sharers: int = 1
    """How many members share a link."""
    library: Library | None = None
    """None: not known, so it is not chosen."""
    shared: Shared | None = None


ONE_HOST = Costs(
    latency=2e-6, message=1.5e-5, byte=3e-10, combine=1e-10,
    library=Library(call=1e-5, round=4e-6, byte=5.5e-10),
    shared=Shared(call=5e-6, member=5e-7, byte=1.8e-10),
)  # fmt: skip
"""Processes that share a machine's memory; a message is mostly the time to begin and to end it.

MPI's own has that once, whatever the number of members, but moves and combines each byte slower.
Over shared memory that is counted as less than it takes, by the messages that it saves a step: its
end tells that all have computed. Measured with Open MPI by ``benchmarks/cluster/allreduce.py``.
"""


def shared_seconds(size: int, members: int, shared: Shared) -> float:
    """Over ``size`` bytes; nothing if there is one member.

    Each reads a chunk of all others, and then their chunks.
    """
    if members == 1:
        return 0.0
    read = 2 * (members - 1) / members * size
    return shared.call + (members - 1) * shared.member + read * shared.byte


def library_seconds(size: int, members: int, library: Library) -> float:
    """MPI's own, over ``size`` bytes; nothing if there is one member."""
    if members == 1:
        return 0.0
    rounds = (members - 1).bit_length()
    sent = 2 * (members - 1) / members * size
    return library.call + rounds * library.round + sent * library.byte


def ring_seconds(size: int, members: int, costs: Costs, pieces: int = 1) -> float:
    """A ring over ``size`` bytes, each chunk in ``pieces``.

    With one piece a step is a transfer and then a combination. With several a step takes as long as
    what is busiest: the link, the member that combines, or the way of one piece. In the last step
    all pieces have to arrive.
    """
    if members == 1:
        return 0.0
    chunk = size / members
    link = pieces * costs.message + chunk * costs.byte
    combination = chunk * costs.combine
    way = costs.latency + costs.message + chunk / pieces * costs.byte
    combining = max(link, combination, way + combination / pieces)
    last = link + costs.latency
    return (members - 1) * combining + (members - 2) * max(link, way) + last


def direct_seconds(size: int, members: int, costs: Costs) -> float:
    """All to all, ``size`` bytes each; what came is combined and the result copied."""
    if members == 1:
        return 0.0
    link = costs.message + size * costs.byte
    combining = members * size * costs.combine
    return costs.latency + _messages(members, costs.sharers) * link + combining


def scattered_seconds(size: int, members: int, costs: Costs) -> float:
    """Two rounds of all to all, a chunk each; the first is combined as it comes.

    With fewer elements than members there are fewer messages than this counts.
    """
    if members == 1:
        return 0.0
    chunk = size / members
    sending = _messages(members, costs.sharers) * (costs.message + chunk * costs.byte)
    combination = chunk * costs.combine
    last = min(sending / (members - 1), combination)
    return 2 * costs.latency + max(sending, (members - 1) * combination) + last + sending


def _messages(members: int, sharers: int) -> int:
    """How many messages go over the busiest link when all send to all."""
    return max(members - 1, sharers * (members - sharers))
