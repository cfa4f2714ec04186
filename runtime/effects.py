"""What roles ask of the world: they yield these, and are told the results.

Master, worker and parameter server are generators; above the wire there is no thread, no queue
and no clock. A driver runs them: ``drivers.mpi`` in a process each, ``drivers.simulation`` all of
a cluster in one process, in virtual time. Ranks are the numbers of tasks in the cluster's order;
a box is where one role of a process hears its messages.

A role goes on at once after effects that only begin something; at ``Hear``, ``Await``, ``Work``,
``Join`` and ``Pause`` other roles of its task may go on first.

``about`` and ``step`` name an effect in a timeline; without a name it is not shown. Effects are
never changed; they are not frozen because that takes four times as long to make one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.runtime.messages import Message

Role: TypeAlias = Generator["Effect", Any, Any]
"""What a driver runs."""

WORKER_BOX = 0
"""The box of a process's worker; those of its sessions follow."""

Box: TypeAlias = int | tuple[int, int]
"""Boxes that other tasks reach have numbers; pairs are for the roles of one task."""


class Overdue(Exception):  # noqa: N818, nothing is wrong with who is told
    """A wait took longer than it may; ``missing`` are ranks that it was for, as far as known."""

    def __init__(self, missing: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.missing = missing


@dataclass(slots=True)
class Tell:
    """Hand ``message`` to ``box`` of task ``to``; messages between two tasks keep their order."""

    to: int
    box: Box
    message: Message


@dataclass(slots=True)
class Hear:
    """The next message for ``box`` of this task, as (sender, message).

    ``seconds`` bounds the wait; Overdue is raised at its end.
    """

    box: Box
    seconds: float | None = None
    about: str = ""
    step: int = 0


@dataclass(slots=True)
class Post:
    """Begin to send ``memory`` to ``peer``, or to receive into it; gives a ticket to await.

    Messages with one tag between two tasks keep their order.
    """

    peer: int
    tag: int
    memory: Any
    sends: bool
    about: str = ""
    step: int = 0


@dataclass(slots=True)
class AllReduce:
    """Begin to combine ``memory``, an array, with that of all ``members``, in place.

    It gives a ticket to await, and cannot be taken back. The members begin the same reductions on
    their communicator ``group``, all in one order. If ``shared``, they read each other's memory;
    else it is left to MPI. If it is not ``wanted``, it is only begun so that it ends for those who
    have begun it: nobody needs the result.
    """

    group: int
    members: tuple[int, ...]
    """Ranks."""
    memory: Any
    combiner: str
    about: str = ""
    step: int = 0
    shared: bool = False
    wanted: bool = True


@dataclass(slots=True)
class Await:
    """Go on once the transfer of ``ticket`` has ended, or something was told to ``box``.

    It gives whether it has ended; what was told is still to be heard. Overdue is raised after
    ``seconds``.
    """

    ticket: Any
    seconds: float | None = None
    box: Box | None = None


@dataclass(slots=True)
class Withdraw:
    """Take back a receive that nothing was sent for."""

    ticket: Any


@dataclass(slots=True)
class Work:
    """The result of ``function()``, which computes and waits for nobody; its error is raised.

    ``aside``: it takes long, and others may go on meanwhile, who do not see what it does before its
    end. ``seconds`` is what it takes in virtual time.
    """

    function: Callable[[], Any]
    seconds: float = 0.0
    about: str = ""
    step: int = 0
    aside: bool = False


@dataclass(slots=True)
class Spawn:
    """Run another role of this task beside this one; gives a handle to stop it by."""

    role: Role


@dataclass(slots=True)
class Join:
    """Go on once a role that was spawned has ended; its error is raised."""

    handle: Any


@dataclass(slots=True)
class Pause:
    """Let the roles of this task go on that can."""


@dataclass(slots=True)
class Stop:
    """End a role that was spawned, wherever it waits; its tickets stay as they are."""

    handle: Any


Effect: TypeAlias = (
    Tell | Hear | Post | AllReduce | Await | Withdraw | Work | Spawn | Join | Pause | Stop
)
