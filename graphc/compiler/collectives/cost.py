"""What a reduction takes, in seconds, by a model of four numbers.

A transfer of b bytes takes ``latency + message + byte b``: latency passes beside other transfers,
the other two keep the sender's link busy (Culler et al., "LogP", 1993, with a term for bytes).
Members are alike, and each has a link of its own in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """What moving and combining takes; all are seconds, for one message or for one byte."""

    latency: float
    message: float
    byte: float
    combine: float


ONE_HOST = Costs(latency=3e-6, message=1e-5, byte=2e-10, combine=2e-10)
"""Processes that share a machine's memory; a message is mostly the time to begin and to end it."""


def ring_seconds(size: int, members: int, costs: Costs, pieces: int = 1) -> float:
    """A ring over ``size`` bytes, each chunk in ``pieces``.

    With one piece a step is a transfer and then a combination. With several a step takes as long as
    what is busiest: the link, the member that combines, or the way of one piece.
    """
    chunk = size / members
    link = pieces * costs.message + chunk * costs.byte
    combination = chunk * costs.combine
    way = costs.latency + costs.message + chunk / pieces * costs.byte
    combining = max(link, combination, way + combination / pieces)
    return (members - 1) * (combining + max(link, way))


def direct_seconds(size: int, members: int, costs: Costs) -> float:
    """All to all, ``size`` bytes each; what comes is combined behind the last of it."""
    link = costs.message + size * costs.byte
    return _round(members, costs, link) + (members - 1) * size * costs.combine


def scattered_seconds(size: int, members: int, costs: Costs) -> float:
    """Two rounds of all to all, a chunk each; the first is combined."""
    chunk = size / members
    link = costs.message + chunk * costs.byte
    return 2 * _round(members, costs, link) + (members - 1) * chunk * costs.combine


def _round(members: int, costs: Costs, link: float) -> float:
    return costs.latency + (members - 1) * link if members > 1 else 0.0
