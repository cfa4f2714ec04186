"""Which session may make reductions in one call on which communicator of the workers.

These are MPI's own, and those over memory that the workers share.

All members have to begin the reductions on a communicator in one order. Communicators are made when
a server starts, ``GROUPS`` of them, all alike. A session with a strategy, the n-th in its task,
may claim the one numbered ``n`` modulo ``GROUPS``, and uses it if it was claimed in all tasks:

    a. A session claims it in a task where no earlier session has it; who had it has closed, and was
       never broken.
    b. Within a session all members take the same steps, one after the other, and each begins the
       reductions of a step in the order of their numbers (``transfers``), those of an aborted step
       included. So sessions that are not broken have begun the same ones everywhere.
    c. By a, sessions that use one communicator follow each other in every task, in the order of
       their numbers, and each begins behind the last reduction of the one before. By b, so do their
       reductions: the order is the same in all tasks, whatever other sessions do.

A session that cannot claim its communicator combines in other ways. Where one session feeds for all
workers, the others have none, and never will (``meeting``): it alone claims.
"""

from __future__ import annotations

GROUPS = 4
"""So many sessions that are open at one time can use reductions in one call."""


class Groups:
    """What the sessions of one task have claimed of ``count`` communicators.

    ``share_memory``: on each of them there can be reductions over memory as well.
    """

    def __init__(self, count: int, *, share_memory: bool = False) -> None:
        self.share_memory = share_memory
        self._count = count
        self._holders: dict[int, int] = {}
        """By communicator, the session that has it."""

    def group_of(self, session: int) -> int:
        """The communicator of a session, which it uses if all have claimed it."""
        return session % self._count

    def claim(self, session: int) -> bool:
        """Whether a session may use its communicator, as far as this task knows."""
        if self._count == 0:
            return False
        return self._holders.setdefault(self.group_of(session), session) == session

    def release(self, session: int) -> None:
        """A session that was never broken is closed: later ones may have what it had."""
        if self._count and self._holders.get(self.group_of(session)) == session:
            del self._holders[self.group_of(session)]
