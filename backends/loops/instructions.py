"""What a program does in which order, as a list of instructions: calls, transfers, commit.

All receives are posted before anything else, each is waited for where it is first needed, and each
send is begun as soon as its tensor is there; all are waited for before variables are written. What
variables were given is sent behind that, and waited for behind that where it is only fetched. A
reduction over workers begins as soon as its operands are there, and goes on beside the calls up to
the first that needs it. The list is what a worker executes and what a checker of plans looks at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from graphc.backends.loops.program import Program, Reduction, Transfer


@dataclass(frozen=True)
class Run:
    """Call the kernels ``first`` to ``last - 1``: one native segment."""

    first: int
    last: int


@dataclass(frozen=True)
class Receive:
    """Begin to receive; the memory belongs to the transport until the wait."""

    transfer: Transfer


@dataclass(frozen=True)
class Send:
    """Begin to send; the memory must not be written until the wait."""

    transfer: Transfer


@dataclass(frozen=True)
class Wait:
    """Go on once the transfer that was begun has ended."""

    transfer: Transfer


@dataclass(frozen=True)
class Reduce:
    """Begin to reduce; the memory must not be touched until the wait."""

    reduction: Reduction


@dataclass(frozen=True)
class Reduced:
    """Go on once the reduction that was begun has ended."""

    reduction: Reduction


@dataclass(frozen=True)
class Commit:
    """The rest of the calls: variables are written, in one go; nothing fails any more."""


Instruction: TypeAlias = Run | Receive | Send | Wait | Reduce | Reduced | Commit


def instructions_of(program: Program) -> tuple[Instruction, ...]:
    """The instructions of one step of ``program``."""
    done: list[Instruction] = [Receive(transfer) for transfer in program.receives]
    early = [t for t in program.sends if t.call <= program.commit]
    late = [t for t in program.sends if t.call > program.commit]
    last = [t for t in program.receives if t.call > program.commit]
    at = 0
    cuts = {t.call for t in (*program.receives, *early) if t.call < program.commit}
    cuts |= {cut for r in program.reductions for cut in (r.begin, r.end)}
    for cut in sorted(cuts | {program.commit}):
        if cut > at:
            done.append(Run(at, cut))
            at = cut
        # What is there is sent before anything is waited for, and what comes is sent on at once.
        arriving = [t for t in program.receives if t.call == cut]
        leaving = [t for t in early if t.call == cut]
        coming = {t.storage for t in arriving}
        done += [Send(t) for t in leaving if t.storage not in coming]
        for arrival in arriving:
            done.append(Wait(arrival))
            done += [Send(t) for t in leaving if t.storage == arrival.storage]
        done += [Reduce(r) for r in program.reductions if r.begin == cut]
        done += [Reduced(r) for r in program.reductions if r.end == cut]
    done += [Wait(transfer) for transfer in early]
    done.append(Commit())
    done += [Send(transfer) for transfer in late]
    done += [Wait(transfer) for transfer in (*last, *late)]
    return tuple(done)


def one_by_one(instructions: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """The same, with an instruction of its own for every call before the commit."""
    done: list[Instruction] = []
    for instruction in instructions:
        if isinstance(instruction, Run):
            done += [Run(n, n + 1) for n in range(instruction.first, instruction.last)]
        else:
            done.append(instruction)
    return tuple(done)
