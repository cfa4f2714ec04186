"""What became of steps: what sessions decided, for their own task and for others that ask."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """How a step stands in one task."""

    COMPUTING = 0
    PREPARED = 1
    """Computed; variables are written once all tasks agree."""
    COMMITTED = 2
    ABORTED = 3

    @property
    def final(self) -> bool:
        return self in (State.COMMITTED, State.ABORTED)


class Decisions:
    """What the sessions of one task decided, by their boxes, for other tasks that ask.

    A step that was neither committed nor is under way was aborted.
    """

    def __init__(self) -> None:
        self._committed: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._given_up: dict[int, int] = {}

    def begin(self, session: int, step: int) -> None:
        """The session begins a step."""
        self._open[session] = step

    def commit(self, session: int, step: int) -> None:
        """All tasks may write what the step gives variables."""
        self._committed[session] = step

    def give_up(self, session: int, step: int) -> State:
        """What became of a step; one that is not committed yet never will be by itself."""
        if self._committed.get(session, -1) >= step:
            return State.COMMITTED
        self._given_up[session] = max(step, self._given_up.get(session, -1))
        return State.ABORTED

    def is_given_up(self, session: int, step: int) -> bool:
        """Whether another task was told that the step is not committed."""
        return self._given_up.get(session, -1) >= step

    def end(self, session: int) -> None:
        """The session's step is over, well or not."""
        self._open.pop(session, None)

    def state_of(self, session: int, step: int) -> State | None:
        """What became of a step; None: not decided yet."""
        if self._committed.get(session, -1) >= step:
            return State.COMMITTED
        return None if self._open.get(session) == step else State.ABORTED
