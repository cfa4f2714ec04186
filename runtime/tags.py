"""The tags of transfers: which session of which task may use which.

Messages between two tasks that have the same tag keep their order, so no two steps that can be
under way together may use one tag.
"""

from __future__ import annotations

from graphc.ir.errors import ClusterError

MOST_TAGS = 2**30
"""How many tags there are at most, whatever MPI offers."""
_PEER_SESSIONS = 16
"""Of so many sessions that all workers have, the tags differ."""


class Tags:
    """``count`` tags from ``first`` on, given to steps one after the other.

    They begin anew after so many that no message with the same tag can be under way. How many there
    are depends on the MPI library.
    """

    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count
        self._used = 0

    def take(self, count: int) -> int:
        """The first of ``count`` tags.

        Raises:
            ClusterError: there are not so many.
        """
        if count > self._count:
            raise ClusterError(
                f"a step makes {count} transfers, but this MPI has only {self._count} tags for it"
            )
        if self._used + count > self._count:
            self._used = 0
        tag = self._first + self._used
        self._used += count
        return tag


def tags_of_task(rank: int, tasks: int, limit: int = MOST_TAGS) -> Tags:
    """Those of the sessions of one task, of ``limit`` tags in all: the first half is for them."""
    share = limit // 2 // tasks
    return Tags(rank * share, share)


def tags_of_peers(session: int, limit: int = MOST_TAGS) -> Tags:
    """Those of a session that all workers have, which each of them counts alike."""
    share = limit // 2 // _PEER_SESSIONS
    return Tags(limit // 2 + session % _PEER_SESSIONS * share, share)
